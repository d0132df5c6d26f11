"""Applies a contract: every landed row is either accepted with its types or quarantined with its reasons."""

import math
import re
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple, cast

import pandera.polars as pa
import polars as pl
from pandera.config import ValidationDepth, config_context
from pandera.errors import SchemaErrors

from mlops_assets.foundation.conversions import TYPES, by_value, convert
from mlops_assets.spec.contract import Column, Contract, DType

PARSED_AS: dict[DType, str] = {  # a string always is one
    "int": "a whole number",
    "float": "a finite number",
    "datetime": "a datetime such as 2013-07-01T14:05:00Z",
    "bool": "true or false",
}
MAX_SHOWN = 60  # characters of a landed value in a reason; its column has the whole value
CASE = {"schema_context": pl.String(), "column": pl.String(), "check": pl.String(), "index": pl.Int32()}
PLACE = ("day", "source_file", "source_line")


class Split(NamedTuple):
    """`accepted`: the contract's columns, typed, and `day`. `quarantined`: the columns as landed, `day`, `source_file`,
    `source_line` and `reasons` (joined by '; '). Each row is in exactly one of them, in the order of day, file and line."""

    accepted: pl.DataFrame
    quarantined: pl.DataFrame


def contract_schema(contract: Contract) -> pa.DataFrameSchema:
    """The rules for single values as a pandera schema, for eager frames of the contract's typed columns and `day` (Date)."""
    columns = {
        column.name: pa.Column(TYPES[column.dtype], list(_build_checks(column)), nullable=column.nullable or bool(column.since))
        for column in contract.columns
    }

    def is_on_its_day(data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(pl.col(str(contract.day)).dt.date() == pl.col("day"))

    return pa.DataFrameSchema(
        columns | {"day": pa.Column(pl.Date())},
        checks=[pa.Check(is_on_its_day, error="is not on the day of its file")] if contract.day else [],
        strict=True,
        name=contract.table,
    )


def _build_checks(column: Column) -> Iterator[pa.Check]:
    is_whole = column.dtype == "int"  # which a float bound would compare as floats, inexactly beyond 2**53
    if column.min is not None:
        yield pa.Check.ge(math.ceil(column.min) if is_whole else column.min, error=f"is below {column.min:g}")
    if column.max is not None:
        yield pa.Check.le(math.floor(column.max) if is_whole else column.max, error=f"is above {column.max:g}")
    if column.allowed:
        yield pa.Check.isin(column.allowed, error=f"is not one of {', '.join(column.allowed)}")
    if column.pattern:
        yield pa.Check(partial(_matches, re.compile(column.pattern)), error=f"does not match {column.pattern}")


def _matches(pattern: re.Pattern[str], data: pa.PolarsData) -> pl.LazyFrame:
    """By Python's engine, as in requests: Polars' reads \\d, $ and (?=...) differently."""
    return data.lazyframe.select(by_value(pl.col(data.key), lambda value: bool(pattern.fullmatch(value)), pl.Boolean()))


def split_rows(raw: pl.DataFrame, contract: Contract) -> Split:
    """Splits landed rows (text columns, `day`, `source_file`, `source_line`, `problem`) by the contract.

    A line that could not be parsed has its problem as its only reason. Of rows with one key, the first without another
    fault is accepted. accepted.height + quarantined.height == raw.height.
    """
    raw = _gather(raw, raw.select(pl.arg_sort_by(*PLACE, maintain_order=True)).to_series()).with_row_index("_row")
    parsed = _gather(raw, raw["problem"].is_null().arg_true())
    typed = parsed.select("_row", "day", *(_convert(column).alias(column.name) for column in contract.columns))
    problems = _select_reasons(raw.filter(pl.col("problem").is_not_null()), -1, pl.col("problem"))
    faults = pl.concat([problems, *_find_faults(typed, parsed, contract)])
    # Keys are compared among sound rows only, so that a bad row cannot displace a good one; and within a day: a table that
    # changes slowly lands the same key on several days.
    sound = _gather(typed, (~typed["_row"].is_in(faults["_row"].implode())).arg_true())
    del parsed, typed
    order, is_first = _first_of_keys(sound, ["day", *contract.unique])
    accepted = _gather(sound, order.filter(is_first).sort()).select(*contract.names, "day")
    repeated = sound[order.filter(~is_first)]
    repeated = _select_reasons(repeated, 0, pl.lit(f"duplicate of key ({', '.join(contract.unique)})"))
    reasons = pl.concat([faults, repeated]).sort("_row", "place", maintain_order=True)
    reasons = reasons.group_by("_row", maintain_order=True).agg(reasons=pl.col("reason").str.join("; "))
    quarantined = raw[reasons["_row"]].select(*contract.names, *PLACE, reasons=reasons["reasons"])
    return Split(accepted, quarantined)


def _first_of_keys(rows: pl.DataFrame, key: list[str]) -> tuple[pl.Series, pl.Series]:
    """The numbers of the rows in the order of their keys, and which of them are the first with that key."""
    # A hash table of 1,000,000 keys takes 180 MB, and this 30.
    order = rows.select(pl.arg_sort_by(*key, maintain_order=True)).to_series()
    is_other = [pl.col(name).ne_missing(pl.col(name).shift()) for name in key]
    return order, rows.select(key)[order].select(is_first=pl.any_horizontal(is_other)).to_series()


def _gather(rows: pl.DataFrame, numbers: pl.Series) -> pl.DataFrame:
    """The rows with these distinct numbers; without a copy where these are all of them, in order."""
    return rows if len(numbers) == rows.height and numbers.is_sorted() else rows[numbers]


def _text(column: Column) -> pl.Expr:
    """The landed value; an empty one is missing."""
    return pl.when(pl.col(column.name) != "").then(pl.col(column.name))


def _convert(column: Column) -> pl.Expr:
    return convert(_text(column), TYPES[column.dtype])


def _select_reasons(rows: pl.DataFrame, place: int, reason: pl.Expr) -> pl.DataFrame:
    return rows.select("_row", place=pl.lit(place, pl.Int32()), reason=reason)


def _describe(column: Column, fault: pl.Expr) -> pl.Expr:
    shown = pl.col(column.name).str.slice(0, MAX_SHOWN).str.replace_all(r"[\r\n]+", " ")
    return pl.format("{}: '{}' {}", pl.lit(column.name), shown, fault)


def _find_faults(typed: pl.DataFrame, parsed: pl.DataFrame, contract: Contract) -> list[pl.DataFrame]:
    """Reasons in the order of the columns: mistyped values, and pandera's failure cases for the others."""
    cases = _find_cases(contract_schema(contract), typed.drop("_row"))
    name = pl.when(pl.col("schema_context") == "Column").then("column").otherwise(pl.lit(contract.day))
    cases = cases.select(_row=typed["_row"].gather(cases["index"]), _column=name, _check="check")
    cases = cases.join(parsed, on="_row", how="left")
    faults: list[pl.DataFrame] = []
    for place, column in enumerate(contract.columns):
        mistyped = parsed.filter(parsed.select(_text(column).is_not_null()).to_series() & typed[column.name].is_null())
        is_not = pl.lit(f"is not {PARSED_AS.get(column.dtype, 'text')}")
        violations = cases.filter(pl.col("_column") == column.name).join(mistyped, on="_row", how="anti")
        missing, violation = pl.lit(f"{column.name}: missing"), _describe(column, pl.col("_check"))
        reason = pl.when(pl.col("_check") == "not_nullable").then(missing).otherwise(violation)
        faults += [_select_reasons(mistyped, place, _describe(column, is_not)), _select_reasons(violations, place, reason)]
        if column.since:
            late = parsed.filter(_text(column).is_null() & (pl.col("day") >= column.since) & (not column.nullable))
            faults.append(_select_reasons(late, place, missing))
    return faults


def _find_cases(schema: pa.DataFrameSchema, rows: pl.DataFrame) -> pl.DataFrame:
    """Pandera's failure cases (`schema_context`, `column`, `check`, `index`). Raises SchemaErrors for one without a row."""
    no_cases = pl.DataFrame(schema=CASE)
    # Explicit: an environment variable of pandera could switch the data checks off without a message.
    with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        try:
            schema.validate(rows, lazy=True)
        except SchemaErrors as errors:
            cases = cast(pl.DataFrame, errors.failure_cases)
            if cases["index"].has_nulls():
                raise
            return no_cases.vstack(cases.select(no_cases.columns).cast(no_cases.schema))
    return no_cases
