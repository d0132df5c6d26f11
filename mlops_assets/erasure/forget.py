"""Forgetting one subject: count everywhere, record it, erase, count again."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from mlops_assets.erasure.places import Stores, places_of, what_is_left
from mlops_assets.erasure.subject import Subject
from mlops_assets.erasure.trained_on import trained_on
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.promotion.ledger import Record


@dataclass(frozen=True)
class Found:
    """`rows` by place, none of them 0; the model versions trained on them, surely and possibly; what cannot be erased."""

    rows: dict[str, int]
    trained_on: list[int]
    possibly_trained_on: list[int]
    left: list[str]


@dataclass(frozen=True)
class Forgotten:
    """`record` is None when there was nothing. `still` are rows that came meanwhile, by place: for another call."""

    found: Found
    record: "Record | None"
    still: dict[str, int]


def look_for(use_case: UseCase, subject: Subject, stores: Stores) -> Found:
    """Changes nothing."""
    rows = _count(use_case, subject, stores)
    models = trained_on(use_case, subject.matcher, tables=stores.tables, registry=stores.registry)
    return Found(rows, models.certain, models.possible, [*what_is_left(use_case, subject.matcher, rows)])


def forget_subject(use_case: UseCase, subject: Subject, stores: Stores, *, why: str, by: str, at: datetime) -> Forgotten:
    """Erases every row of the subject, for good: older versions of a table that held them become unreadable.

    The record comes first, so that nothing is erased without one. After a kill the next call finishes, and records what
    it still finds. Raises LedgerDown, OnlineStoreDown, UnknownFeatures.
    """
    found, record = look_for(use_case, subject, stores), None
    if found.rows:
        body = {"tag": subject.tag, "entity": subject.entity, "subject": subject.digest, "why": why, **asdict(found)}
        record = stores.ledger.append(use_case.name, "erasure", body, by=by, at=at)
    for _, rows in places_of(use_case, subject.matcher, stores):
        rows.erase()
    return Forgotten(found, record, _count(use_case, subject, stores))


def _count(use_case: UseCase, subject: Subject, stores: Stores) -> dict[str, int]:
    counts = {name: rows.count() for name, rows in places_of(use_case, subject.matcher, stores)}
    return {name: count for name, count in counts.items() if count}
