"""The history of a use case: its landed files, by when each was complete, and its requests, by their moment."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import polars as pl

from mlops_assets.features.featurize import request_rows
from mlops_assets.foundation.calendars import Partition
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.validate import split_rows
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.use_case import UseCase

ALWAYS = datetime.min.replace(tzinfo=UTC)  # a whole table has no time of its own


class LandedFile(NamedTuple):
    """A file of `table`, and from when on it is complete: the end of its partition."""

    table: str
    partition: Partition
    complete_at: datetime
    path: Path


@dataclass(frozen=True)
class History:
    """Of one use case, whose files are in `landing`; nothing is written there."""

    use_case: UseCase
    landing: Landing

    @cached_property
    def files(self) -> list[LandedFile]:
        return [file for source in self.use_case.sources for file in self._files(source.table)]

    def _files(self, table: str) -> Iterator[LandedFile]:
        calendar = table_calendar(self.use_case, table)
        landing = self.landing.of(self.use_case.source(table).form)
        for path in landing.files(self.use_case.name, table, calendar=calendar):
            partition = calendar.parse(landing.key_of(path.name, calendar))
            yield LandedFile(table, partition, calendar.end(partition) if calendar.cron else ALWAYS, path)

    @property
    def partitions(self) -> dict[str, list[Partition]]:
        """By table."""
        return {
            source.table: [one.partition for one in self.files if one.table == source.table] for source in self.use_case.sources
        }

    @cached_property
    def days(self) -> tuple[datetime, datetime] | None:
        """The start of the first file of requests and the end of the last; None without any."""
        table = self.use_case.features.request_table
        calendar = table_calendar(self.use_case, table)
        partitions = [file.partition for file in self.files if file.table == table]
        return (calendar.start(min(partitions)), calendar.end(max(partitions))) if partitions else None

    def deliver(self, home: Landing, *, after: datetime | None, until: datetime) -> dict[str, list[Partition]]:
        """Copies the files that were complete after the one moment (None: ever) and by the other; their partitions by table."""
        delivered: dict[str, list[Partition]] = {}
        for file in self.files:
            if (after is None or file.complete_at > after) and file.complete_at <= until:
                place = home.root / self.use_case.name / file.table / file.path.name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.path, place)
                delivered.setdefault(file.table, []).append(file.partition)
        return {table: sorted(partitions) for table, partitions in delivered.items()}

    def requests(self, first: datetime, last: datetime) -> pl.DataFrame:
        """The request columns of every request from the one moment to before the other, by their moment. They come when they are
        made, whenever their file lands; what else that file has is not read.
        """
        features, table = self.use_case.features, self.use_case.features.request_table
        contract, calendar = self.use_case.contract(table), table_calendar(self.use_case, table)
        source = self.use_case.source(table)
        partitions = sorted(file.partition for file in self.files if file.table == table)
        raw = self.landing.of(source.form).read(
            self.use_case.name, contract, partitions, required=False, calendar=calendar, max_bytes=source.max_bytes
        )
        of_requests = _request_contract(self.use_case, contract)
        rows = split_rows(raw, of_requests, source.form, calendar).accepted
        moment = pl.col(EVENT_TIMESTAMP)
        made = request_rows(self.use_case, rows.lazy()).filter((moment >= first) & (moment < last))
        return (
            made.select(*dict.fromkeys((*features.request, EVENT_TIMESTAMP))).collect().sort(EVENT_TIMESTAMP, maintain_order=True)
        )


def _request_contract(use_case: UseCase, contract: Contract) -> Contract:
    """The contract without the columns that a request has not: the outcome must not decide whether it is answered."""
    needed = {*use_case.features.request, *use_case.split.columns, *contract.unique, contract.day}
    return contract.but(columns=tuple(column for column in contract.columns if column.name in needed), expectations=())
