"""Pushes fresh rows into the features before their day's file lands; that day's run replaces them with the same rows."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from mlops_assets.features.featurize import midnight
from mlops_assets.features.versions import as_known
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.durations import ONE_DAY, whole_days
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.validate import split_rows
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore


class IllegalPush(ValueError):
    """A file or table that cannot be pushed."""


class Pushed(NamedTuple):
    """`entities` counts those changed online, by view. `refused` rows reach quarantine only with the day's landed file."""

    accepted: int
    refused: pl.DataFrame
    entities: dict[str, int]


def push_file(use_case: UseCase, table: str, file: Path, *, now: datetime, store: "FeatureStore", tables: DeltaTables) -> Pushed:
    """Pushes `file`, named <YYYY-MM-DD>.csv like a landed one, with all rows of that day known by `now`.

    Raises IllegalPush for another name or an undeclared table, BrokenDelivery, and the errors of FeatureStore.push.
    """
    legal = [contract.table for contract in use_case.contracts]
    if table not in legal:
        raise IllegalPush(f"{use_case.name} · found table {table!r}; declared: {', '.join(legal)}. Use one of these.")
    contract, form = use_case.contract(table), next(source.form for source in use_case.sources if source.table == table)
    landing = Landing(file.parent, form=form)
    if not (name := landing.day_of(file.name)):
        raise IllegalPush(f"{file.name} · a pushed file is named by its day, such as 2013-05-01{form.SUFFIX}. Rename it.")
    day = date.fromisoformat(name)
    split = split_rows(landing.read_file(file, contract, day), contract, form)
    start, end = midnight(day), min(midnight(day) + ONE_DAY, now + timedelta(microseconds=1))
    entities: dict[str, int] = {}
    for view in (view for view in use_case.features.views if table in view.tables):
        validated = {name: _read_days(tables, use_case, name, view, day) for name in view.tables}
        known = validated[table] if validated[table].collect_schema() else split.accepted.clear().lazy()
        merged = as_known(pl.concat([known, split.accepted.lazy()], how="diagonal_relaxed"), contract.unique)
        before, after = (view.transform(validated | {table: rows}, start, end).collect() for rows in (known, merged))
        # What the file adds or changes; a table that is not there yet has no columns, and all rows are fresh.
        fresh = after.join(before, on=after.columns, how="anti", nulls_equal=True)
        if not fresh.is_empty():
            entities[view.name] = store.push(view.name, fresh)
    return Pushed(split.accepted.height, split.quarantined, entities)


def _read_days(tables: DeltaTables, use_case: UseCase, table: str, view: FeatureView, day: date) -> pl.LazyFrame:
    """The rows that the day's run will read, so that both compute the same values."""
    rows, first = tables.scan(names.validated(use_case.name, table)), day - whole_days(view.lookback) * ONE_DAY
    if not rows.collect_schema():
        return rows
    return as_known(rows.filter(pl.col("day").is_between(first, day)), use_case.contract(table).unique)
