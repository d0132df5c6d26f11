"""Applies a contract: every landed row is either accepted with its types or quarantined with its reasons."""

import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple, cast

import pandera.polars as pa
import polars as pl
from pandera.config import ValidationDepth, config_context
from pandera.errors import SchemaErrors

from mlops_assets.foundation.calendars import UTC_DAYS, Calendar, Days
from mlops_assets.foundation.conversions import by_value, stored_type
from mlops_assets.ingestion.landed_values import fault, landed_text, typed
from mlops_assets.spec.column_type import bound_text
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.form import Csv, Form

CSV = Csv()
MAX_SHOWN = 60  # characters of a landed value in a reason; its column has the whole value
CASE = {"schema_context": pl.String(), "column": pl.String(), "check": pl.String(), "index": pl.Int32()}
PLACE = ("day", "source_file", "source_line")
MAX_ROWS = 1_000_000  # validated at once, as whole days: a row takes 1 KB meanwhile


class Split(NamedTuple):
    """`accepted`: the contract's columns, typed, and those of the partition. `quarantined`: the columns as landed, those of the
    partition, `source_file`, `source_line` and `reasons` (joined by '; '). Each row is in exactly one of them, in the order of
    day, file and line.
    """

    accepted: pl.DataFrame
    quarantined: pl.DataFrame


def contract_schema(contract: Contract, calendar: Calendar = UTC_DAYS) -> pa.DataFrameSchema:
    """The rules for single values as a pandera schema, for eager frames of the typed columns of contract and partition."""
    columns = {
        column.name: pa.Column(stored_type(column), list(_build_checks(column)), nullable=column.nullable or bool(column.since))
        for column in contract.columns
    }

    def is_in_partition(data: pa.PolarsData) -> pl.LazyFrame:
        moment = pl.col(str(contract.day))
        is_date = contract.column(str(contract.day)).dtype == "date"
        partition = calendar.first_days(moment) if is_date and isinstance(calendar, Days) else calendar.of_column(moment)
        return data.lazyframe.select(partition == pl.col(calendar.column))

    return pa.DataFrameSchema(
        columns | {name: pa.Column(dtype) for name, dtype in calendar.types().items()},
        checks=[pa.Check(is_in_partition, error=f"is not in the {calendar.noun} of its file")] if contract.day else [],
        strict=True,
        name=contract.table,
    )


def _build_checks(column: Column) -> Iterator[pa.Check]:
    if column.min is not None:
        yield pa.Check.ge(_bound(column, column.min, math.ceil), error=f"is below {bound_text(column.min)}")
    if column.max is not None:
        yield pa.Check.le(_bound(column, column.max, math.floor), error=f"is above {bound_text(column.max)}")
    if column.allowed:
        yield pa.Check.isin(column.allowed, error=f"is not one of {', '.join(column.allowed)}")
    if column.pattern:
        yield pa.Check(partial(_matches, re.compile(column.pattern)), error=f"does not match {column.pattern}")


def _bound(column: Column, bound: float, nearest: Callable[[float], int]) -> Any:
    """In the column's type: floats would be compared inexactly beyond 2**53, and with a decimal."""
    exact: dict[str, Callable[[], Any]] = {"int": lambda: nearest(bound), "decimal": lambda: Decimal(str(bound))}
    return exact.get(column.dtype, lambda: bound)()


def _matches(pattern: re.Pattern[str], data: pa.PolarsData) -> pl.LazyFrame:
    """By Python's engine, as in requests: Polars' reads \\d, $ and (?=...) differently."""
    return data.lazyframe.select(by_value(pl.col(data.key), lambda value: bool(pattern.fullmatch(value)), pl.Boolean()))


def split_rows(
    raw: pl.DataFrame, contract: Contract, form: Form = CSV, calendar: Calendar = UTC_DAYS, *, max_rows: int = MAX_ROWS
) -> Split:
    """Splits landed rows (text columns, those of the partition, `source_file`, `source_line`, `problem`) by the contract; `form`
    is that of the files.

    A line that could not be parsed has its problem as its only reason. Of rows with one key, the first without another
    fault is accepted. accepted.height + quarantined.height == raw.height.
    """
    parts = [_split_rows(part, contract, form, calendar) for part in _whole_days(raw, max_rows)]
    return parts[0] if len(parts) == 1 else Split(*(pl.concat(frames) for frames in zip(*parts, strict=True)))


def _whole_days(raw: pl.DataFrame, max_rows: int) -> Iterator[pl.DataFrame]:
    """The rows in parts, in the order of the days. A partition is within one day, so that its keys are compared in one part."""
    if raw.height <= max_rows:
        yield raw
        return
    counts = raw.group_by("day").len().sort("day").with_columns(part=(pl.col("len").cum_sum() - 1) // max_rows)
    for days in counts.partition_by("part", maintain_order=True):
        yield raw.filter(pl.col("day").is_in(days["day"].implode(), nulls_equal=True))


def _split_rows(raw: pl.DataFrame, contract: Contract, form: Form, calendar: Calendar) -> Split:
    raw = _gather(raw, raw.select(pl.arg_sort_by(*PLACE, maintain_order=True)).to_series()).with_row_index("_row")
    parsed = _gather(raw, raw["problem"].is_null().arg_true())
    partition = [*calendar.types()]
    values = parsed.select("_row", *partition, *(typed(column, form).alias(column.name) for column in contract.columns))
    problems = _select_reasons(raw.filter(pl.col("problem").is_not_null()), -1, pl.col("problem"))
    faults = pl.concat([problems, *_find_faults(values, parsed, contract, form, contract_schema(contract, calendar))])
    # Keys are compared among sound rows only, so that a bad row cannot displace a good one; and within a partition: a table that
    # changes slowly lands the same key in several.
    sound = _gather(values, (~values["_row"].is_in(faults["_row"].implode())).arg_true())
    del parsed, values
    order, is_first = _first_of_keys(sound, [calendar.column, *contract.unique])
    accepted = _gather(sound, order.filter(is_first).sort()).select(*contract.names, *partition)
    repeated = sound[order.filter(~is_first)]
    repeated = _select_reasons(repeated, 0, pl.lit(f"duplicate of key ({', '.join(contract.unique)})"))
    reasons = pl.concat([faults, repeated]).sort("_row", "place", maintain_order=True)
    reasons = reasons.group_by("_row", maintain_order=True).agg(reasons=pl.col("reason").str.join("; "))
    places = dict.fromkeys((*partition, *PLACE))
    quarantined = raw[reasons["_row"]].select(*contract.names, *places, reasons=reasons["reasons"])
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


def _select_reasons(rows: pl.DataFrame, place: int, reason: pl.Expr) -> pl.DataFrame:
    return rows.select("_row", place=pl.lit(place, pl.Int32()), reason=reason)


def _describe(column: Column, reason: pl.Expr) -> pl.Expr:
    shown = pl.col(column.name).str.slice(0, MAX_SHOWN).str.replace_all(r"[\r\n]+", " ")
    return pl.format("{}: '{}' {}", pl.lit(column.name), shown, reason)


def _find_faults(
    values: pl.DataFrame, parsed: pl.DataFrame, contract: Contract, form: Form, schema: pa.DataFrameSchema
) -> list[pl.DataFrame]:
    """Reasons in the order of the columns: mistyped values, and pandera's failure cases for the others."""
    cases = _find_cases(schema, values.drop("_row"))
    name = pl.when(pl.col("schema_context") == "Column").then("column").otherwise(pl.lit(contract.day))
    cases = cases.select(_row=values["_row"].gather(cases["index"]), _column=name, _check="check")
    cases = cases.join(parsed, on="_row", how="left")
    faults: list[pl.DataFrame] = []
    for place, column in enumerate(contract.columns):
        mistyped = parsed.filter(
            parsed.select(landed_text(column, form).is_not_null()).to_series() & values[column.name].is_null()
        )
        violations = cases.filter(pl.col("_column") == column.name).join(mistyped, on="_row", how="anti")
        missing, violation = pl.lit(f"{column.name}: missing"), _describe(column, pl.col("_check"))
        reason = pl.when(pl.col("_check") == "not_nullable").then(missing).otherwise(violation)
        faults += [
            _select_reasons(mistyped, place, _describe(column, fault(column, form))),
            _select_reasons(violations, place, reason),
        ]
        if column.since:
            late = parsed.filter(landed_text(column, form).is_null() & (pl.col("day") >= column.since) & (not column.nullable))
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
