"""Pushes fresh facts into the features before their day's file lands; that day's run replaces them with the same rows."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from mlops_assets.features.featurize import midnight
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.validate import split_rows
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore


class IllegalPush(ValueError):
    """A file or table that cannot be pushed."""


@dataclass(frozen=True)
class Pushed:
    """`entities`: how many changed online, by view. Rows that break the contract are left to the landed file's quarantine."""

    accepted: int
    refused: pl.DataFrame
    entities: dict[str, int]


def push_file(use_case: UseCase, table: str, file: Path, *, now: datetime, store: "FeatureStore", tables: DeltaTables) -> Pushed:
    """Pushes `file`, named <YYYY-MM-DD>.csv as a landed one: all that is known of that day up to `now`.

    Raises IllegalPush for another name or an unknown table, BrokenDelivery, and as FeatureStore.push.
    """
    legal = [contract.table for contract in use_case.contracts]
    if table not in legal:
        raise IllegalPush(f"{use_case.name} · found table {table!r}; declared: {', '.join(legal)}. Use one of these.")
    contract, day = use_case.contract(table), _day_of(file)
    split = split_rows(Landing(file.parent).read_file(file, contract, day), contract)
    views = [view for view in use_case.features.views if table in view.tables]
    fresh = {
        view.name: fresh_rows(use_case.name, view, contract, split.accepted, day=day, now=now, tables=tables) for view in views
    }
    entities = {view: store.push(view, rows) for view, rows in fresh.items() if not rows.is_empty()}
    return Pushed(split.accepted.height, split.quarantined, entities)


def fresh_rows(
    use_case: str, view: FeatureView, contract: Contract, facts: pl.DataFrame, *, day: date, now: datetime, tables: DeltaTables
) -> pl.DataFrame:
    """The rows of a view that `facts` add or change from `day` until `now`: later moments are left out."""
    known = {table: tables.scan(names.validated(use_case, table)) for table in view.tables}
    held = known[contract.table]
    empty = not held.collect_schema()
    both = facts.lazy() if empty else pl.concat([held, facts.lazy()], how="diagonal_relaxed")
    start, end = midnight(day), min(midnight(day) + timedelta(days=1), now + timedelta(microseconds=1))
    after: pl.LazyFrame = view.transform(known | {contract.table: both.unique(contract.unique, keep="last")}, start, end)
    if empty:
        return after.collect()
    before: pl.LazyFrame = view.transform(known, start, end)
    return after.collect().join(before.collect(), on=after.collect_schema().names(), how="anti", nulls_equal=True)


def _day_of(file: Path) -> date:
    try:
        return date.fromisoformat(file.stem)
    except ValueError:
        raise IllegalPush(f"{file.name} · a pushed file is named by its day, such as 2013-05-01.csv. Rename it.") from None
