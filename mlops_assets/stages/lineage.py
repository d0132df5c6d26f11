"""Which source columns each feature is made from, found by asking Polars' optimizer what the transforms still read.

Belongs here: the lineage of the columns of a use case, and which of them carry a column tagged `pii`. Not here: renaming
keys to see whether they show (key_trial.py) and the verdict over it (gates/no_pii.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl
from polars.io.plugins import register_io_source

from mlops_assets.spec.contract import Contract
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.use_case import UseCase
from mlops_assets.stages.key_trial import Transform, shows_in
from mlops_assets.stages.validate import TYPES

START = datetime(2020, 1, 1, tzinfo=UTC)
END = START + timedelta(days=2)
MOMENT = "event_timestamp"
Sources = frozenset[str]


@dataclass(frozen=True)
class Made:
    """One column and the source columns, as `table.column`, that it is made from.

    `keys` are the tagged ones by which its rows are only found, joined or grouped; `values` are all others, which includes
    those that rows are filtered by.
    """

    column: str
    values: Sources
    keys: Sources


def columns_read(tables: tuple[Contract, ...], transform: Transform) -> dict[str, Sources]:
    """For each column that `transform` gives, every source column that is read for it, be it to find the rows.

    The transform runs on empty tables of the contracts' columns and `day`, once for each column. What it computes out of
    Polars' sight (a Python function over rows) reads everything there is: too much is said, never too little.
    """
    read: set[str] = set()
    result = transform({table.table: _watched(table, read) for table in tables})
    at_once = frozenset(read)
    return {name: at_once | _read_for(result, name, read) for name in result.collect_schema().names()}


def _read_for(result: pl.LazyFrame, name: str, read: set[str]) -> Sources:
    read.clear()
    result.select(name).collect()
    return frozenset(read)


def _watched(table: Contract, read: set[str]) -> pl.LazyFrame:
    """The empty table, noting in `read` which of its columns a query asks for."""
    empty = empty_table(table)

    def rows(columns: list[str] | None, predicate: pl.Expr | None, most: int | None, batch: int | None) -> Iterator[pl.DataFrame]:
        filtered = predicate.meta.root_names() if predicate is not None else []
        read.update(f"{table.table}.{name}" for name in {*(columns or empty.columns), *filtered})
        yield empty if columns is None else empty.select(columns)

    return register_io_source(rows, schema=empty.schema)


def empty_table(table: Contract) -> pl.DataFrame:
    """No rows of a validated table: the contract's columns and `day`."""
    return pl.DataFrame(schema={column.name: TYPES[column.dtype] for column in table.columns} | {"day": pl.Date()})


def tagged(use_case: UseCase) -> dict[str, str]:
    """`table.column` of every column that a contract tags `pii`, with how the prediction log holds it."""
    return {f"{table.table}.{column.name}": column.pii for table in use_case.contracts for column in table.columns if column.pii}


def made_by_views(use_case: UseCase) -> dict[str, Made]:
    """Every feature column of every view; the entity and `event_timestamp` are what it is found by."""
    made: dict[str, Made] = {}
    for view in use_case.features.views:
        tables = tuple(use_case.contract(name) for name in view.tables)
        read = columns_read(tables, lambda given, view=view: view.transform(given, START, END))
        found_by = _tagged_keys(use_case, tables, view, read)
        features = read.keys() - {*view.entity, MOMENT, "day"}
        made |= {name: _made(name, read[name], found_by) for name in sorted(features)}
    return made


def made_by_request(use_case: UseCase) -> dict[str, Made]:
    """Every column of the rows that `entity_rows` makes of a request; each row is made of one, so nothing is only a key."""
    features = use_case.features
    table = use_case.contract(features.request_table)
    read = columns_read((table,), lambda given: features.entity_rows(given[table.table].select(features.request)))
    return {name: Made(name, sources, frozenset()) for name, sources in read.items()}


def _made(name: str, read: Sources, found_by: dict[str, Sources]) -> Made:
    keys = frozenset(source for source in read if name in found_by.get(source, ()))
    return Made(name, read - keys, keys)


def _tagged_keys(
    use_case: UseCase, tables: tuple[Contract, ...], view: FeatureView, read: dict[str, Sources]
) -> dict[str, Sources]:
    """For each tagged column that the view's entity is made from, the columns that it does not show in."""
    keys: dict[str, Sources] = {}
    for source in sorted(frozenset[str]().union(*(read[name] for name in view.entity)) & tagged(use_case).keys()):
        shown = shows_in(tables, lambda given: view.transform(given, START, END), source.split(".")[1], start=START, end=END)
        if shown & {*view.entity}:
            keys[source] = frozenset(read) - shown
    return keys
