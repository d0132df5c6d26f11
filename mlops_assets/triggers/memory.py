"""Whether a training for a cause is due: not for one that has been tried, and the later, the more trainings did not help."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from mlops_assets.foundation.durations import SKEW
from mlops_assets.foundation.moments import to_minute
from mlops_assets.foundation.wording import some
from mlops_assets.triggers.cause import Cause

# After a training that did not help; doubled by every further one for the same symptoms.
PAUSE, LONGEST_PAUSE = timedelta(hours=1), timedelta(days=30)


@dataclass(frozen=True)
class PastTraining:
    """A training that has come to a result. `data` is the state of the tables that it was to read, `champion` the version that
    served then, and `outcome` what became of it, in words.
    """

    symptoms: frozenset[str]
    data: str
    champion: int | None
    began: datetime
    ended: datetime
    outcome: str


class Outlook(NamedTuple):
    """`not_before` is when it is due where only time is missing."""

    is_due: bool
    message: str
    not_before: datetime | None = None


@dataclass(frozen=True)
class Memory:
    """The past trainings of one use case, oldest first, and the present state of data and champion."""

    past: Sequence[PastTraining]
    data: str
    champion: int | None
    trained_until: datetime | None

    def outlook(self, cause: Cause, cool_down: timedelta, now: datetime) -> Outlook:
        if not cause.exists:
            return Outlook(False, cause.message)
        tried = [one for one in self._same(cause) if self._is_same_state(one, cause)]
        message = self._message(cause)
        sentence = f"{message.rstrip('.')}."
        if cause.symptoms <= _symptoms(tried):
            until = "newer data has come" if cause.is_renewed_by_data else "the cause has changed"
            return Outlook(False, f"{sentence} Another training starts when {until}.")
        not_before = self._not_before(cause, cool_down, now)
        if not_before and now < not_before:
            return Outlook(False, f"{sentence} Another training starts from {to_minute(not_before)}.", not_before)
        return Outlook(True, message)

    def _same(self, cause: Cause) -> list[PastTraining]:
        """Trainings for any of the symptoms since all was well."""
        since = cause.healthy_at
        return [one for one in self.past if one.symptoms & cause.symptoms and (since is None or one.ended > since)]

    def _is_same_state(self, one: PastTraining, cause: Cause) -> bool:
        return one.champion == self.champion and (one.data == self.data or not cause.is_renewed_by_data)

    def _not_before(self, cause: Cause, cool_down: timedelta, now: datetime) -> datetime | None:
        """Nothing waits for a training that has ended by a clock which was set back since."""
        same = [one for one in self._same(cause) if one.ended <= now + SKEW]
        until = self.trained_until if self.trained_until and self.trained_until <= now + SKEW else None
        # Symptoms that no training was for yet are another cause.
        doubled = len(same) - 1 if cause.symptoms <= _symptoms(same) else 0
        paused = [same[-1].ended + min(LONGEST_PAUSE, PAUSE * 2 ** min(doubled, 30))] if same else []
        cooled = [until + cool_down] if until and cool_down else []
        return max([*paused, *cooled], default=None)

    def _message(self, cause: Cause) -> str:
        """The cause, and that trainings did not help."""
        if not (same := self._same(cause)):
            return cause.message
        count = "A training" if len(same) == 1 else f"{len(same)} trainings"
        outcomes = some([one.outcome for one in same[::-1]], 2)
        return f"{cause.message.rstrip('.')}. {count} since {to_minute(same[0].began)} did not help: {outcomes}."


def _symptoms(trainings: Sequence[PastTraining]) -> frozenset[str]:
    return frozenset(symptom for one in trainings for symptom in one.symptoms)
