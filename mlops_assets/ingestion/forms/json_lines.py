"""Reads JSON lines: every line is a row or has a problem. A number is the text that the file has."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import BinaryIO, NamedTuple, cast

import polars as pl

from mlops_assets.ingestion.csv_lines import MAX_LINE_CHARACTERS, escape, find_length_problem, read_lines, shorten
from mlops_assets.ingestion.forms.table import PLACE, Table, UnreadableFile, in_parts
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.form import JsonLines

OBJECT, KEY, END = "a JSON object", "=", "\n"
AS_TEXT = {True: "true", False: "false"}


class Row(NamedTuple):
    """A line with a problem has its text, and no values."""

    number: int
    values: dict[str, str | None]
    problem: str | None = None
    text: str | None = None


class NoPlainRow(ValueError):
    """A line that is no object of plain values."""


def read_json_lines(file: BinaryIO, form: JsonLines, /, *, contract: Contract, max_bytes: int) -> Table:
    """A key that is not in the contract concerns the file if every row has it, else the row. A key may be left out where its
    column is nullable.
    """
    known = {name for column in contract.columns for name in (column.header, column.renamed_from) if name}
    lines = enumerate(read_lines(file, MAX_LINE_CHARACTERS, ends=END), start=1)
    first = next(lines, None)
    parsed = (_parse(number, line, contract.dropped) for number, line in chain([first] if first else [], lines) if line.strip())
    counts, parts, problem = Counter[str](), list[pl.DataFrame](), ""
    for rows in in_parts(parsed):
        counts.update(name for row in rows for name in ("", *row.values) if not row.problem)
        problem = problem or next((row.problem for row in rows if row.problem), "")
        parts.append(_frame([_with_known(row, known) for row in rows]))
    if problem and not counts:
        raise UnreadableFile(f"no line is {OBJECT}; the first {problem.removeprefix('line ')}. Deliver JSON lines")
    optional = [column.header for column in contract.columns if column.nullable or not counts]
    present = [name for name in counts if name and (name in known or counts[name] == counts[""])]
    header = [*dict.fromkeys((*present, *optional))] if first else []  # a file without a byte has no rows by accident

    def read(columns: Sequence[str | None]) -> Iterator[pl.DataFrame]:
        names = {source: name for source, name in zip(header, columns, strict=True) if name}
        for part in parts:
            yield _named(part, names)

    return Table(header, read)


def _frame(rows: list[Row]) -> pl.DataFrame:
    """A column for each key, whose name begins with KEY, and those of Row."""
    names = dict.fromkeys(name for row in rows for name in row.values)
    values = {KEY + name: [row.values.get(name) for row in rows] for name in names}
    place = {"problem": [row.problem for row in rows], "source_line": [row.number for row in rows]}
    schema = dict.fromkeys((*values, "text"), pl.String()) | PLACE
    return pl.DataFrame(values | place | {"text": [row.text for row in rows]}, schema_overrides=schema)


def _named(part: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    values = {name: pl.col(KEY + key) if KEY + key in part.columns else pl.lit(None, pl.String()) for key, name in names.items()}
    first = next(iter(values))  # has the text of a line that could not be parsed
    values[first] = pl.coalesce(values[first], "text")
    return part.select(**values, problem="problem", source_line="source_line")


def _with_known(row: Row, known: set[str]) -> Row:
    if unknown := [name for name in row.values if name not in known]:
        problem = f"line has the unknown {'columns' if len(unknown) > 1 else 'column'} {shorten(', '.join(unknown))}"
        return row._replace(problem=problem, values={name: value for name, value in row.values.items() if name in known})
    return row


def _parse(number: int, line: str, dropped: Collection[str]) -> Row:
    problem = find_length_problem(line, END)
    return _refused(number, line, problem) if problem else parse_line(number, line, dropped)


def parse_line(number: int, line: str, dropped: Collection[str]) -> Row:
    try:
        line.encode()
        return Row(number, _values(line, dropped))
    except UnicodeError:
        problem = "holds bytes that are not UTF-8 text"
    except NoPlainRow as error:
        problem = str(error)
    except (ValueError, RecursionError) as error:
        problem = f"is not {OBJECT}: {shorten(str(error))}"
    return _refused(number, line, f"line {problem}")


def _refused(number: int, line: str, problem: str) -> Row:
    return Row(number, {}, problem, escape(line.rstrip("\r\n")))


def _values(line: str, dropped: Collection[str]) -> dict[str, str | None]:
    """Raises NoPlainRow."""
    pairs = json.loads(line, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=tuple)
    if not isinstance(pairs, tuple):
        raise NoPlainRow(f"is not {OBJECT}")
    values: dict[str, str | None] = {}
    for name, value in cast(tuple[tuple[str, object], ...], pairs):
        if name in dropped:
            continue
        if name in values:
            raise NoPlainRow(f"has the key {shorten(name)!r} twice")
        if not isinstance(value, str | bool | None):
            raise NoPlainRow(f"has a nested value in {shorten(name)!r}; legal: {OBJECT} of plain values")
        values[name] = AS_TEXT[value] if isinstance(value, bool) else value
    if "\\u" in line and not is_text("".join(f"{name}{value}" for name, value in values.items())):
        raise NoPlainRow("holds characters that are no text")
    return values


def is_text(value: str) -> bool:
    """Whether it has no zero and no half of a character, which no table stores."""
    return "\0" not in value and not re.search("[\ud800-\udfff]", value)
