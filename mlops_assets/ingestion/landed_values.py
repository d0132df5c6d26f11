"""Landed text as values of the declared types, in the words and marks of the file's form: the exact value, or null."""

import re
from collections.abc import Callable
from typing import Literal

import polars as pl

from mlops_assets.foundation.conversions import UTC, convert, stored_type
from mlops_assets.spec.column_type import COLUMN_TYPES, DType
from mlops_assets.spec.contract import Column
from mlops_assets.spec.form import Form, format_pattern
from mlops_assets.spec.moment import MAX_YEAR, MIN_YEAR

OFFSET = r"(Z|[+-][0-9]{2}:[0-9]{2})$"
FINER_THAN_MICROSECONDS = r":\d\d\.\d{7,}"
MIDNIGHT = r"[T ]00:00(:00(\.0+)?)?$"  # spreadsheets and pandas write a date with it
FINER = "is finer than a microsecond; round it to at most six digits of a second"
DOUBLED: dict[str, Literal["null", "earliest", "latest"]] = {"refuse": "null", "earlier": "earliest", "later": "latest"}
TEXT = Form()  # of which every value is text
Conversion = Callable[[pl.Expr, Column, Form], pl.Expr]


def landed_text(column: Column, form: Form) -> pl.Expr:
    """The landed value; null where it is empty or one of the form's marks of a missing value."""
    value = pl.col(column.name)
    return pl.when((value != "") & ~value.is_in([*form.missing])).then(value)


def typed(column: Column, form: Form) -> pl.Expr:
    """The landed value in the column's type; null where it is missing or has no equal."""
    return CONVERSIONS[column.dtype](landed_text(column, form), column, form)


def fault(column: Column, form: Form) -> pl.Expr:
    """What is wrong with a value that has no equal in the column's type."""
    is_not = pl.lit(f"is not {_legal(column, form)}")
    if column.dtype != "datetime":
        return is_not
    is_finer = landed_text(column, form).str.contains(FINER_THAN_MICROSECONDS)
    is_not = pl.when(is_finer).then(pl.lit(FINER)).otherwise(is_not)
    if form.time_zone == "UTC":
        return is_not
    local = _local(landed_text(column, form), form)
    is_doubled = _in_zone(local, form.but(doubled="earlier")).is_not_null()
    doubled = f"is repeated by a clock change in {form.time_zone}; declare doubled, or deliver offsets"
    skipped = f"is skipped by a clock change in {form.time_zone}"
    return pl.when(local.is_null()).then(is_not).when(is_doubled).then(pl.lit(doubled)).otherwise(pl.lit(skipped))


def _legal(column: Column, form: Form) -> str:
    if layout := {"date": form.date_format, "datetime": form.datetime_format}.get(column.dtype):
        return f"a {column.dtype} of the form {layout}"
    if column.yes:
        return f"one of {', '.join((*column.yes, *column.no))}"
    if column.precision is not None:
        return f"a decimal number with {column.precision} digits, {column.scale} of them after the point"
    return COLUMN_TYPES[column.dtype].words


def _same(text: pl.Expr, _: Column, __: Form) -> pl.Expr:
    return text


def _number(text: pl.Expr, column: Column, form: Form) -> pl.Expr:
    decimal, thousands = form.number_marks
    if (decimal, thousands) != (".", ""):
        # Groups of three only: 1.5 with a point between thousands is neither 15 nor 1.5.
        whole = rf"([0-9]*|[0-9]{{1,3}}({re.escape(thousands)}[0-9]{{3}})+)" if thousands else "[0-9]*"
        is_number = text.str.contains(rf"^[+-]?{whole}({re.escape(decimal)}[0-9]*)?([eE][+-]?[0-9]+)?$")
        text = pl.when(is_number).then(text.str.replace_all(thousands, "", literal=True) if thousands else text)
        text = text.str.replace(decimal, ".", literal=True)
    return convert(text, stored_type(column))


def _bool(text: pl.Expr, column: Column, _: Form) -> pl.Expr:
    words = {"true": True, "false": False} | dict.fromkeys(map(str.lower, column.yes), True)
    words |= dict.fromkeys(map(str.lower, column.no), False)
    return text.str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.Boolean())


def _date(text: pl.Expr, column: Column, form: Form) -> pl.Expr:
    if form.date_format:
        date = _formatted(text, form.date_format).str.to_date(form.date_format, strict=False)
        date = date.fill_null(_date(text, column, TEXT)) if form.TYPED else date
        return pl.when(date.dt.year().is_between(MIN_YEAR, MAX_YEAR - 1)).then(date)
    return convert(text.str.replace(MIDNIGHT, ""), pl.Date())


def _datetime(text: pl.Expr, _: Column, form: Form) -> pl.Expr:
    if form.time_zone == "UTC" and not form.datetime_format:
        return convert(text, UTC)
    moment = _in_zone(_local(text, form), form).fill_null(_with_offset(text, form))
    return pl.when(moment.dt.year().is_between(MIN_YEAR, MAX_YEAR - 1)).then(moment)


def _local(text: pl.Expr, form: Form) -> pl.Expr:
    """The wall clock of a datetime without an offset; else null."""
    if form.TYPED and form.datetime_format:
        return _by_both(_local, text, form)
    if (layout := form.datetime_format) is None:
        return convert(pl.when(~text.str.contains(OFFSET)).then(text), UTC).dt.replace_time_zone(None)
    if "%z" in layout:
        return pl.lit(None, pl.Datetime("us"))
    return _formatted(text, layout).str.to_datetime(_in_polars(layout), time_unit="us", strict=False)


def _with_offset(text: pl.Expr, form: Form) -> pl.Expr:
    if form.TYPED and form.datetime_format:
        return _by_both(_with_offset, text, form)
    if (layout := form.datetime_format) is None:
        return convert(pl.when(text.str.contains(OFFSET)).then(text), UTC)
    if "%z" not in layout:
        return pl.lit(None, UTC)
    return _formatted(text, layout).str.to_datetime(_in_polars(layout), time_unit="us", time_zone="UTC", strict=False)


def _by_both(read: Callable[[pl.Expr, Form], pl.Expr], text: pl.Expr, form: Form) -> pl.Expr:
    """A cell with a date is in ISO 8601, and a text in the declared form."""
    as_text = TEXT.but(datetime_format=form.datetime_format)
    return read(text, form.but(datetime_format=None)).fill_null(read(text, as_text))


def _in_zone(local: pl.Expr, form: Form) -> pl.Expr:
    zoned = local.dt.replace_time_zone(form.time_zone, ambiguous=DOUBLED[form.doubled], non_existent="null")
    return zoned.dt.convert_time_zone("UTC")


def _formatted(text: pl.Expr, layout: str) -> pl.Expr:
    """The texts of exactly this form; Polars also accepts blanks, short years and cuts a fraction."""
    return pl.when(text.str.contains(f"^{format_pattern(layout)}$")).then(text)


def _in_polars(layout: str) -> str:
    return layout.replace(".%f", "%.f")


CONVERSIONS: dict[DType, Conversion] = {
    "string": _same, "category": _same, "int": _number, "float": _number, "decimal": _number,
    "bool": _bool, "datetime": _datetime, "date": _date,
}  # fmt: skip
