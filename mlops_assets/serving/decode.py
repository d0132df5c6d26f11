"""Requests read fast: JSON straight into structs that are made from the declaration, and checked while they are read.

Belongs here: the structs and their constraints. Not here: saying what is wrong with a request, which request.py does.
One row of six columns takes 2 µs here and 25 in request.py; whatever is refused here is read again there.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import astuple

from mlops_assets.serving.request import (
    INPUTS,
    MAX_INTEGER,
    ROWS,
    Asked,
    BadRequest,
    Problem,
    in_utc,
    input_columns,
    read_request,
    request_columns,
)
from mlops_assets.spec.contract import Column
from mlops_assets.spec.use_case import UseCase

READ_AGAIN_BYTES = 2 * 1024 * 1024  # json.loads of 16 MB of empty objects takes 1.5 s and 400 MB, and nothing runs beside it
SAID_CHARACTERS = 200


class RequestDecoder:
    """Reads the requests of one use case."""

    def __init__(self, use_case: UseCase) -> None:
        self._use_case = use_case
        self._moments = [place for place, column in enumerate(request_columns(use_case)) if column.dtype == "datetime"]

    def __call__(self, body: bytes) -> Asked:
        """Raises BadRequest with everything that is wrong, or the first of it in a body above READ_AGAIN_BYTES."""
        try:
            return self._read(body)
        except (ValueError, OverflowError, RecursionError) as error:  # msgspec's errors are ValueErrors
            if len(body) > READ_AGAIN_BYTES:
                raise BadRequest([_first_problem(error)]) from None
            return read_request(body, self._use_case)

    def _read(self, body: bytes) -> Asked:
        said = self._decoder.decode(body)
        rows, inputs = _tuples(said.rows), _tuples(said.features)
        counts = {len(part) for part in (rows, inputs) if part is not None}
        if len(counts) != 1 or 0 in counts:
            raise ValueError("not as many rows as features, or none")
        return Asked(rows and [self._in_utc(row) for row in rows], inputs)

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[Any]:
        at_most = Meta(max_length=self._use_case.serving.limits.max_rows)
        parts = ((ROWS, request_columns(self._use_case)), (INPUTS, input_columns(self._use_case)))
        fields = [(name, Annotated[list[_struct(name, columns)], at_most] | UnsetType, UNSET) for name, columns in parts]
        return msgspec.json.Decoder(msgspec.defstruct("Request", fields, forbid_unknown_fields=True))

    def _in_utc(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        if not self._moments:
            return row
        values = list(row)
        for place in self._moments:
            values[place] = values[place] and in_utc(values[place])
        return tuple(values)


def _first_problem(error: Exception) -> Problem:
    found, next_step = str(error)[:SAID_CHARACTERS], "Correct it; of a smaller request, everything that is wrong is named."
    return Problem(None, None, found, "see /openapi.json", next_step)


def _tuples(structs: Sequence[msgspec.Struct] | UnsetType) -> list[tuple[Any, ...]] | None:
    return None if isinstance(structs, UnsetType) else [astuple(each) for each in structs]


def _struct(name: str, columns: Sequence[Column]) -> Any:
    """Garbage collection need not look at structs that hold plain values only."""
    fields = [(column.name, _type(column)) for column in columns]
    return msgspec.defstruct(name.title(), fields, forbid_unknown_fields=True, gc=False)


def _type(column: Column) -> Any:
    kinds: dict[str, Any] = {"string": str, "int": int, "float": float, "datetime": datetime, "bool": bool}
    kind: Any = kinds[column.dtype]
    if column.allowed:
        kind = Literal[tuple(each for each in column.allowed if not column.pattern or re.fullmatch(column.pattern, each))]
    elif column.pattern:
        kind = Annotated[str, Meta(pattern=rf"\A(?:{column.pattern})\Z")]
    elif column.dtype in ("int", "float"):
        least, most = (-MAX_INTEGER, MAX_INTEGER) if column.dtype == "int" else (None, None)
        bounds = {"ge": least if column.min is None else column.min, "le": most if column.max is None else column.max}
        if column.dtype == "int":
            bounds = {name: int(cast(float, bound)) for name, bound in bounds.items()}
        kind = Annotated[kind, Meta(**cast(dict[str, Any], {name: each for name, each in bounds.items() if each is not None}))]
    return kind | None if column.nullable else kind
