"""Contracts at work: every landed row is either accepted with its types or quarantined with its reasons.

Belongs here: text to types, pandera's checks, duplicates, the share of bad rows; the only home of pandera.
Not here: how files are read (ingestion/landing.py) and how a day compares with earlier days (expectations.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import cast

import pandera.polars as pa
import polars as pl
from pandera.config import ValidationDepth, config_context
from pandera.errors import SchemaErrors

from mlops_assets.ingestion.expectations import REMEDY, Finding, check_expectations
from mlops_assets.spec.contract import Column, Contract, DType

__all__ = ["Finding", "Split", "check_bad_share", "check_expectations", "contract_schema", "split_rows"]

DATETIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
TYPES: dict[DType, pl.DataType] = {
    "string": pl.String(),
    "int": pl.Int64(),
    "float": pl.Float64(),
    "datetime": pl.Datetime("us", "UTC"),
    "bool": pl.Boolean(),
}
SAID: dict[DType, str] = {
    "string": "text",
    "int": "a whole number",
    "float": "a finite number",
    "datetime": "a datetime",
    "bool": "true or false",
}
OTHER_DAY = "is not on the day of its file"
MAX_SHOWN = 60  # characters of a landed value in a reason; the whole value stands in its column
CASE = {"schema_context": pl.String(), "column": pl.String(), "check": pl.String(), "index": pl.Int32()}
PLACE = ("day", "source_file", "source_line")


@dataclass(frozen=True)
class Split:
    """`accepted`: the contract's columns, typed, and `day`. `quarantined`: the columns as landed, `day`, `source_file`,
    `source_line` and `reasons` (joined by '; '). Each row is in exactly one of them, in the order of day, file and line."""

    accepted: pl.DataFrame
    quarantined: pl.DataFrame


def contract_schema(contract: Contract) -> pa.DataFrameSchema:
    """The contract as pandera says it, for eager frames of its typed columns and `day` (Date).

    Keys are unique within a day: a table that changes slowly lands the same key on several days.
    """
    return pa.DataFrameSchema(
        {column.name: _schema_column(column) for column in contract.columns} | {"day": pa.Column(pl.Date())},
        checks=_day_checks(contract),
        unique=[*contract.unique, "day"],
        strict=True,
        name=contract.table,
    )


def _schema_column(column: Column) -> pa.Column:
    return pa.Column(TYPES[column.dtype], list(_column_checks(column)), nullable=column.nullable)


def _column_checks(column: Column) -> Iterator[pa.Check]:
    if column.min is not None:
        yield pa.Check.ge(column.min, error=f"is below {column.min:g}")
    if column.max is not None:
        yield pa.Check.le(column.max, error=f"is above {column.max:g}")
    if column.allowed:
        yield pa.Check.isin(column.allowed, error=f"is not one of {', '.join(column.allowed)}")
    if column.pattern:
        yield pa.Check.str_matches(column.pattern, error=f"does not match {column.pattern}")


def _day_checks(contract: Contract) -> list[pa.Check]:
    if contract.day is None:
        return []
    same = pl.col(contract.day).dt.date() == pl.col("day")

    def on_its_day(data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(same)

    return [pa.Check(on_its_day, error=OTHER_DAY)]


def split_rows(raw: pl.DataFrame, contract: Contract) -> Split:
    """Parts landed rows (text columns, `day`, `source_file`, `source_line`, `problem`) by the contract.

    A line that could not be told apart has that problem as its only reason. Of rows with one key, the first that has
    no other fault is accepted. Always accepted.height + quarantined.height == raw.height.
    """
    raw = raw.sort(*PLACE, maintain_order=True).with_row_index("_row")
    legible = raw.filter(pl.col("problem").is_null())
    typed = legible.select("_row", "day", *(_typed(column).alias(column.name) for column in contract.columns))
    problems = raw.filter(pl.col("problem").is_not_null()).select("_row", place=pl.lit(-1, pl.Int32()), reason="problem")
    unparsed = pl.concat([_unparsed(legible, column, place) for place, column in enumerate(contract.columns)])
    faults = pl.concat([problems, unparsed, _broken(typed, legible, unparsed, contract)])
    sound = typed.join(faults, on="_row", how="anti", maintain_order="left")
    repeated = sound.filter(pl.struct(*contract.unique, "day").is_first_distinct().not_()).select("_row")
    accepted = sound.join(repeated, on="_row", how="anti", maintain_order="left").select(*contract.names, "day")
    _validate(contract_schema(contract), accepted)
    faults = pl.concat([faults, _reasons(repeated, 0, pl.lit(f"duplicate of key ({', '.join(contract.unique)})"))])
    return Split(accepted, _quarantined(raw, faults, contract))


def _text(column: Column) -> pl.Expr:
    """The landed value; an empty one is missing."""
    return pl.when(pl.col(column.name) != "").then(pl.col(column.name))


def _typed(column: Column) -> pl.Expr:
    text = _text(column)
    match column.dtype:
        case "datetime":
            return text.str.to_datetime(DATETIME_FORMAT, time_unit="us", time_zone="UTC", strict=False)
        case "bool":
            return text.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean())
        case "float":
            number = text.cast(pl.Float64(), strict=False)
            return pl.when(number.is_finite()).then(number)
        case _:
            return text.cast(TYPES[column.dtype], strict=False)


def _reasons(rows: pl.DataFrame, place: int, reason: pl.Expr) -> pl.DataFrame:
    return rows.select("_row", place=pl.lit(place, pl.Int32()), reason=reason)


def _of_value(column: Column, fault: pl.Expr) -> pl.Expr:
    shown = pl.col(column.name).str.slice(0, MAX_SHOWN).str.replace_all(r"[\r\n]+", " ")
    return pl.format("{}: '{}' {}", pl.lit(column.name), shown, fault)


def _unparsed(legible: pl.DataFrame, column: Column, place: int) -> pl.DataFrame:
    """Reasons of values that are there and are not of their type."""
    found = legible.filter(_text(column).is_not_null() & _typed(column).is_null())
    return _reasons(found, place, _of_value(column, pl.lit(f"is not {SAID[column.dtype]}")))


def _broken(typed: pl.DataFrame, legible: pl.DataFrame, unparsed: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Reasons that pandera finds, in the order of the columns; a value that did not parse is not called missing too."""
    schema = contract_schema(contract)
    schema.unique = None  # keys are compared among sound rows only, so that a bad row cannot push out a good one
    cases = _validate(schema, typed.drop("_row"), collect=True)
    column = pl.when(pl.col("schema_context") == "Column").then("column").otherwise(pl.lit(contract.day))
    cases = cases.select(_row=typed["_row"].gather(cases["index"]), _column=column, _check="check")
    cases = cases.join(legible, on="_row", how="left")
    broken = [_broken_column(cases, column, place) for place, column in enumerate(contract.columns)]
    return pl.concat(broken).join(unparsed, on=["_row", "place"], how="anti")


def _broken_column(cases: pl.DataFrame, column: Column, place: int) -> pl.DataFrame:
    told = _of_value(column, pl.col("_check"))
    missing = pl.lit(f"{column.name}: missing")
    found = cases.filter(pl.col("_column") == column.name)
    return _reasons(found, place, pl.when(pl.col("_check") == "not_nullable").then(missing).otherwise(told))


def _validate(schema: pa.DataFrameSchema, rows: pl.DataFrame, *, collect: bool = False) -> pl.DataFrame:
    """Pandera's failure cases (`schema_context`, `column`, `check`, `index`) if `collect`, else it raises them.

    The depth is set here: an environment variable could switch the data checks off without a word.
    """
    none = pl.DataFrame(schema=CASE)
    with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        try:
            schema.validate(rows, lazy=True)
        except SchemaErrors as errors:
            cases = cast(pl.DataFrame, errors.failure_cases)
            if not collect or cases["index"].has_nulls():
                raise
            return none.vstack(cases.select(none.columns).cast(none.schema))
    return none


def _quarantined(raw: pl.DataFrame, faults: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    reasons = faults.sort("_row", "place", maintain_order=True).group_by("_row").agg(reasons=pl.col("reason").str.join("; "))
    return raw.join(reasons, on="_row", maintain_order="left").select(*contract.names, *PLACE, "reasons")


def check_bad_share(split: Split, contract: Contract) -> Finding:
    """The quarantined share of the worst day against `contract.max_bad_share`."""
    name, bound = "bad_share", f"at most {contract.max_bad_share:.1%}"
    parts = [split.accepted.select("day", bad=pl.lit(0)), split.quarantined.select("day", bad=pl.lit(1))]
    days = pl.concat(parts).group_by("day").agg(rows=pl.len(), bad=pl.col("bad").sum())
    days = days.with_columns(share=pl.col("bad") / pl.col("rows")).sort("share", "day", descending=[True, False])
    if days.is_empty():
        return Finding(name, True, 0.0, bound, f"{contract.table} · {name} · there are no rows.")
    worst = days.row(0, named=True)
    broken = f"{worst['bad']} of {worst['rows']} rows ({worst['share']:.1%}) break the contract"
    told = f"{contract.table} · {name} · {worst['day']}: {broken}; bound: {bound}"
    if worst["share"] <= contract.max_bad_share:
        return Finding(name, True, worst["share"], bound, f"{told}.")
    return Finding(name, False, worst["share"], bound, f"{told}. Commonest: {_commonest(split, worst['day'])}. {REMEDY}.")


def _commonest(split: Split, day: date) -> str:
    """The three commonest reasons of a day, without the values."""
    reason = pl.col("reasons").str.split("; ").explode().str.replace(r": '.*' ", " ")
    counts = split.quarantined.filter(pl.col("day") == day).select(reason).to_series().value_counts(sort=True)
    return ", ".join(f"{reason} ({count})" for reason, count in counts.head(3).iter_rows())
