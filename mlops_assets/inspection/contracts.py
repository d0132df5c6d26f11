"""The column of a contract for an inspected column: what is legal in later files, and not in the first one alone."""

import math
import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from mlops_assets.inspection.columns import InspectedColumn, Kind, extent
from mlops_assets.spec.contract import Column

NUMBERS = ("int", "float", "decimal")
WIDER = 5  # times the largest number of the first file: a price may rise, and a unit be mistaken by 1000
LARGEST_BOUND = 1e15
# What may be negative tomorrow, although no row of the first file is.
SIGNED = re.compile(r"temp|celsius|balance|saldo|profit|gewinn|margin|change|delta|diff|growth|return|net_|latitude|longitude")
# Texts with more values, or with rarer ones, may have new ones tomorrow, and their rows would be refused.
MAX_ALLOWED, ROWS_A_LEVEL, SHARE_A_LEVEL = 6, 20, 0.02
NO_INPUT: dict[Kind, str] = {
    "identifier": "an identifier, of which every row has another one: no input of the model",
    "constant": "the same value in every row: no input of the model",
    "free text": "free text: no input of the model, until a HashedWords or TextLength makes one of it",
    "many levels": "too many different values to learn from: no input of the model",
    "empty": "no value in any row: it is ignored",
}


def declare_column(
    column: InspectedColumn, *, is_label: bool, is_required: bool, is_whole: bool, levels: Sequence[Any]
) -> Column:
    """`is_required`: every row has it. `is_whole`: all rows of the file were inspected. `levels`: the legal ones of a label."""
    fields: dict[str, Any] = {"source": column.header} if column.header != column.name else {}
    if is_label or (not is_required and (column.missing or not is_whole)):
        fields["nullable"] = True
    fields |= {"yes": column.yes, "no": column.no} if column.yes else {}
    fields |= dict(zip(("precision", "scale"), column.digits, strict=True)) if column.digits else {}
    fields |= _bounds(column, levels) if column.dtype in NUMBERS else {}
    allowed = levels if is_label else _allowed(column, is_whole=is_whole)
    fields |= {"allowed": tuple(allowed)} if column.dtype == "string" and allowed else {}
    fields |= {"pii": "hashed"} if column.personal and not (is_label or is_required) else {}
    return Column(name=column.name, dtype=column.dtype, **fields, description=describe_values(column))


def _bounds(column: InspectedColumn, levels: Sequence[Any]) -> dict[str, Any]:
    if levels:
        return {"min": min(levels), "max": max(levels)}
    low, high = extent(column.values)
    largest = max(abs(low), abs(high))
    if column.kind != "value" or largest > LARGEST_BOUND:
        return {}
    bound = round_up(WIDER * float(largest))
    bound = bound if column.dtype == "float" and bound < 1 else int(bound)
    return {"min": 0 if low >= 0 and not SIGNED.search(column.name) else -bound, "max": bound}


def round_up(number: float) -> float:
    """To 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(number)) if number else 1.0
    return next(step * power for step in (1, 2, 5, 10) if step * power >= number * (1 - 1e-9))


def _allowed(column: InspectedColumn, *, is_whole: bool) -> tuple[Any, ...]:
    counts = column.levels.values()
    is_closed = is_whole and column.kind == "value" and not column.personal and 1 < len(counts) <= MAX_ALLOWED
    return tuple(sorted(column.levels)) if is_closed and min(counts) >= max(ROWS_A_LEVEL, SHARE_A_LEVEL * sum(counts)) else ()


def describe_values(column: InspectedColumn) -> str:
    """What the first file has, for a person who replaces it by the meaning."""
    missing = f", {column.missing / len(column.values):.0%} missing" if column.missing else ""
    return f"In the first file {_describe(column)}{missing}."


def _describe(column: InspectedColumn) -> str:
    known = column.values.drop_nulls()
    if column.dtype == "bool":
        return f"true in {int(known.sum()) / len(known):.0%} of the rows"
    if column.personal or column.kind in ("free text", "identifier"):
        return f"{known.n_unique():,} different values"
    if column.kind == "constant":
        return f"always {extent(known)[0]!r}"
    if column.dtype == "string":
        return f"{known.n_unique():,} different values, most often {str(next(iter(column.levels)))[:30]!r}"
    low, high = extent(known)
    shown = (low, high) if isinstance(low, int) else (f"{low:.4g}", f"{high:.4g}") if isinstance(low, float) else _days(known)
    return f"{shown[0]} to {shown[1]}"


def _days(known: pl.Series) -> tuple[str, str]:
    low, high = extent(known)
    return f"{low}"[:10], f"{high}"[:10]
