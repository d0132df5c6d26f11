"""A person's decision to use a landed file although its checks fail, in the ledger and at the file."""

from datetime import datetime

from mlops_assets.foundation.calendars import IllegalKey
from mlops_assets.foundation.grains import calendar_of
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.refusals import Waiver
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.spec.use_case import UseCase


class IllegalWaiver(ValueError):
    """A table that is not declared, or a partition that it cannot have."""


def waive(
    use_case: UseCase, table: str, partition: str, waiver: Waiver, *, landing: Landing, ledger: Ledger, at: datetime
) -> str:
    """Lets the refused file be used until it is delivered again. Raises IllegalWaiver, NotRefused."""
    sources = {source.table: source for source in use_case.sources}
    if table not in sources:
        raise IllegalWaiver(f"found table {table!r}; declared: {', '.join(sources)}. Use one of these.")
    source = sources[table]
    try:
        calendar_of(source.grain).parse(partition)
    except IllegalKey as error:
        raise IllegalWaiver(f"{error}. Use one that `mlops status` shows.") from None
    files = landing.of(source.form)
    refusals = files.refusals(use_case.name, table)
    landed = files.digest(use_case.name, table, partition, max_bytes=source.max_bytes)
    refusal = refusals.find(partition, landed, f"{use_case.name} · {table}")
    body = {"table": table, "day": partition, "file": refusal.file, "failed": {**refusal.failed}, "why": waiver.why}
    ledger.append(use_case.name, "waiver", body, by=waiver.by, at=at)
    refusals.waive(partition, refusal, waiver)
    return f"{use_case.name}: {table} {partition} will be used. The landing sensor reports it, and its runs follow."
