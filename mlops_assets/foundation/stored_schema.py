"""How a stored table follows the types of new rows: a wider type rewrites the table exactly, a narrower one is a migration."""

from collections.abc import Mapping

import polars as pl

from mlops_assets.foundation.conversions import convert
from mlops_assets.foundation.mistakes import OfEveryPartition

Types = Mapping[str, pl.DataType]
WIDENS = "the type of the table, or float where the table has int"


class IncompatibleRows(ValueError):
    """Rows that a table cannot hold without changing a value."""


class MustMigrate(IncompatibleRows, OfEveryPartition):
    """A table whose columns have other types or names than the declared ones."""


def widened(table: str, stored: Types, rows: pl.DataFrame) -> dict[str, pl.DataType]:
    """The types that a table needs for new rows: its own columns, then new ones. Raises MustMigrate for a narrower type."""
    types = {name: _widest(dtype, rows[name]) if name in rows.columns else dtype for name, dtype in stored.items()}
    if narrower := [name for name, dtype in types.items() if dtype is None]:
        found = ", ".join(f"{name} is {rows.schema[name]} in new rows and {stored[name]} in the table" for name in narrower)
        raise MustMigrate(
            f"{table} · {found}; legal: {WIDENS}. Nothing was written. "
            "Declare the earlier type again, or convert the table: `mlops migrate` shows what that changes."
        )
    return {name: dtype for name, dtype in types.items() if dtype} | {
        name: dtype for name, dtype in rows.schema.items() if name not in stored
    }


def _widest(stored: pl.DataType, column: pl.Series) -> pl.DataType | None:
    new = column.dtype
    if new in (stored, pl.Null()):
        return stored
    if stored.is_integer() and new.is_integer():  # Delta Lake stores an unsigned type as the signed one of its size
        return pl.Int64() if count_changed(column.to_frame(), column.name, stored) else stored
    if stored.is_numeric() and new.is_float():
        return pl.Float64()
    if isinstance(stored, pl.Datetime) and isinstance(new, pl.Datetime) and stored.time_zone == new.time_zone:
        return stored  # microseconds, whatever the unit of the rows
    return None


def with_types(table: str, rows: pl.DataFrame, types: Types) -> pl.DataFrame:
    """The rows with exactly these columns; an absent one is null. Raises IncompatibleRows where a value would change."""
    for name in (name for name in types if name in rows.columns):
        if lost := count_changed(rows, name, types[name]):
            found = f"{lost:,} of {rows.height:,} values of {name} ({rows.schema[name]}) have no equal {types[name]}"
            raise IncompatibleRows(f"{table} · {found}. Nothing was written. Correct them, or declare another type.")
    return rows.select(
        converted(name, rows.schema[name], dtype) if name in rows.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in types.items()
    )


def converted(name: str, old: pl.DataType, new: pl.DataType) -> pl.Expr:
    """The column in another type; null where that has no equal value."""
    column = pl.col(name)
    if old in (new, pl.Null()):
        return column.cast(new)
    if old == pl.String():
        return convert(column, new)
    if new == pl.String():
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ") if isinstance(old, pl.Datetime) else column.cast(new)
    cast = column.cast(new, strict=False)
    if old.is_temporal() == new.is_temporal():
        return pl.when(cast.cast(old, strict=False) == column).then(cast).alias(name)
    return pl.lit(None, new).alias(name)


def count_changed(rows: pl.DataFrame, name: str, dtype: pl.DataType) -> int:
    """How many values have no equal one in another type."""
    is_lost = pl.col(name).is_not_null() & converted(name, rows.schema[name], dtype).is_null()
    return rows.select(is_lost.sum()).item() if rows.schema[name] != dtype else 0
