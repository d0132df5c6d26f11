"""Finds the alarms of monitors that judge what is served now: none that a training has followed."""

from datetime import datetime

from mlops_assets.foundation.durations import SKEW
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.spec.trigger import MORE_LOSS, OnCheck
from mlops_assets.triggers.cause import Cause
from mlops_assets.triggers.situation import Reading, Situation


def find_cause(trigger: OnCheck, situation: Situation) -> Cause:
    use_case = situation.use_case
    stages = [stage for stage in use_case.monitor_stages if trigger in use_case.triggers_of(stage)]
    readings = (situation.readings.get(stage) for stage in stages)
    raised = [one for one in readings if one and one.verdict is Verdict.ALARM]
    if not raised:
        return Cause.none(f"no alarm of {', '.join(stages)}.")
    if not (alarms := [one for one in raised if trigger.is_reason(one.reason_to_train, one.symptoms)]):
        few = ": it is by few labels, on which OnLoss() trains" if any(MORE_LOSS in one.symptoms for one in raised) else ""
        return Cause.none(f"the alarm of {', '.join(one.monitor for one in raised)} is no reason to train{few}.")
    # One alarm causes one training, however many monitors raised it before or during that: they judged the model before.
    if not (judged := [one for one in alarms if _is_later(one.judged_at, situation)]):
        return Cause.none(f"a model has been trained since the alarm of {', '.join(one.monitor for one in alarms)}.")
    healthy = [situation.healthy_at(one.monitor) for one in judged]
    return Cause(
        frozenset(symptom for one in judged for symptom in _symptoms(one)),
        "; ".join(f"{one.monitor}: {one.message.partition('. ')[0].rstrip('.')}" for one in judged),  # the first sentence
        is_renewed_by_data=True,
        healthy_at=min((at for at in healthy if at), default=None) if all(healthy) else None,
    )


def _is_later(judged_at: datetime, situation: Situation) -> bool:
    """Than the newest training. One that is to come has ended by a clock which was set back since."""
    trained, now = situation.trained_until, situation.now + SKEW
    return trained is None or judged_at > trained or judged_at <= now < trained


def _symptoms(alarm: Reading) -> list[str]:
    return [f"{alarm.monitor}: {symptom}" for symptom in alarm.symptoms] or [alarm.monitor]
