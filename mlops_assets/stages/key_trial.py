"""Whether a column holds a key's own values, or rows are only found by it: rename the keys one to one and look.

A count for each customer stays the same when all customers get other numbers; the number of a customer does not.
Belongs here: made-up tables, the renaming and the comparison. Not here: what is read at all (lineage.py).
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from mlops_assets.spec.contract import Column, Contract
from mlops_assets.stages.validate import TYPES

ROWS, VALUES = 96, 6
"""Few values of each column, so that equal keys meet in joins and groups."""
DIGITS = 6  # sums of floats end otherwise when groups come in another order
Transform = Callable[[dict[str, pl.LazyFrame]], pl.LazyFrame]


def shows_in(tables: tuple[Contract, ...], transform: Transform, key: str, *, start: datetime, end: datetime) -> frozenset[str]:
    """The columns of the result whose values change when those of the column `key` are renamed in every table that has it.

    Made-up rows lie between `start` and `end`. A column that has no two values cannot tell, and counts as changed; so does
    every column when the transform refuses the made-up rows.
    """
    made = {table.table: _rows(table, start, end) for table in tables}
    renamed = {name: rows.with_columns(_renamed(rows[key])) if key in rows.columns else rows for name, rows in made.items()}
    empty = transform({name: rows.clear().lazy() for name, rows in made.items()})
    try:
        before, after = (transform({name: rows.lazy() for name, rows in given.items()}).collect() for given in (made, renamed))
    except pl.exceptions.PolarsError:
        return frozenset(empty.collect_schema().names())
    return frozenset(name for name in before.columns if not _alike(before[name], after[name]))


def _alike(before: pl.Series, after: pl.Series) -> bool:
    """Whether both hold the same values, in whatever order, and more than one."""
    if before.drop_nulls().n_unique() < 2:
        return False
    ordered = [column.round(DIGITS) if column.dtype.is_float() else column for column in (before, after)]
    return ordered[0].sort().equals(ordered[1].sort())


def _rows(table: Contract, start: datetime, end: datetime) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    picks = {column.name: _pool(column, start, end).gather(rng.integers(0, VALUES, ROWS)) for column in table.columns}
    return pl.DataFrame(picks).unique(table.unique, keep="first", maintain_order=True).with_columns(day=start.date())


def _pool(column: Column, start: datetime, end: datetime) -> pl.Series:
    """VALUES values of the column's type, within its bounds; the same for columns of one name."""
    low = 0 if column.min is None else column.min
    high = low + 100 if column.max is None else column.max
    match column.dtype:
        case "string":
            values = [column.allowed[n % len(column.allowed)] if column.allowed else f"{column.name}{n}" for n in range(VALUES)]
        case "datetime":
            values = [start + (end - start) * n / VALUES for n in range(VALUES)]
        case "bool":
            values = [n % 2 == 0 for n in range(VALUES)]
        case "int" | "float":
            values = np.linspace(low, high, VALUES).tolist()
    return pl.Series(column.name, values).cast(TYPES[column.dtype])


def _renamed(column: pl.Series) -> pl.Series:
    """Another value for each, and the same for the same; their order stays, for rows may be sorted by it."""
    if column.dtype == pl.String:
        return column.map_elements(_shifted, pl.String)
    if column.dtype == pl.Boolean:
        return ~column
    return column + timedelta(seconds=1) if column.dtype.is_temporal() else 2 * column + 1


def _shifted(text: str) -> str:
    """Every letter the next one, and one more: no part of the text stays, nor does its length."""
    return "".join(chr(ord(letter) + 1) for letter in text) + "~"
