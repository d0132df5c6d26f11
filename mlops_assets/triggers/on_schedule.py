"""Finds whether a training has begun since the last declared time."""

from mlops_assets.foundation.durations import SKEW
from mlops_assets.foundation.moments import MINUTE, to_minute
from mlops_assets.spec.trigger import OnSchedule
from mlops_assets.triggers.cause import Cause
from mlops_assets.triggers.situation import Situation


def find_cause(trigger: OnSchedule, situation: Situation) -> Cause:
    due, began = situation.last_time(trigger.cron), situation.trained_from
    if began and due <= began <= situation.now + SKEW:  # a later one began by a clock that was set back since
        return Cause.none(f"the next time is {to_minute(situation.next_time(trigger.cron))}.")
    return Cause(frozenset({f"schedule: {due:{MINUTE}}"}), f"schedule: {trigger.cron}")
