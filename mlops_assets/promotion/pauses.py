"""A person's decision that nothing runs by itself for one use case until a moment, in the ledger."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Self

from mlops_assets.foundation.moments import to_minute
from mlops_assets.promotion.ledger_chain import Kind, Record

if TYPE_CHECKING:
    from mlops_assets.promotion.ledger import Ledger

PAUSE: Kind = "pause"
RESUME: Kind = "resume"
ENDED = "the pause has ended; what was missed follows within a minute."


class IllegalPause(ValueError):
    """An end that is over or missing, no reason, or nothing to end."""


class Pause(NamedTuple):
    use_case: str
    since: datetime
    until: datetime
    by: str
    why: str

    @classmethod
    def of(cls, record: Record) -> Self:
        since, until = (datetime.fromisoformat(text).astimezone(UTC) for text in (record.at, record.body["until"]))
        return cls(record.use_case, since, until, record.by, record.reason)

    def __str__(self) -> str:
        """Who paused what until when and why, what to do, and since when."""
        paused = f"Paused by {self.by} until {to_minute(self.until)}: {self.why.rstrip('.')}"
        follows = f"Nothing runs by itself, and all of it follows then; `mlops resume {self.use_case} --why …` ends it now"
        return f"{paused}. {follows}. It began at {to_minute(self.since)}."


def pause_in_force(newest: Record | None, now: datetime) -> Pause | None:
    """`newest` is the newest record of a pause or of its end."""
    pause = Pause.of(newest) if newest and newest.kind == PAUSE else None
    return pause if pause and now < pause.until else None


def pauses_in_force(ledger: "Ledger", now: datetime) -> dict[str, Pause]:
    """By use case."""
    pauses = (pause_in_force(record, now) for record in ledger.newest_of(PAUSE, RESUME))
    return {pause.use_case: pause for pause in pauses if pause}


def pause(use_case: str, *, until: datetime, why: str, by: str, at: datetime, ledger: "Ledger") -> Pause:
    """From now on, in place of a pause that is in force. Raises IllegalPause, and as `Ledger.append`."""
    ledger.require_if_trained()
    _require_reason(use_case, why)
    if until <= at:
        problem = f"until = {until:%Y-%m-%dT%H:%M}, and it is {at:%Y-%m-%dT%H:%M} UTC; legal: a moment to come"
        raise IllegalPause(f"{use_case} · {problem}. Name a later end.")
    return Pause.of(ledger.append(use_case, PAUSE, {"until": until.isoformat(), "why": why}, by=by, at=at))


def resume(use_case: str, *, why: str, by: str, at: datetime, ledger: "Ledger") -> None:
    """Ends the pause. Raises IllegalPause, and as `Ledger.append`."""
    _require_reason(use_case, why)
    if use_case not in pauses_in_force(ledger, at):
        raise IllegalPause(f"{use_case} · no pause is in force; `mlops status {use_case}` shows what holds it up.")
    ledger.append(use_case, RESUME, {"why": why}, by=by, at=at)


def parse_until(text: str) -> datetime:
    """Without an offset, UTC. Raises IllegalPause."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise IllegalPause(f"until = {text!r}; legal: a moment such as 2026-12-01T06:00, in UTC. Correct it.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _require_reason(use_case: str, why: str) -> None:
    if not why.strip():
        raise IllegalPause(f"{use_case} · why = {why!r}; legal: the reason, as it is recorded. State it.")
