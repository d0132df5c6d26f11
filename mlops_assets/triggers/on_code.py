"""Finds what a model is made by and has changed since the champion was trained."""

from mlops_assets.spec.trigger import OnCode
from mlops_assets.triggers.cause import Cause
from mlops_assets.triggers.situation import Situation

WORDS = {"code.training_set": "features, label, split or their transforms", "code.candidate": "trainer or search"}


def find_cause(trigger: OnCode, situation: Situation) -> Cause:
    then, champion = situation.champion_record, situation.champion
    # What the record of an earlier release does not have is not known to have changed.
    changed = {name: now for name, now in situation.code.items() if then.get(name, now) != now}
    if not changed:
        return Cause.none(f"version {champion} is made by the present code.")
    what = ", ".join(WORDS.get(name, name) for name in changed)
    symptoms = frozenset(f"{name} {now}" for name, now in changed.items())
    return Cause(symptoms, f"code: {what} changed since version {champion} was trained")
