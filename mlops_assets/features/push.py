"""Pushes fresh rows into the features before their file lands; the run of its partition replaces them with the same rows."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from mlops_assets.features.versions import as_known
from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import ONE_MICROSECOND
from mlops_assets.foundation.delta_tables import DeltaTables, alone, require_grain
from mlops_assets.foundation.grains import table_calendar, view_calendar
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.validate import split_rows
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore


class IllegalPush(ValueError):
    """A file or table that cannot be pushed."""


class Pushed(NamedTuple):
    """`entities` counts those changed online, by view. `refused` rows reach quarantine only with the landed file."""

    accepted: int
    refused: pl.DataFrame
    entities: dict[str, int]


def push_file(use_case: UseCase, table: str, file: Path, *, now: datetime, store: "FeatureStore", tables: DeltaTables) -> Pushed:
    """Pushes `file`, named like a landed one, with all rows of that partition known by `now`.

    Raises IllegalPush for another name or an undeclared table, BrokenDelivery, OtherGrain, and the errors of FeatureStore.push.
    """
    legal = [contract.table for contract in use_case.contracts]
    if table not in legal:
        raise IllegalPush(f"{use_case.name} · found table {table!r}; declared: {', '.join(legal)}. Use one of these.")
    calendar, contract, form = table_calendar(use_case, table), use_case.contract(table), use_case.source(table).form
    landing = Landing(file.parent, form=form)
    if not (key := landing.key_of(file.name, calendar)):
        legal = landing.legal_name(calendar)
        raise IllegalPush(f"{file.name} · a pushed file is named like a landed one; legal: {legal}. Rename it.")
    partition = calendar.parse(key)
    rows = landing.read_file(file, contract, partition, calendar=calendar, max_bytes=use_case.source(table).max_bytes)
    split = split_rows(rows, contract, form, calendar)
    start, end = calendar.start(partition), min(calendar.end(partition), now + ONE_MICROSECOND)
    entities: dict[str, int] = {}
    for view in (view for view in use_case.features.views if table in view.tables):
        # A run that writes the table after its validated rows were read here would have its rows mixed with older ones.
        with store.registry.alone(view.name), alone(tables.path(names.feature(use_case.name, view.name))):
            stored = {name: _read(tables, use_case, name, view, start, end) for name in view.tables}
            if not stored[table].collect_schema():
                stored[table] = split.accepted.clear().lazy()
            # The file replaces what has landed of its partition.
            others = stored[table].filter(pl.col(calendar.column) != partition)
            pushed = stored | {table: pl.concat([others, split.accepted.lazy()], how="diagonal_relaxed")}
            before, after = (view.transform(_known(use_case, rows), start, end).collect() for rows in (stored, pushed))
            # What the file adds or changes; a table that is not there yet has no columns, and all rows are fresh.
            fresh = after.join(before, on=after.columns, how="anti", nulls_equal=True)
            if not fresh.is_empty():
                entities[view.name] = store.push(view.name, fresh)
    return Pushed(split.accepted.height, split.quarantined, entities)


def _read(  # noqa: PLR0917
    tables: DeltaTables, use_case: UseCase, table: str, view: FeatureView, start: datetime, end: datetime
) -> pl.LazyFrame:
    """The rows that the run of the partition will read."""
    calendar, asset = table_calendar(use_case, table), names.validated(use_case.name, table)
    require_grain(tables.path(asset), str(calendar))
    rows = tables.scan(asset)
    if not rows.collect_schema():
        return rows
    own = view_calendar(use_case, view)
    first = calendar.of(own.start(own.before(own.of(start), own.count_back(view.lookback))))
    is_read = pl.col(calendar.column).is_between(first, calendar.of(end - ONE_MICROSECOND))
    return rows.filter(is_read)


def _known(use_case: UseCase, tables: Mapping[str, pl.LazyFrame]) -> dict[str, pl.LazyFrame]:
    """As the run of the partition will know them, so that both compute the same values."""
    return {
        name: as_known(rows, use_case.contract(name).unique, calendar=table_calendar(use_case, name))
        if rows.collect_schema() else rows
        for name, rows in tables.items()
    }  # fmt: skip
