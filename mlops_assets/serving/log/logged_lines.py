"""Lines of the prediction log as rows of the present declaration, whichever declaration they were written by."""

import json
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from mlops_assets.foundation.conversions import UTC, convert

AS_NUMBER = {"true": "1", "false": "0"}  # a column may be a boolean in one declaration and a number in another
AS_BOOLEAN = {number: text for text, number in AS_NUMBER.items()}
Types = Mapping[str, pl.DataType]


def parse_lines(lines: bytes, schema: pl.Schema, renamed: Mapping[str, str]) -> tuple[pl.DataFrame, list[bytes]]:
    """The rows of whole lines, and the lines that are none. `renamed` has the present name of former columns."""
    try:
        return _parse(lines, schema, renamed), []
    except pl.exceptions.PolarsError:  # of one line, for all of them
        return _parse_one_by_one(lines, schema, renamed)


def _parse(lines: bytes, schema: pl.Schema, renamed: Mapping[str, str]) -> pl.DataFrame:
    moments = [name for name, dtype in schema.items() if dtype == UTC]
    exact = [name for name, dtype in schema.items() if dtype.is_decimal() or dtype == pl.Date()]
    text = _read(lines, {**schema, **dict.fromkeys((*moments, *exact), pl.String())}, renamed)
    rows = text.with_columns(
        pl.col(moments).str.to_datetime("%+", time_unit="us", time_zone="UTC"),
        *(_from_text(name, schema[name]) for name in exact),
    )
    if any(rows[name].null_count() > text[name].null_count() for name in exact):
        raise pl.exceptions.ComputeError("a text has no equal value")
    return rows


def _read(lines: bytes, types: Types, renamed: Mapping[str, str]) -> pl.DataFrame:
    former = {old: types[new] for old, new in renamed.items()}
    names = {name: [name, *(old for old, new in renamed.items() if new == name)] for name in types}
    return pl.read_ndjson(lines, schema={**types, **former}).select(pl.coalesce(names[name]).alias(name) for name in types)


def _parse_one_by_one(lines: bytes, schema: pl.Schema, renamed: Mapping[str, str]) -> tuple[pl.DataFrame, list[bytes]]:
    frames, unreadable = [pl.DataFrame(schema=schema)], list[bytes]()
    types = {name: dtype if dtype.is_nested() else pl.String() for name, dtype in schema.items()}
    for chunk, text in _read_parts([line for line in lines.split(b"\n") if line], types, renamed):
        rows = text.select(_from_text(name, dtype) for name, dtype in schema.items())
        is_lost = pl.any_horizontal(text[name].is_not_null() & rows[name].is_null() for name in schema)
        lost = text.select(is_lost).to_series() if text.height else pl.Series([True] * len(chunk))
        frames.append(rows.filter(~lost) if text.height else rows)
        unreadable += [line for line, is_one in zip(chunk, lost, strict=True) if is_one]
    return pl.concat(frames), unreadable


def _exact(line: bytes) -> bytes:
    """The line with each large float as its exact digits: Polars reads 2.537728283941277e16, which is ..768, as text ..770."""
    try:
        return json.dumps(json.loads(line, parse_float=_exact_number), separators=(",", ":")).encode()
    except ValueError:
        return line


def _exact_number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() and abs(value) >= 2**53 else value


def _read_parts(
    lines: Sequence[bytes], types: Types, renamed: Mapping[str, str]
) -> Iterator[tuple[Sequence[bytes], pl.DataFrame]]:
    """The lines in parts that can be read, as text; without rows for one that is no JSON."""
    try:
        text = _read(b"\n".join(map(_exact, lines)), types, renamed)
    except pl.exceptions.PolarsError:
        text = pl.DataFrame(schema=dict(types))
    if text.height == len(lines) or len(lines) == 1:
        yield lines, text
    else:
        half = len(lines) // 2
        yield from _read_parts(lines[:half], types, renamed)
        yield from _read_parts(lines[half:], types, renamed)


def _from_text(name: str, dtype: pl.DataType) -> pl.Expr:
    text = pl.col(name)
    if dtype.is_nested():
        return text
    if dtype.is_numeric():
        text = text.replace(AS_NUMBER)
    return convert(text.replace(AS_BOOLEAN) if dtype == pl.Boolean() else text, dtype)
