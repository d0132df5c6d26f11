"""The lines and the header of a landed CSV file: no line is lost, and a wrong header is described."""

import codecs
import csv
import difflib
import io
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import islice
from typing import BinaryIO, NamedTuple

from mlops_assets.spec.contract import Contract
from mlops_assets.spec.form import Csv

MAX_ROW_LINES = 50  # a quoted value may span lines; a quote that never closes must not swallow the file
SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
MAX_LINE_CHARACTERS = 1_000_000
WHOLE_FILE = 0  # the line of a problem that a file has as a whole
MAX_SHOWN = 200  # characters of foreign text in a message
MAX_COMPARED = 1000  # names of a header that are searched for one like a missing column: 20 µs each


class Line(NamedTuple):
    """One row with all its lines as `text`, as delivered; a blank line has no fields."""

    number: int
    text: str
    fields: list[str]
    problem: str | None = None


CSV = Csv()
NO_HEADER = Line(1, "", [])


def columns_in(header: list[str], contract: Contract) -> list[str]:
    """The columns of a header by their names in the contract; others by a name that no column has."""
    names, declared = {column.header: column.name for column in contract.columns}, {*contract.names}
    return [names.get(name, f"({name})" if name in declared else name) for name in _present(header, contract)]


def _present(header: list[str], contract: Contract) -> list[str]:
    """The columns by their present names in the files."""
    present = {column.renamed_from: column.header for column in contract.columns}
    return [present.get(name, name) for name in header]


def find_cut(header: Line) -> str | None:
    """A file that is cut off within its header would read as a day without rows."""
    is_whole = not header.text or header.text.endswith(("\n", "\r"))
    return None if is_whole else "the header is cut off by the end of the file (no line end)"


def find_header_problem(
    header: list[str], contract: Contract, day: date | None = None, *, delimiter: str | None = ","
) -> str | None:
    """What is wrong with the header of a day's file (None: of any day), or None; the order of the columns is free.
    `delimiter`: of a CSV file.
    """
    legal = [column.header for column in contract.columns]
    if not header:
        return f"the file is empty; expected a header and rows with the columns {', '.join(legal)}"
    header = _present(header, contract)
    missing = [column.header for column in contract.columns if column.header not in header and column.holds_on(day)]
    known = {*legal, *contract.dropped}
    unknown = [name for name in header if name not in known]
    repeated = sorted({name for name, count in Counter(header).items() if count > 1} & known)
    problems: list[str] = []
    for name in missing:
        only = unknown if len(unknown) == len(missing) == 1 else []
        similar = difflib.get_close_matches(name, unknown[:MAX_COMPARED], n=1) or only
        problems.append(f"{name!r} is missing{f' (renamed to {shorten(similar[0])!r}?)' if similar else ''}")
    problems += [f"{shorten(name)!r} is unknown" for name in unknown] + [f"{name!r} comes twice" for name in repeated]
    columns = f"found the columns {shorten(', '.join(header))}; expected {', '.join(legal)}"
    if separator := _find_separator(header, legal, delimiter):
        return f"the columns are separated by {separator}; legal: {_named(delimiter)}; {columns}"
    return f"{shorten('; '.join(problems))}; {columns}" if problems else None


def _find_separator(header: list[str], legal: list[str], delimiter: str | None) -> str | None:
    """Another separator that parts the header into more of the legal columns than the delimiter does."""
    if delimiter is None:
        return None

    def count(separator: str) -> int:
        return len({name.strip(' "') for name in delimiter.join(header).split(separator)} & {*legal})

    best = max((delimiter, *SEPARATORS), key=count)  # the delimiter, which comes first, if no other is better
    return None if best == delimiter else _named(best)


def _named(separator: str | None) -> str:
    return SEPARATORS.get(separator or "", repr(separator))


def is_utf_8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def read_lines(file: BinaryIO, max_characters: int = -1, encoding: str = "utf-8", ends: str = "\n\r") -> Iterator[str]:
    """The physical lines with their ends, any of `ends`; of a longer line its first `max_characters`.

    A byte that is no text becomes a lone surrogate, so that none is lost. Raises UnicodeError for an encoding of two bytes.
    """
    newline = ends if len(ends) == 1 else ""  # which is any
    text = io.TextIOWrapper(file, "utf-8-sig" if is_utf_8(encoding) else encoding, "surrogateescape", newline=newline)
    while line := text.readline(max_characters):
        rest = line
        while len(rest) == max_characters and rest[-1] not in ends:
            rest = text.readline(max_characters)
        yield line


def parse_lines(lines: Iterator[str], form: Csv = CSV) -> Iterator[Line]:
    """Every physical line as part of exactly one row. The first that is not blank is the header, which has all columns, unless
    the form declares their names. A line that the form skips has no fields.
    """
    for number, text in enumerate(islice(lines, form.skip_lines), start=1):
        yield Line(number, text, [])
    at, width, waiting = 1 + form.skip_lines, len(form.names) or None, deque[str]()
    while waiting := waiting or deque(islice(lines, 1)):
        if form.quote in waiting[0]:
            waiting += islice(lines, MAX_ROW_LINES - len(waiting))
        fields, count, problem = _parse_row(waiting, width, form)
        text = "".join(waiting.popleft() for _ in range(count))
        if not text.strip("\r\n"):
            yield Line(at, text, [])
        elif width is None:
            width = len(fields)
            yield Line(at, text, [escape(field) for field in fields])
        elif problem := problem or _find_problem(text, fields, width, form.encoding):
            yield Line(at, text, [escape(field) for field in fields], problem)
        else:
            yield Line(at, text, fields)
        at += count


def _parse_row(lines: Sequence[str], width: int | None, form: Csv) -> tuple[list[str], int, str | None]:
    """The fields of the row that the first line starts, the number of its lines, and what is wrong with its quotes."""
    line = lines[0].rstrip("\r\n")
    if form.quote not in line:
        return line.split(form.delimiter), 1, None
    # Not pyarrow.csv: it loses rows and does not report them. Of two quotes that never close, 200 lines apart, it makes one row.
    # Nor store_rejects of DuckDB 2.0: it rejects those 201 lines as one, and from one such quote on all lines of a file.
    reader = csv.reader(lines, strict=True, delimiter=form.delimiter, quotechar=form.quote)
    try:
        fields = next(reader)
    except csv.Error:
        return line.split(form.delimiter), 1, "line has a quote that does not close a value"
    if reader.line_num > 1 and len(fields) != (width or len(fields)):
        return line.split(form.delimiter), 1, "line opens a quote that does not close"
    return fields, reader.line_num, None


def find_length_problem(text: str, ends: str = "\n\r") -> str | None:
    """Of a line that `read_lines` may have cut."""
    is_cut = len(text) >= MAX_LINE_CHARACTERS and text[-1] not in ends
    return f"line has {MAX_LINE_CHARACTERS:,} characters or more; shown are the first" if is_cut else None


def _find_problem(text: str, fields: list[str], width: int, encoding: str) -> str | None:
    if problem := find_length_problem(text):
        return problem
    if len(fields) > width:
        return f"line has {len(fields)} of {width} fields; beyond the last: {shorten(escape(', '.join(fields[width:])))!r}"
    if len(fields) < width:
        return f"line has {len(fields)} of {width} fields"
    if "\0" in text or (not text.isascii() and escape(text) != text):
        return f"line holds bytes that are not {encoding.upper()} text"
    return None if text.endswith(("\n", "\r")) else "line is cut off by the end of the file (no line end)"


def escape(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
