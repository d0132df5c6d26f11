"""Requests, parsed into structs that are built from the declaration or refused with every problem named."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import islice
from keyword import iskeyword
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta
from msgspec.structs import astuple, replace

from mlops_assets.serving.http.row_blocks import BLOCK_ROWS, RowsOfText, has_many_rows
from mlops_assets.serving.http.value_types import legal_values, read_value, value_type
from mlops_assets.spec.column_type import DType
from mlops_assets.spec.contract import Column
from mlops_assets.spec.use_case import UseCase

ROWS, INPUTS, EXPLAIN = "rows", "features", "explain"
MAX_PROBLEMS = 20
MAX_COUNTED = 1000  # up to 50 µs each
MAX_DETAILED_BYTES = 2 * 1024 * 1024  # 16 MB of empty objects take 400 MB as plain values: only their first problem is named
MAX_EXPLAINED = 10  # rows of one request, at 50 ms each
SHOWN_CHARACTERS, MESSAGE_CHARACTERS = 80, 200
BODY = "a JSON object with a list of rows, a list of features, or both"
CORRECT = "Correct the value."
# How msgspec ends a message that belongs to one row or field: the message, the part of the request, the row, the field.
PLACE = re.compile(r"(.*?) - at `\$\.(\w+)(?:\[(\d+)\](?:\.(\w+))?)?`")
# The categories of an input that is a request column of another type as well.
BOOLEANS, NUMBERS = ("true", "false"), {"int": "-?[0-9]{1,18}", "float": r"-?[0-9]{1,18}(\.[0-9]{1,18})?"}
Headers = Sequence[tuple[bytes, bytes]]


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong: which row (from 0; None: the whole request), which field, and what is legal."""

    row: int | None
    field: str | None
    found: str
    legal: str
    next: str


class BadRequest(ValueError):
    """A request that cannot be answered. `problems` holds at most MAX_PROBLEMS of `total`, which ends at MAX_COUNTED."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems, self.total = tuple(problems[:MAX_PROBLEMS]), len(problems)
        super().__init__(f"{self.total} problems; the first: {self.problems[0]}")

    def after(self, rows: int) -> "BadRequest":
        """The same of rows that follow so many others."""
        shifted = BadRequest([replace(one, row=None if one.row is None else one.row + rows) for one in self.problems])
        shifted.total = self.total
        return shifted

    def to_dict(self) -> dict[str, Any]:
        return {"error": self.problems[0], "errors": self.problems, "total_errors": self.total}


class Refusal(Exception):
    """A request that is refused for one reason other than its content, with an HTTP status and headers of the response."""

    def __init__(
        self, status: int, found: str, *, legal: str = "see /docs.json", next: str = "Try again later.", headers: Headers = ()
    ) -> None:
        super().__init__(f"{status}: {found}")
        self.status, self.headers, self.problem = status, headers, Problem(None, None, found, legal, next)


class PredictRequest(msgspec.Struct, frozen=True):
    """`rows` and `inputs`, each in the order of `request_parts`; None where the request has none. It has at least one of the
    two, of the same length. `started` and `deadline` are in seconds of the clock, `trace_id` has 32 hex digits.
    """

    rows: Sequence[tuple[Any, ...]] | None
    inputs: Sequence[tuple[Any, ...]] | None
    explain: bool = False
    started: float = 0.0
    deadline: float = math.inf
    trace_id: str = ""

    def __len__(self) -> int:
        return len(self.rows or self.inputs or ())

    def block(self, at: int) -> "PredictRequest":
        """BLOCK_ROWS rows from that one on. Raises BadRequest, as rows that are text are parsed."""
        rows, inputs = (part and part[at : at + BLOCK_ROWS] for part in (self.rows, self.inputs))
        return replace(self, rows=rows, inputs=inputs)


class RequestParser:
    """Parses the requests of one use case. One row of six columns takes 6 µs; only a refused body is decoded twice."""

    def __init__(self, use_case: UseCase) -> None:
        self._max_rows = use_case.serving.limits.max_rows
        self._types = {
            part: {column: value_type(column) for column in columns} for part, columns in request_parts(use_case).items()
        }
        contract = use_case.contract(use_case.features.request_table)
        self._known = {name for name in (*contract.names, *contract.dropped) if name.isidentifier() and not iskeyword(name)}
        self._structs = {part: self._struct(part, types) for part, types in self._types.items()}
        length = Meta(min_length=1, max_length=self._max_rows)
        parts = [(part, cast(Any, Annotated[list[struct], length]) | None, None) for part, struct in self._structs.items()]
        request = msgspec.defstruct("Request", [*parts, (EXPLAIN, bool, False)], forbid_unknown_fields=True)
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(request, dec_hook=read_value)
        texts = [(part, cast(Any, Annotated[list[msgspec.Raw], length]) | None, None) for part in self._structs]
        outline = msgspec.defstruct("Outline", [*texts, (EXPLAIN, bool, False)], forbid_unknown_fields=True)
        self._outline: msgspec.json.Decoder[Any] = msgspec.json.Decoder(outline)

    def _struct(self, part: str, types: Mapping[Column, Any]) -> type[msgspec.Struct]:
        """Other columns of the table, also dropped ones, are ignored: a client may send what is no request column any more."""
        fields: list[Any] = [(column.name, kind) for column, kind in types.items()]
        fields += [(name, Any, None) for name in sorted(self._known - {column.name for column in types})]
        # Without tracking by the garbage collector: plain values form no cycles.
        return msgspec.defstruct(part, fields, forbid_unknown_fields=True, gc=False)

    def __call__(self, body: bytes, *, started: float = 0.0, deadline: float = math.inf, trace_id: str = "") -> PredictRequest:
        """Raises BadRequest with all that is wrong, or with the first problem of a body above MAX_DETAILED_BYTES, whose rows
        are parsed, and refused, when they are read: as values they take several times the memory of their text.
        """
        is_large = len(body) > MAX_DETAILED_BYTES and has_many_rows(body, self._max_rows)
        try:
            parsed = (self._outline if is_large else self._decoder).decode(body)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise BadRequest(self._problems(body, error)) from None
        read = self._later if is_large else self._values
        rows, inputs = read(parsed.rows, ROWS), read(parsed.features, INPUTS)
        request = PredictRequest(rows, inputs, parsed.explain, started, deadline, trace_id)
        if problems := [*_count_problems(request.rows, request.inputs, explain=request.explain)]:
            raise BadRequest(problems)
        return request

    def _later(self, texts: list[msgspec.Raw] | None, part: str) -> Sequence[tuple[Any, ...]] | None:
        """Few rows at once, as they may be answered in the event loop."""
        if texts is None:
            return None
        rows = RowsOfText(texts, lambda few, at: self._parse_rows(few, part, at))
        return rows if len(rows) > BLOCK_ROWS else rows[:]

    def _parse_rows(self, texts: Sequence[msgspec.Raw], part: str, at: int) -> list[tuple[Any, ...]]:
        body = b'{"%s":[%s]}' % (part.encode(), b",".join(texts))
        try:
            return self._values(getattr(self._decoder.decode(body), part), part) or []
        except (ValueError, RecursionError) as error:
            raise BadRequest([_first_problem(error)]).after(at) from None

    def _values(self, rows: list[Any] | None, part: str) -> list[tuple[Any, ...]] | None:
        width = len(self._types[part])
        return rows and [astuple(row)[:width] for row in rows]

    def _problems(self, body: bytes, error: Exception) -> list[Problem]:
        if len(body) > MAX_DETAILED_BYTES:
            return [_first_problem(error)]
        try:
            content = msgspec.json.decode(body)
        except (ValueError, RecursionError) as malformed:
            return [Problem(None, None, f"not JSON: {malformed}"[:MESSAGE_CHARACTERS], BODY, "Send JSON.")]
        return [*islice(self._body_problems(content), MAX_COUNTED)] or [_first_problem(error)]

    def _body_problems(self, content: object) -> Iterator[Problem]:
        if not isinstance(content, dict) or cast(dict[str, object], content).keys() - {ROWS, INPUTS, EXPLAIN}:
            yield Problem(None, ROWS, _shown(cast(object, content)), BODY, "Send one object with these fields only.")
            return
        fields = cast(dict[str, object], content)
        explain = fields.get(EXPLAIN, False)
        if not isinstance(explain, bool):
            yield Problem(None, EXPLAIN, _shown(explain), "true or false", CORRECT)
        for part in self._types:
            yield from self._part_problems(part, fields.get(part))
        lists = [cast(list[object], value) if isinstance(value := fields.get(part), list) else None for part in self._types]
        yield from _count_problems(*lists, explain=explain is True)

    def _part_problems(self, part: str, rows: object) -> Iterator[Problem]:
        if rows is None:
            return
        if not isinstance(rows, list):
            yield Problem(None, part, _shown(rows), "a list of objects", "Send a list.")
            return
        count = len(cast(list[object], rows))
        if not 1 <= count <= self._max_rows:
            next_step = "Send several smaller requests." if count else "Send at least one row."
            yield Problem(None, part, f"{count} {part}", f"1 to {self._max_rows} {part}", next_step)
            return
        for index, row in enumerate(cast(list[object], rows)):
            if not _is_legal(row, self._structs[part]):
                yield from _row_problems(index, row, self._types[part], self._known)


def request_columns(use_case: UseCase) -> tuple[Column, ...]:
    """The columns that a request carries, in the order of the declaration."""
    contract = use_case.contract(use_case.features.request_table)
    return tuple(contract.column(name) for name in use_case.features.request)


def request_parts(use_case: UseCase) -> dict[str, tuple[Column, ...]]:
    """The columns of a row, and those of its features: each input of the model, null where it is not known."""
    features, columns = use_case.features, {column.name: column for column in request_columns(use_case)}
    inputs = [_input(name, "float", columns.get(name)) for name in features.numeric]
    inputs += [_input(name, "string", columns.get(name)) for name in features.categorical]
    return {ROWS: request_columns(use_case), INPUTS: tuple(inputs)}


def _input(name: str, dtype: DType, requested: Column | None) -> Column:
    """An input that is a request column as well has one value in the log, which must be one of the request column's type."""
    column = Column(name=name, dtype=dtype, description="An input of the model.", nullable=True)
    if requested is None or requested.pii:
        return column
    if dtype == "float":
        return column.but(dtype=requested.dtype, precision=requested.precision, scale=requested.scale)
    return column.but(allowed=BOOLEANS) if requested.dtype == "bool" else column.but(pattern=NUMBERS.get(requested.dtype))


def _count_problems(rows: Sequence[object] | None, inputs: Sequence[object] | None, *, explain: bool) -> Iterator[Problem]:
    """What is wrong with the numbers of rows and features together."""
    counts = {part: len(value) for part, value in ((ROWS, rows), (INPUTS, inputs)) if value is not None}
    most = max(counts.values(), default=0)
    if not counts:
        yield Problem(None, ROWS, "neither rows nor features", BODY, "Send at least one row.")
    if len({*counts.values()}) > 1:
        found = " and ".join(f"{count} {part}" for part, count in counts.items())
        yield Problem(None, INPUTS, found, "as many features as rows", "Send one of each for a prediction.")
    if explain and most > MAX_EXPLAINED:
        yield Problem(None, EXPLAIN, f"{most} rows", f"at most {MAX_EXPLAINED} rows", "Explain fewer at once.")


def _row_problems(index: int, row: object, types: Mapping[Column, Any], known: Set[str]) -> Iterator[Problem]:
    names = [column.name for column in types]
    if not isinstance(row, dict):
        yield Problem(index, None, _shown(row), f"an object with the fields {', '.join(names)}", "Send an object for each row.")
        return
    values = cast(dict[str, object], row)
    for column, kind in types.items():
        if column.name not in values:
            yield Problem(index, column.name, "nothing", legal_values(column), "Add the field.")
        elif not _is_legal(values[column.name], kind):
            yield Problem(index, column.name, _shown(values[column.name]), legal_values(column), CORRECT)
    renamed = {column.renamed_from: column.name for column in types if column.renamed_from}
    for name in (name for name in values if name not in names and name not in known):
        next_step = f"It is called {renamed[name]} now: rename it." if name in renamed else "Remove or rename it."
        yield Problem(index, name[:SHOWN_CHARACTERS], "an unknown field", ", ".join(sorted(names)), next_step)


def _is_legal(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind, dec_hook=read_value)
    except ValueError:
        return False
    return True


def _first_problem(error: Exception) -> Problem:
    match, next_step = PLACE.match(str(error)), "Correct it. In a smaller request every problem is named."
    found, part, row, field = match.groups() if match else (str(error), None, None, None)
    return Problem(None if row is None else int(row), field or part, found[:MESSAGE_CHARACTERS], "see /docs.json", next_step)


def _shown(value: object) -> str:
    """The value as ASCII JSON, cut short."""
    try:
        text = json.dumps(value)
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
