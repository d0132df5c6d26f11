"""The values of a request: how a declared column becomes a checked type, a JSON Schema and a text for people."""

import math
import re
from abc import ABC
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlops_assets.spec.column_type import bound_text
from mlops_assets.spec.contract import Column, parse_decimal
from mlops_assets.spec.moment import MAX_YEAR, MIN_YEAR, parse_date, parse_moment

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
NAMES = {
    "string": "text",
    "category": "text",
    "int": "a whole number",
    "float": "a number",
    "decimal": "a decimal number as text, of up to {precision} digits, {scale} of them after the point,",
    "bool": "true or false",
    "datetime": f"a moment in ISO 8601, {MIN_YEAR} to {MAX_YEAR - 1}, UTC where it has no offset",
    "date": f"a date such as 2013-07-01, {MIN_YEAR} to {MAX_YEAR - 1}",
}


class Moment(ABC):  # noqa: B024 - only its registered class matters
    """A datetime in UTC. Its own class, because msgspec's datetime accepts one format of ISO 8601 and any year."""

    read = staticmethod(parse_moment)


class Day(ABC):  # noqa: B024
    """A date. Its own class, because msgspec's date accepts any year."""

    read = staticmethod(parse_date)


Moment.register(datetime)
Day.register(date)


def _digits(column: Column) -> type[Any]:
    """A class for the decimals of the column, which are text: a JSON number would be read as the nearest float."""

    class Digits(ABC):  # noqa: B024
        @staticmethod
        def read(text: str) -> Decimal:
            return parse_decimal(text, column)

    Digits.register(Decimal)
    return Digits


def read_value(kind: Any, value: object) -> Any:
    """Raises ValueError for what is no moment, date or decimal."""
    return kind.read(value if isinstance(value, str) else "")


def value_type(column: Column) -> Any:
    """The type, with its constraints, that msgspec checks one value of the column against."""
    text = Annotated[str, Meta(min_length=1, pattern=column.pattern and rf"^(?:{column.pattern})$(?!\n)")]
    least = MIN_INTEGER if column.min is None else math.ceil(column.min)
    most = MAX_INTEGER if column.max is None else math.floor(column.max)
    kinds: dict[str, Any] = {
        # An empty value is missing, as in a file. In Python, unlike in JSON Schema, `$` also matches before a final line end.
        "string": text,
        "category": text,
        "int": Annotated[int, Meta(ge=least, le=most)],
        "float": Annotated[float, Meta(ge=column.min, le=column.max)],
        "datetime": Moment,
        "bool": bool,
        "date": Day,
        "decimal": _digits(column),
    }
    allowed = tuple(value for value in column.allowed if not column.pattern or re.fullmatch(column.pattern, value))
    kind: Any = Literal[allowed] if column.allowed else kinds[column.dtype]
    return kind | None if column.nullable else kind


def value_schema(column: Column) -> dict[str, Any]:
    """The JSON Schema of one value, in the dialect of OpenAPI 3.0."""
    years = r"^(19|2[01])\d\d-"  # those of parse_moment
    texts: dict[str, dict[str, Any]] = {
        "datetime": {"format": "date-time", "pattern": years},
        "date": {"format": "date", "pattern": years},
        "decimal": {"pattern": r"^[+-]?\d*(\.\d*)?$"},
    }
    hook: dict[str, Any] = {"type": "string"} | texts.get(column.dtype, {})
    schema = msgspec.json.schema(value_type(column.but(nullable=False)), schema_hook=lambda _: hook)
    facets = {"nullable": column.nullable or None, "example": column.example}
    facets["description"] = f"{column.description} Legal: {legal_values(column)}."
    return schema | {name: value for name, value in facets.items() if value is not None}


def legal_values(column: Column) -> str:
    """What a column accepts, for people."""
    legal = NAMES[column.dtype].format(precision=column.precision, scale=column.scale)
    if column.allowed:
        legal = f"one of {', '.join(column.allowed)}"
    if column.pattern:
        legal += f" matching {column.pattern}"
    if column.min is not None or column.max is not None:
        least, most = (
            absent if bound is None else bound_text(bound) for bound, absent in ((column.min, "-∞"), (column.max, "∞"))
        )
        legal += f" from {least} to {most}"
    legal += "" if column.example is None else f", such as {column.example}"
    return f"{legal}, or null" if column.nullable else legal
