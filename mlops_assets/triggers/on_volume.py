"""Finds whether enough labelled rows are new since the champion was trained."""

from mlops_assets.spec.trigger import OnVolume
from mlops_assets.triggers.cause import Cause
from mlops_assets.triggers.situation import Situation


def find_cause(trigger: OnVolume, situation: Situation) -> Cause:
    new, since = situation.new_rows, f"since version {situation.champion} was trained"
    if new is None:
        return Cause.none(f"the record of version {situation.champion} does not tell how many rows it was trained on.")
    if new < trigger.rows:
        return Cause.none(f"{new:,} of {trigger.rows:,} labelled rows are new {since}.")
    # Each multiple of `rows` once.
    symptom = f"volume: {new // trigger.rows * trigger.rows} rows {since}"
    return Cause(frozenset({symptom}), f"volume: {new:,} labelled rows are new {since}; {trigger.rows:,} are enough")
