"""A person's decision to use a landed file although its checks fail, or to go on without one, in the ledger and at the file."""

from datetime import datetime

from mlops_assets.foundation.calendars import IllegalKey
from mlops_assets.foundation.grains import calendar_of, declared_partitions
from mlops_assets.foundation.moments import to_minute
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.refusals import NOTHING, Refusal, Waiver
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.spec.source import Files
from mlops_assets.spec.use_case import UseCase


class IllegalWaiver(ValueError):
    """A table that is not declared, or a partition that it cannot have, that is not over yet or for which no file is due."""


def waive(
    use_case: UseCase, table: str, partition: str, waiver: Waiver, *, landing: Landing, ledger: Ledger, at: datetime
) -> str:
    """Lets the refused file be used, or the partition without a file be empty, until it is delivered (again).

    Raises IllegalWaiver, NotRefused.
    """
    sources = {source.table: source for source in use_case.sources}
    if table not in sources:
        raise IllegalWaiver(f"found table {table!r}; declared: {', '.join(sources)}. Use one of these.")
    source, files = sources[table], landing.of(sources[table].form)
    calendar, refusals = calendar_of(source.grain), files.refusals(use_case.name, table)
    try:
        day = calendar.parse(partition)
    except IllegalKey as error:
        raise IllegalWaiver(f"{error}. Use one that `mlops status` shows.") from None
    if partition in refusals.read() or files.path(use_case.name, table, day, calendar).exists():
        landed = files.digest(use_case.name, table, partition, max_bytes=source.max_bytes)
        refusal = refusals.find(partition, landed, f"{use_case.name} · {table}")
    else:
        _require_due(use_case, source, partition, at=at)
        refusal = Refusal(NOTHING, {})
    body = {"table": table, "day": partition, "file": refusal.file, "failed": {**refusal.failed}, "why": waiver.why}
    ledger.append(use_case.name, "waiver", body, by=waiver.by, at=at)
    refusals.waive(partition, refusal, waiver)
    effect = "is empty until a file lands" if refusal.is_gap else "will be used"
    return f"{use_case.name}: {table} {partition} {effect}. The landing sensor reports it, and its runs follow."


def _require_due(use_case: UseCase, source: Files, key: str, *, at: datetime) -> None:
    """Raises IllegalWaiver for a partition without a file for which no file has to come (yet)."""
    calendar, where = calendar_of(source.grain), f"{source.table} {key} has no file"
    if source.only_when_changed or not calendar.cron:
        raise IllegalWaiver(f"{where}, and none is due: its files land only when something changes. There is nothing to waive.")
    partition, (first, last) = calendar.parse(key), declared_partitions(use_case, calendar)
    if (first is not None and partition < first) or (last is not None and partition > last):
        raise IllegalWaiver(f"{where}; declared: {use_case.first_day} to {use_case.last_day or 'today'}. Use one of these.")
    if calendar.end(partition) > at:
        raise IllegalWaiver(f"{where} yet, as it ends at {to_minute(calendar.end(partition))}. Wait for its end.")
