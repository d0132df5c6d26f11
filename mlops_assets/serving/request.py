"""From the bytes of a request to a typed frame, or to the list of everything that is wrong with it.

Belongs here: reading and checking requests against the contract's columns. Not here: HTTP (web.py) and features.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, cast

import polars as pl

from mlops_assets.ports.prediction_log import DTYPES
from mlops_assets.spec.contract import Column, DType
from mlops_assets.spec.use_case import UseCase

MAX_ROWS = 10_000
MAX_PROBLEMS = 20
MIN_YEAR, MAX_YEAR = 1900, 2200  # what every table format on the way can hold
MAX_INTEGER = 2**63 - 1
SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: which row (from 0; None: the whole request), which field, and what would be right."""

    row: int | None
    field: str | None
    found: str
    legal: str
    next: str


class BadRequest(ValueError):
    """A request that cannot be answered. `problems` holds at most MAX_PROBLEMS of `total`."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems[:MAX_PROBLEMS])
        self.total = len(problems)
        super().__init__(f"{self.total} problems; the first: {self.problems[0]}")

    def to_dict(self) -> dict[str, Any]:
        said = [asdict(problem) for problem in self.problems]
        return {"error": said[0], "errors": said, "total_errors": self.total}


class _Illegal(Exception):
    """One value that is not legal; carries what is."""

    def __init__(self, legal: str, next: str = "Correct the value.") -> None:
        super().__init__(legal)
        self.legal, self.next = legal, next


def read_rows(body: bytes, columns: Sequence[Column], max_rows: int = MAX_ROWS) -> pl.DataFrame:
    """One typed row for each object in {"rows": [...]}, in order. Raises BadRequest."""
    rows = _rows(body, max_rows)
    problems: list[Problem] = []
    values: dict[str, list[object]] = {column.name: [] for column in columns}
    for index, row in enumerate(rows):
        if isinstance(row, dict):
            _read_row(index, cast(dict[str, object], row), columns=columns, values=values, problems=problems)
        else:
            problems.append(Problem(index, None, _shown(row), _object(columns), "Send an object for each row."))
    if problems:
        raise BadRequest(problems)
    return pl.DataFrame(values, schema={column.name: DTYPES[column.dtype] for column in columns})


def request_columns(use_case: UseCase) -> tuple[Column, ...]:
    """The columns that a request carries, in the order of the declaration."""
    contract = use_case.contract(use_case.features.request_table)
    return tuple(contract.column(name) for name in use_case.features.request)


def legal_values(column: Column) -> str:
    """What a column accepts, in words."""
    words = {"string": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
    said = words.get(column.dtype, "a moment in ISO 8601, UTC unless an offset is given")
    if column.allowed:
        said = f"one of {', '.join(column.allowed)}"
    if column.pattern:
        said += f" matching {column.pattern}"
    if column.min is not None or column.max is not None:
        said += f" from {_bound(column.min, '-∞')} to {_bound(column.max, '∞')}"
    said += "" if column.example is None else f", such as {column.example}"
    return f"{said}, or null" if column.nullable else said


def _rows(body: bytes, max_rows: int) -> list[object]:
    legal = 'a JSON object {"rows": [{…}, …]}'
    try:
        said: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest([Problem(None, None, f"not JSON: {error}", legal, "Send JSON.")]) from None
    if not isinstance(said, dict) or set(cast(dict[str, object], said)) != {"rows"}:
        raise BadRequest([Problem(None, "rows", _shown(cast(object, said)), legal, "Send one object with the one field rows.")])
    rows = cast(dict[str, object], said)["rows"]
    if not isinstance(rows, list):
        raise BadRequest([Problem(None, "rows", _shown(rows), "a list of objects", "Send a list.")])
    count = len(cast(list[object], rows))
    if not 1 <= count <= max_rows:
        next_step = "Send at least one row." if count == 0 else "Send several smaller requests."
        raise BadRequest([Problem(None, "rows", f"{count} rows", f"1 to {max_rows} rows", next_step)])
    return cast(list[object], rows)


def _read_row(
    index: int, row: dict[str, object], *, columns: Sequence[Column], values: dict[str, list[object]], problems: list[Problem]
) -> None:
    """Appends one value to each column of `values`, or what is wrong to `problems`."""
    for column in columns:
        name = column.name
        try:
            values[name].append(_value(row, column))
        except _Illegal as illegal:
            found = _shown(row[name]) if name in row else "nothing"
            problems.append(Problem(index, name, found, illegal.legal, illegal.next))
    known = {column.name for column in columns}
    legal = ", ".join(sorted(known))
    for name in row.keys() - known:
        problems.append(Problem(index, name[:SHOWN_CHARACTERS], "an unknown field", legal, "Remove or rename it."))


def _value(row: dict[str, object], column: Column) -> object:
    if column.name not in row:
        raise _Illegal(legal_values(column), "Add the field.")
    value = row[column.name]
    if value is None:
        if column.nullable:
            return None
        raise _Illegal(legal_values(column))
    try:
        value = READERS[column.dtype](value)
    except (TypeError, ValueError, OverflowError):
        raise _Illegal(legal_values(column)) from None
    if not _within(value, column):
        raise _Illegal(legal_values(column))
    return value


def _within(value: object, column: Column) -> bool:
    if isinstance(value, str):
        listed = not column.allowed or value in column.allowed
        return listed and (not column.pattern or re.fullmatch(column.pattern, value) is not None)
    if isinstance(value, int | float):
        return (column.min is None or value >= column.min) and (column.max is None or value <= column.max)
    return True


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # a lone surrogate is legal JSON and no text
    return value


def _whole_number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_INTEGER:
        raise TypeError
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    if not MIN_YEAR <= moment.year < MAX_YEAR:
        raise ValueError
    return moment


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


READERS: dict[DType, Callable[[object], object]] = {
    "string": _text,
    "int": _whole_number,
    "float": _number,
    "datetime": _moment,
    "bool": _truth,
}


def _object(columns: Sequence[Column]) -> str:
    return f"an object with the fields {', '.join(column.name for column in columns)}"


def _bound(value: float | None, absent: str) -> str:
    return absent if value is None else f"{value:g}"


def _shown(value: object) -> str:
    """The value as JSON says it, in ASCII, cut short."""
    try:
        said = json.dumps(value)
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"
    return said if len(said) <= SHOWN_CHARACTERS else f"{said[:SHOWN_CHARACTERS]}…"
