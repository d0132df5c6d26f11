"""The stored type of each declared type, and the one conversion of text to it: the exact value, or null."""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import polars as pl

from mlops_assets.spec.column_type import COLUMN_TYPES, DType
from mlops_assets.spec.contract import Column
from mlops_assets.spec.moment import parse_moment

UTC = pl.Datetime("us", "UTC")
TYPES: dict[DType, pl.DataType] = {
    "string": pl.String(),
    "category": pl.String(),  # Delta Lake has no other type for it
    "int": pl.Int64(),
    "float": pl.Float64(),
    "decimal": pl.Decimal(),  # of a column: with its digits
    "bool": pl.Boolean(),
    "datetime": UTC,
    "date": pl.Date(),
}
IN_SQL = {COLUMN_TYPES[dtype].sql: stored for dtype, stored in TYPES.items()}
SQL_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
USUAL_FORM, USUAL_MOMENT = "%Y-%m-%dT%H:%M:%SZ", r"^(19|2[01])[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9]Z$"
DATE = r"^(19|2[01])[0-9]{2}-[0-9]{2}-[0-9]{2}$"


def stored_type(column: Column) -> pl.DataType:
    return TYPES[column.dtype] if column.precision is None else pl.Decimal(column.precision, column.scale or 0)


def type_of_sql(text: str) -> pl.DataType:
    """The stored type of what Column.sql returns."""
    digits = SQL_DECIMAL.fullmatch(text)
    return pl.Decimal(int(digits[1]), int(digits[2])) if digits else IN_SQL[text]


def sql_of(dtype: pl.DataType) -> str:
    """How people read a stored type: as Column.sql where a declared column can have it."""
    return next((sql for sql, stored in IN_SQL.items() if stored == dtype), str(dtype))


def convert(text: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A float is the nearest one, and finite. A bool is true or false in any case. A datetime and a date are as in
    spec/moment.py. A decimal has no more digits than its type, but for zeros.
    """
    if dtype == UTC:
        is_usual = text.str.contains(USUAL_MOMENT)  # 100 times as fast as Python
        usual = pl.when(is_usual).then(text).str.to_datetime(USUAL_FORM, time_unit="us", time_zone="UTC", strict=False)
        return usual.fill_null(by_value(pl.when(~is_usual).then(text), _moment, UTC))
    if dtype == pl.Boolean():
        return text.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None, return_dtype=dtype)
    if dtype == pl.Date():
        return pl.when(text.str.contains(DATE)).then(text).str.to_date("%Y-%m-%d", strict=False)
    if isinstance(dtype, pl.Decimal):  # a cast alone would round
        whole, scale = (dtype.precision or 38) - dtype.scale, dtype.scale
        is_exact = text.str.contains(rf"^[+-]?0*[0-9]{{0,{whole}}}(\.[0-9]{{0,{scale}}}0*)?$") & text.str.contains("[0-9]")
        return pl.when(is_exact).then(text).cast(dtype, strict=False)
    number = text.cast(dtype, strict=False)
    return pl.when(number.is_finite()).then(number) if dtype.is_float() else number


def by_value(text: pl.Expr, function: Callable[[str], object], dtype: pl.DataType) -> pl.Expr:
    """A Python function of each distinct value; null of null."""

    def apply(values: pl.Series) -> pl.Series:
        distinct = values.drop_nulls().unique()
        results = pl.Series([function(value) for value in distinct], dtype=dtype)
        return values.replace_strict(distinct, results, default=None, return_dtype=dtype)

    return text.map_batches(apply, return_dtype=dtype, is_elementwise=True)


def _moment(text: str) -> datetime | None:
    with suppress(ValueError):
        return parse_moment(text)
    return None
