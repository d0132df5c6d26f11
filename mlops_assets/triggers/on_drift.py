"""Finds drift as any alarm of a monitor, and whether the performance holds nevertheless."""

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.spec.monitor import Performance
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
    """The verdicts of every Performance, where all are healthy."""
    monitors = situation.use_case.monitor_stages
    readings = [situation.readings.get(stage) for stage, monitor in monitors.items() if isinstance(monitor, Performance)]
    healthy = [one for one in readings if one and one.verdict is Verdict.HEALTHY]
    return healthy if len(healthy) == len(readings) else []
