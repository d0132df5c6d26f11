"""Reads CSV files in any dialect: every line is a row or has a problem."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import BinaryIO

import polars as pl

from mlops_assets.ingestion.csv_lines import MAX_LINE_CHARACTERS, NO_HEADER, Line, find_cut, parse_lines, read_lines
from mlops_assets.ingestion.forms.table import PLACE, Table, UnreadableFile, in_parts
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.form import Csv


def read_csv(file: BinaryIO, form: Csv, /, *, contract: Contract, max_bytes: int) -> Table:
    lines = _readable(parse_lines(read_lines(file, MAX_LINE_CHARACTERS, form.encoding), form), form)
    if form.names:
        first = next(lines, None)  # a file without a byte has no rows by accident
        header, lines = NO_HEADER._replace(fields=[*form.names] if first else []), chain([first] if first else [], lines)
    else:
        header = next((line for line in lines if line.fields), NO_HEADER)

    def rows(columns: Sequence[str | None]) -> Iterator[pl.DataFrame]:
        for part in in_parts(line for line in lines if line.fields):
            yield _frame(part, columns)

    return Table(header.fields, rows, find_cut(header), form.delimiter)


def _readable(lines: Iterator[Line], form: Csv) -> Iterator[Line]:
    try:
        yield from lines
    except UnicodeError as error:
        raise UnreadableFile(f"it is not {form.encoding.upper()} text: {error}. Correct the file, or its encoding") from None


def _frame(lines: Iterable[Line], columns: Sequence[str | None]) -> pl.DataFrame:
    """The fields as text, with the problem and the number of each line."""
    width, names = len(columns), [name or f"({place})" for place, name in enumerate(columns)]
    rows = [
        [*([*line.fields, *[None] * width][:width] if line.problem else line.fields), line.problem, line.number] for line in lines
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String()) | PLACE, orient="row")
