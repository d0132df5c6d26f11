"""From the bytes of a request to a typed frame, or to the list of everything that is wrong with it.

Belongs here: reading and checking requests against the contract's columns. Not here: HTTP (web.py) and features.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, cast

from mlops_assets.spec.contract import Column, DType
from mlops_assets.spec.use_case import UseCase

ROWS, INPUTS = "rows", "features"
INPUT = "An input of the model."
MAX_PROBLEMS = 20
MAX_COUNTED = 1000  # each takes some 5 µs, of the one thread that answers everybody
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
    """A request that cannot be answered. `problems` holds at most MAX_PROBLEMS of `total`, and `total`
    little more than MAX_COUNTED, where reading ended.
    """

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


@dataclass(frozen=True)
class Asked:
    """A request: the values of its rows, in the order of `request_columns`, and the inputs that came with it, in the order
    of `input_columns`, row by row; None where the request has no such part. It has at least one, of the same length.
    """

    rows: Sequence[tuple[Any, ...]] | None
    inputs: Sequence[tuple[Any, ...]] | None

    def __len__(self) -> int:
        return len(self.rows or self.inputs or ())


def read_request(body: bytes, use_case: UseCase) -> Asked:
    """Slowly, and with every problem named: decode.py reads what is right in a tenth of the time. Raises BadRequest."""
    said = {name: _listed(name, part, use_case) for name, part in _parts(body).items()}
    columns = {ROWS: request_columns(use_case), INPUTS: input_columns(use_case)}
    problems: list[Problem] = []
    parts = {name: _read_part(part, columns[name], problems) for name, part in said.items()}
    if len({len(part) for part in said.values()}) > 1:
        found = " and ".join(f"{len(part)} {name}" for name, part in said.items())
        problems.append(Problem(None, INPUTS, found, "as many features as rows", "Send one of each for a prediction."))
    if problems:
        raise BadRequest(problems)
    return Asked(parts.get(ROWS), parts.get(INPUTS))


def request_columns(use_case: UseCase) -> tuple[Column, ...]:
    """The columns that a request carries, in the order of the declaration."""
    contract = use_case.contract(use_case.features.request_table)
    return tuple(contract.column(name) for name in use_case.features.request)


def input_columns(use_case: UseCase) -> tuple[Column, ...]:
    """What a caller gives who brings the features: each input of the model, null where it is not known."""
    features = use_case.features
    numeric = (Column(name=name, dtype="float", description=INPUT, nullable=True) for name in features.numeric)
    categorical = (Column(name=name, dtype="string", description=INPUT, nullable=True) for name in features.categorical)
    return (*numeric, *categorical)


def legal_values(column: Column) -> str:
    """What a column accepts, in words."""
    words = {"string": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
    said = words.get(column.dtype, f"a moment in ISO 8601, {MIN_YEAR} to {MAX_YEAR - 1}, UTC unless an offset is given")
    if column.allowed:
        said = f"one of {', '.join(column.allowed)}"
    if column.pattern:
        said += f" matching {column.pattern}"
    if column.min is not None or column.max is not None:
        said += f" from {_bound(column.min, '-∞')} to {_bound(column.max, '∞')}"
    said += "" if column.example is None else f", such as {column.example}"
    return f"{said}, or null" if column.nullable else said


def _parts(body: bytes) -> dict[str, object]:
    """The fields of the request, rows or features or both."""
    legal = "a JSON object with a list of rows, a list of features, or both"
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest([Problem(None, None, f"not JSON: {error}", legal, "Send JSON.")]) from None
    parts = cast(dict[str, object], said) if isinstance(said, dict) else {}
    if not parts or parts.keys() - {ROWS, INPUTS}:
        raise BadRequest([Problem(None, ROWS, _shown(cast(object, said)), legal, "Send one object with these fields only.")])
    return parts


def _listed(name: str, part: object, use_case: UseCase) -> list[object]:
    if not isinstance(part, list):
        raise BadRequest([Problem(None, name, _shown(part), "a list of objects", "Send a list.")])
    count, most = len(cast(list[object], part)), use_case.serving.limits.max_rows
    if not 1 <= count <= most:
        next_step = "Send at least one row." if count == 0 else "Send several smaller requests."
        raise BadRequest([Problem(None, name, f"{count} {name}", f"1 to {most} {name}", next_step)])
    return cast(list[object], part)


def _read_part(part: list[object], columns: Sequence[Column], problems: list[Problem]) -> list[tuple[Any, ...]]:
    values: list[tuple[Any, ...]] = []
    for index, row in enumerate(part):
        if len(problems) >= MAX_COUNTED:
            break
        if isinstance(row, dict):
            values.append(_read_row(index, cast(dict[str, object], row), columns, problems))
        else:
            problems.append(Problem(index, None, _shown(row), _object(columns), "Send an object for each row."))
            values.append(())
    return values


def _read_row(index: int, row: dict[str, object], columns: Sequence[Column], problems: list[Problem]) -> tuple[Any, ...]:
    """The values of one row; what is wrong with it is added to `problems`."""
    values: list[object] = []
    for column in columns:
        name = column.name
        try:
            values.append(_value(row, column))
        except _Illegal as illegal:
            found = _shown(row[name]) if name in row else "nothing"
            problems.append(Problem(index, name, found, illegal.legal, illegal.next))
    known = {column.name for column in columns}
    legal = ", ".join(sorted(known))
    for name in islice(row.keys() - known, MAX_COUNTED):
        problems.append(Problem(index, name[:SHOWN_CHARACTERS], "an unknown field", legal, "Remove or rename it."))
    return tuple(values)


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
    return in_utc(datetime.fromisoformat(_text(value)))


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC; without an offset it is UTC already. Raises ValueError outside MIN_YEAR to MAX_YEAR."""
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
