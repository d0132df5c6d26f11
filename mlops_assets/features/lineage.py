"""Column lineage: the source columns that each feature is computed from, as Polars' optimizer reads them."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs
from polars.io.plugins import register_io_source

from mlops_assets.features.featurize import label_columns
from mlops_assets.features.request_features import entity_rows
from mlops_assets.foundation.calendars import PARTITION_COLUMNS, UTC_DAYS, Calendar
from mlops_assets.foundation.conversions import stored_type
from mlops_assets.foundation.grains import calendars_of
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.use_case import UseCase

START = datetime(2020, 1, 1, tzinfo=UTC)
END = START + timedelta(days=2)
MOMENT = EVENT_TIMESTAMP
ROWS, LETTERS = 96, "abcdef"  # few distinct values, so that equal keys meet in joins and groups
Sources = frozenset[str]  # each is `table.column`
Calendars = Mapping[str, Calendar]  # by table; of a table without one: days in UTC
NO_CALENDARS: Calendars = {}
Transform = Callable[[dict[str, pl.LazyFrame]], pl.LazyFrame]


class Lineage(NamedTuple):
    """`keys` are tagged columns that only group or join the rows; `values` are all others, including those filtered by."""

    values: Sources
    keys: Sources = frozenset()


def columns_read(tables: tuple[Contract, ...], transform: Transform, calendars: Calendars = NO_CALENDARS) -> dict[str, Sources]:
    """The source columns read for each result column, from one run on empty tables per column.

    A Python function over rows is opaque to Polars and counts as reading all columns: never too few.
    """
    read: set[str] = set()
    result = transform({table.table: _recorded(table, calendars.get(table.table, UTC_DAYS), read) for table in tables})
    eager = frozenset(read)  # read while the transform ran, so possibly part of every column
    columns: dict[str, Sources] = {}
    for name in result.collect_schema().names():
        read.clear()
        result.select(name).collect()
        columns[name] = eager | read
    return columns


def column_types(table: Contract, calendar: Calendar) -> dict[str, pl.DataType]:
    """The columns of a validated table."""
    return {column.name: stored_type(column) for column in table.columns} | calendar.types()


def _recorded(table: Contract, calendar: Calendar, read: set[str]) -> pl.LazyFrame:
    """The contract's table without rows; it adds to `read` the columns that a query reads."""
    empty = pl.DataFrame(schema=column_types(table, calendar))

    def scan(columns: list[str] | None, predicate: pl.Expr | None, _limit: int | None, _: int | None) -> Iterator[pl.DataFrame]:
        filtered = predicate.meta.root_names() if predicate is not None else []
        read.update(f"{table.table}.{name}" for name in {*(columns or empty.columns), *filtered})
        yield empty if columns is None else empty.select(columns)

    return register_io_source(scan, schema=empty.schema)


def unchanged_by_renaming(
    tables: tuple[Contract, ...], transform: Transform, key: str, calendars: Calendars = NO_CALENDARS
) -> Sources:
    """The result columns that stay the same when each value of column `key` is renamed: they only group or join by it.

    A column without two distinct values proves nothing, and neither does a transform that fails on generated rows.
    """
    try:
        runs = [
            transform({
                table.table: _generated(table, calendars.get(table.table, UTC_DAYS), name).lazy() for table in tables
            }).collect()
            for name in (None, key)
        ]  # fmt: skip
    except pl.exceptions.PolarsError:
        return frozenset()
    # Groups come in any order, and the last digits of a float sum depend on it.
    before, after = (run.with_columns(cs.float().round(6)).select(pl.all().sort()) for run in runs)
    varied = [name for name in before.columns if before[name].drop_nulls().n_unique() > 1]
    return frozenset(name for name in varied if before[name].equals(after[name]))


def _generated(table: Contract, calendar: Calendar, renamed: str | None) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    columns = [
        pl.Series(column.name, [_value(column, int(n), column.name == renamed) for n in rng.integers(0, len(LETTERS), ROWS)])
        .cast(stored_type(column))
        for column in table.columns
    ]  # fmt: skip
    return pl.DataFrame(columns).with_columns(**calendar.stored(calendar.of(START)))


def _value(column: Column, number: int, renamed: bool) -> Any:
    """Value `number` of the column. A renamed value keeps the order and shares no part with the original."""
    match column.dtype:
        case "string" | "category" if renamed:
            return f"~{LETTERS[number]}"
        case "string" | "category":
            return column.allowed[number % len(column.allowed)] if column.allowed else f"{column.name}{number}"
        case "datetime":
            return START + timedelta(hours=8 * number, seconds=renamed)
        case "date":
            return (START + timedelta(days=2 * number + renamed)).date()
        case "bool":
            return (number % 2 == 0) != renamed
        case "int" | "float" | "decimal":
            value = int(column.min or 0) + number
            return 2 * value + 1 if renamed else value


def tagged(use_case: UseCase) -> dict[str, str]:
    """`table.column` of every column that a contract tags `pii`, and how the prediction log stores it."""
    return {f"{table.table}.{column.name}": column.pii for table in use_case.contracts for column in table.columns if column.pii}


def view_columns_read(use_case: UseCase, view: FeatureView) -> dict[str, Sources]:
    """`columns_read` of one feature view, entity and event timestamp included."""
    return columns_read(*_transform(use_case, view), calendars_of(use_case))


def view_lineage(use_case: UseCase) -> dict[str, Lineage]:
    lineage: dict[str, Lineage] = {}
    for view in use_case.features.views:
        read = view_columns_read(use_case, view)
        entity_sources = frozenset[str]().union(*(read[name] for name in view.entity))
        unchanged: dict[str, Sources] = {}
        for source in entity_sources & tagged(use_case).keys():
            same = unchanged_by_renaming(*_transform(use_case, view), source.split(".")[1], calendars_of(use_case))
            # An entity that does not change either was not renamed at all, which proves nothing.
            unchanged[source] = frozenset() if {*view.entity} <= same else same
        for name in sorted(read.keys() - {*view.entity, MOMENT, *PARTITION_COLUMNS}):
            keys = frozenset(source for source in read[name] if name in unchanged.get(source, ()))
            lineage[name] = Lineage(read[name] - keys, keys)
    return lineage


def request_lineage(use_case: UseCase) -> dict[str, Lineage]:
    """The lineage of every column of a request's entity row. It is made from one request, so nothing is only a key."""
    features = use_case.features
    table = use_case.contract(features.request_table)
    if features.entity_rows:
        read = columns_read((table,), lambda tables: entity_rows(features, tables[table.table].select(features.request)))
    else:
        read = {name: frozenset({f"{table.table}.{name}"}) for name in features.request}
        for feature in features.request_features:
            read[feature.name] = frozenset[str]().union(*(read[column] for column in feature.columns))
    return {name: Lineage(sources) for name, sources in read.items()}


def label_columns_read(use_case: UseCase) -> dict[str, Sources]:
    """`columns_read` of the label, its key and `known_at` included."""
    label, calendars = use_case.label, calendars_of(use_case)
    table = use_case.contract(label.table)
    return columns_read((table,), lambda tables: label_columns(label, tables[label.table], calendars[label.table]), calendars)


def _transform(use_case: UseCase, view: FeatureView) -> tuple[tuple[Contract, ...], Transform]:
    return tuple(use_case.contract(name) for name in view.tables), lambda tables: view.transform(tables, START, END)
