"""Column types: what a type is called, which fields of a column have a meaning on it, and how an example is written.

foundation/conversions.py adds how Polars stores a type and converts text to it, serving/http/value_types.py how a request has it.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from mlops_assets.spec.moment import parse_date, parse_moment

DType = Literal["string", "category", "int", "float", "decimal", "bool", "datetime", "date"]
NUMBERS: tuple[DType, ...] = ("int", "float", "decimal")
TEXTS: tuple[DType, ...] = ("string", "category")
MOMENT, DAY = "2013-07-01T14:05:00Z", "2013-07-01"


class ColumnType(NamedTuple):
    """`words` complete "is not …"; `sql` is shown in Dagster's column schema, with the column's fields filled in; `examples` are
    the Python types of an example, which `parse` accepts or raises ValueError; `sample` is one. `read_as` is how a model
    reads the column by default: moments and days are read by request features alone.
    """

    words: str
    sql: str
    read_as: Literal["numeric", "categorical"] | None
    examples: tuple[type, ...]
    sample: str | float
    parse: Callable[[Any], object] = lambda value: value


COLUMN_TYPES: dict[DType, ColumnType] = {
    "string": ColumnType("text", "string", "categorical", (str,), "text"),
    "category": ColumnType("text", "string", "categorical", (str,), "text"),
    "int": ColumnType("a whole number", "bigint", "numeric", (int,), 1),
    "float": ColumnType("a finite number", "double", "numeric", (int, float), 1.0),
    "decimal": ColumnType("a decimal number with the declared digits", "decimal({precision},{scale})", "numeric", (str,), "1"),
    "bool": ColumnType("true or false", "boolean", "numeric", (bool,), True),
    "datetime": ColumnType(f"a datetime such as {MOMENT}", "timestamp (UTC)", None, (str,), MOMENT, parse_moment),
    "date": ColumnType(f"a date such as {DAY}", "date", None, (str,), DAY, parse_date),
}
# The types on which a field of Column has a meaning.
LEGAL_ON: dict[str, tuple[DType, ...]] = {
    "min": NUMBERS, "max": NUMBERS, "allowed": TEXTS, "pattern": TEXTS, "yes": ("bool",), "no": ("bool",),
    "precision": ("decimal",), "scale": ("decimal",),
}  # fmt: skip


def parse_example(dtype: DType, value: object) -> object:
    """The value of an example; None of one that is no value of the type."""
    kind = COLUMN_TYPES[dtype]
    with suppress(ValueError):
        return kind.parse(value) if type(value) in kind.examples else None
    return None


def bound_text(bound: float) -> str:
    """A bound for people: an int with all its digits."""
    return str(bound) if isinstance(bound, int) else f"{bound:g}"
