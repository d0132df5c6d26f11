"""Finds drift as any alarm of a monitor, and whether the performance holds nevertheless."""

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.spec.monitor import Estimation, Monitor, Performance
from mlops_assets.spec.trigger import OnDrift
from mlops_assets.triggers import on_check
from mlops_assets.triggers.cause import Cause
from mlops_assets.triggers.situation import Reading, Situation


def find_cause(trigger: OnDrift, situation: Situation) -> Cause:
    cause = on_check.find_cause(trigger, situation)
    if not (cause.exists and trigger.unless_performance_holds and (healthy := _holding(situation))):
        return cause
    performance = "; ".join(f"{one.monitor}: {one.message.rstrip('.')}" for one in healthy)
    return Cause.none(f"{cause.message}. The performance holds, so nothing is trained: {performance}.")


def _holding(situation: Situation) -> list[Reading]:
    """The verdicts of every Estimation, or without one of every Performance, where all are healthy; none where labels that have
    come since say otherwise.
    """
    estimated, realised = (_read(situation, kind) for kind in (Estimation, Performance))
    if any(one and one.verdict is Verdict.ALARM for one in realised):
        return []
    readings = estimated or realised
    healthy = [one for one in readings if one and one.verdict is Verdict.HEALTHY]
    return healthy if len(healthy) == len(readings) else []


def _read(situation: Situation, kind: type[Monitor]) -> list[Reading | None]:
    stages = situation.use_case.monitor_stages
    return [situation.readings.get(stage) for stage, monitor in stages.items() if isinstance(monitor, kind)]
