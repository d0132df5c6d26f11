"""Column lineage: which source columns each feature is computed from, as Polars' optimizer reads them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from mlops_assets.ingestion.validate import TYPES
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.use_case import UseCase

START = datetime(2020, 1, 1, tzinfo=UTC)
END = START + timedelta(days=2)
MOMENT = "event_timestamp"
ROWS, VALUES = 96, 6  # few distinct values, so that equal keys meet in joins and groups
Sources = frozenset[str]
Transform = Callable[[dict[str, pl.LazyFrame]], pl.LazyFrame]


@dataclass(frozen=True)
class Lineage:
    """The source columns of one column, as `table.column`. `keys` are tagged ones by which its rows are only grouped or joined;
    `values` are all others, also those that rows are filtered by.
    """

    column: str
    values: Sources
    keys: Sources


def columns_read(tables: tuple[Contract, ...], transform: Transform) -> dict[str, Sources]:
    """Every source column that is read for each column of the result, from one run on empty tables per column.

    A Python function over rows is opaque to Polars and counts as reading all columns: never too few.
    """
    read: set[str] = set()
    result = transform({table.table: _recorded(table, read) for table in tables})
    at_once = frozenset(read)
    return {name: at_once | _read_for(result, name, read) for name in result.collect_schema().names()}


def _read_for(result: pl.LazyFrame, name: str, read: set[str]) -> Sources:
    read.clear()
    result.select(name).collect()
    return frozenset(read)


def _recorded(table: Contract, read: set[str]) -> pl.LazyFrame:
    """The empty table of the contract's columns and `day`; it adds to `read` the columns that a query reads."""
    empty = pl.DataFrame(schema={column.name: TYPES[column.dtype] for column in table.columns} | {"day": pl.Date()})

    def rows(columns: list[str] | None, predicate: pl.Expr | None, most: int | None, batch: int | None) -> Iterator[pl.DataFrame]:
        filtered = predicate.meta.root_names() if predicate is not None else []
        read.update(f"{table.table}.{name}" for name in {*(columns or empty.columns), *filtered})
        yield empty if columns is None else empty.select(columns)

    return register_io_source(rows, schema=empty.schema)


def unchanged_by_renaming(tables: tuple[Contract, ...], transform: Transform, key: str) -> frozenset[str]:
    """The columns that stay the same when each value of the column `key` is renamed: they use it to group or join only.

    A column without two distinct values proves nothing, and neither does a transform that fails on generated rows.
    """
    try:
        before, after = (
            transform({table.table: _generated(table, renamed).lazy() for table in tables}).collect() for renamed in (None, key)
        )
    except pl.exceptions.PolarsError:
        return frozenset()
    return frozenset(
        name for name in before.columns if before[name].drop_nulls().n_unique() > 1 and _same(before[name], after[name])
    )


def _same(before: pl.Series, after: pl.Series) -> bool:
    # Groups come in any order, and the last digits of a float sum depend on it.
    first, second = (column.round(6) if column.dtype.is_float() else column for column in (before, after))
    return first.sort().equals(second.sort())


def _generated(table: Contract, renamed: str | None) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    columns = [
        pl.Series(column.name, [_value(column, int(n), column.name == renamed) for n in rng.integers(0, VALUES, ROWS)])
        .cast(TYPES[column.dtype])
        for column in table.columns
    ]  # fmt: skip
    return pl.DataFrame(columns).with_columns(day=START.date())


def _value(column: Column, n: int, renamed: bool) -> Any:
    """Value `n` of the column. Renaming keeps the order and no part of the value."""
    match column.dtype:
        case "string":
            return (
                f"~{'abcdef'[n]}"
                if renamed
                else column.allowed[n % len(column.allowed)]
                if column.allowed
                else f"{column.name}{n}"
            )
        case "datetime":
            return START + timedelta(hours=8 * n, seconds=renamed)
        case "bool":
            return (n % 2 == 0) != renamed
        case "int" | "float":
            value = (column.min or 0) + n
            return 2 * value + 1 if renamed else value


def tagged(use_case: UseCase) -> dict[str, str]:
    """`table.column` of every column that a contract tags `pii`, and how the prediction log stores it."""
    return {f"{table.table}.{column.name}": column.pii for table in use_case.contracts for column in table.columns if column.pii}


def view_columns_read(use_case: UseCase, view: FeatureView) -> dict[str, Sources]:
    """`columns_read` of one feature view, entity and moment included."""
    return columns_read(_contracts(use_case, view), lambda tables: view.transform(tables, START, END))


def view_lineage(use_case: UseCase) -> dict[str, Lineage]:
    """The lineage of every feature of every view."""
    lineage: dict[str, Lineage] = {}
    for view in use_case.features.views:
        read = view_columns_read(use_case, view)
        keys = _tagged_keys(use_case, view, read)
        for name in sorted(read.keys() - {*view.entity, MOMENT, "day"}):
            only_keys = frozenset(source for source in read[name] if name in keys.get(source, ()))
            lineage[name] = Lineage(name, read[name] - only_keys, only_keys)
    return lineage


def request_lineage(use_case: UseCase) -> dict[str, Lineage]:
    """The lineage of every column that `entity_rows` returns. One row is made from one request, so nothing is only a key."""
    features = use_case.features
    table = use_case.contract(features.request_table)
    read = columns_read((table,), lambda tables: features.entity_rows(tables[table.table].select(features.request)))
    return {name: Lineage(name, sources, frozenset()) for name, sources in read.items()}


def _contracts(use_case: UseCase, view: FeatureView) -> tuple[Contract, ...]:
    return tuple(use_case.contract(name) for name in view.tables)


def _tagged_keys(use_case: UseCase, view: FeatureView, read: dict[str, Sources]) -> dict[str, frozenset[str]]:
    """For each tagged column that the view's entity is made from, the columns that do not depend on its values."""
    keys: dict[str, frozenset[str]] = {}
    for source in frozenset[str]().union(*(read[name] for name in view.entity)) & tagged(use_case).keys():
        same = unchanged_by_renaming(
            _contracts(use_case, view), lambda tables: view.transform(tables, START, END), source.split(".")[1]
        )
        if not {*view.entity} <= same:  # an entity that does not change either was not renamed at all
            keys[source] = same
    return keys
