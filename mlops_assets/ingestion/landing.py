"""The landing folder: one CSV file per table and day, read as text without losing a line.

Python's csv module reads the quoted lines. pyarrow.csv loses rows instead of reporting them: of two quotes that never
close, 200 lines apart, it makes one legal row.
"""

import csv
import difflib
import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple

import polars as pl
import polars.selectors as cs

from mlops_assets.spec.contract import Contract

BOM = b"\xef\xbb\xbf"
DATETIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
DAY_FILE = re.compile(r"\d{4}-\d{2}-\d{2}\.csv")
LEFT_BEHIND = re.compile(r"\.new-.*|\..*\.part")  # by a process that was killed before its file was in place
MAX_LINES_A_ROW = 50  # a quoted value may span lines; one that opens and never closes must not swallow the file
MAX_SHOWN = 200  # characters of foreign text in a message


class Line(NamedTuple):
    """One row with all its lines as `text`, as delivered; a blank line has no fields."""

    number: int
    text: str
    fields: list[str]
    problem: str | None = None


NO_HEADER = Line(1, "", [])


class BrokenDelivery(ValueError):
    """A landed file without the contract's columns."""


class MissingDelivery(FileNotFoundError):
    """A required file that has not landed."""


@dataclass(frozen=True)
class Landing:
    """Files at `root`/<use_case>/<table>/<YYYY-MM-DD>.csv."""

    root: Path

    def path(self, use_case: str, table: str, day: date) -> Path:
        return self.root / use_case / table / f"{day.isoformat()}.csv"

    def put(self, use_case: str, table: str, *, day: date, rows: pl.DataFrame) -> bool:
        """Writes one day's file, whole or not at all; datetimes are written as UTC, `2013-07-01T14:05:00Z`.

        Returns whether the content is new; an identical file is left untouched.
        """
        path = self.path(use_case, table, day)
        in_utc = rows.with_columns(cs.datetime(time_zone="*").dt.convert_time_zone("UTC"))
        content = in_utc.write_csv(datetime_format=DATETIME_FORMAT).encode()
        if path.exists() and path.read_bytes() == content:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        part.write_bytes(content)
        os.replace(part, path)
        return True

    def digests(self, use_case: str, table: str) -> dict[str, str]:
        """ISO day -> 12 hex digits over the file's content, in the order of the days."""
        return {path.stem: _digest(path) for path in self.files(use_case, table)}

    def read(self, use_case: str, contract: Contract, days: Sequence[date], *, required: bool) -> pl.DataFrame:
        """The lines of these days: every column of `contract` as String, exactly as landed, then their place.

        That is `day` (Date), `source_file` (String, relative to `root`), `source_line` (Int64, the header is line 1) and
        `problem` (String, null unless the line cannot be parsed). An empty value is "", one that is
        not there is null; blank lines are skipped. A line that the file's end cuts off is a problem too: its last value
        may be half a value. Raises MissingDelivery for a `required` file that is absent (else such a day has no rows)
        and BrokenDelivery for a file that is empty or whose columns are not the contract's.
        """
        landed = [day for day in days if self._has_landed(use_case, contract, day, required=required)]
        read = [self.read_file(self.path(use_case, contract.table, day), contract, day) for day in landed]
        return pl.concat([pl.DataFrame(schema=_schema(contract)), *read])

    def files(self, use_case: str, table: str, *, leftovers: bool = False) -> list[Path]:
        """The day files in the order of their names, and those a killed process left if `leftovers`."""
        folder = self.root / use_case / table
        names = sorted(entry.name for entry in os.scandir(folder)) if folder.is_dir() else []
        return [folder / name for name in names if DAY_FILE.fullmatch(name) or (leftovers and LEFT_BEHIND.fullmatch(name))]

    def _has_landed(self, use_case: str, contract: Contract, day: date, *, required: bool) -> bool:
        path = self.path(use_case, contract.table, day)
        if required and not path.exists():
            raise MissingDelivery(
                f"{use_case} · {contract.table} · {day}: no file has landed; expected {self._shown(path)}. "
                f"Ask its owner to deliver it, then materialize raw/{contract.table} for that day again."
            )
        return path.exists()

    def read_file(self, path: Path, contract: Contract, day: date) -> pl.DataFrame:
        """One file under `root`, as `read`."""
        header, *lines = [line for line in parse_lines(path.read_bytes(), len(contract.columns)) if line.fields] or [NO_HEADER]
        if problem := header_problem(header.fields, contract):
            raise BrokenDelivery(f"{self._shown(path)} · {problem}. Correct the file and land it again, or change the contract.")
        missing = [None] * len(header.fields)
        rows = [[*line.fields, *missing][: len(missing)] if line.problem else line.fields for line in lines]
        values = {
            **dict(zip(header.fields, zip(*rows, strict=True) if rows else [()] * len(missing), strict=True)),
            "day": [day] * len(lines),
            "source_file": [self._shown(path)] * len(lines),
            "source_line": [line.number for line in lines],
            "problem": [line.problem for line in lines],
        }
        return pl.DataFrame({name: values[name] for name in _schema(contract)}, schema=_schema(contract))

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _schema(contract: Contract) -> dict[str, pl.DataType]:
    schema: dict[str, pl.DataType] = dict.fromkeys((*contract.names, "source_file", "problem"), pl.String())
    return schema | {"day": pl.Date(), "source_line": pl.Int64()}


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=6).hexdigest()


def header_problem(found: list[str], contract: Contract) -> str | None:
    """What is wrong with a header, or None; the order of the columns is free."""
    if not found:
        return f"the file is empty; expected a header and rows with the columns {', '.join(contract.names)}"
    missing = [name for name in contract.names if name not in found]
    unknown = [name for name in found if name not in contract.names]
    repeated = sorted({name for name in found if found.count(name) > 1} - set(unknown))
    wrong = [f"{name!r} is missing{_renamed(name, unknown, missing)}" for name in missing]
    wrong += [f"{_short(name)!r} is unknown" for name in unknown] + [f"{name!r} comes twice" for name in repeated]
    columns = f"found the columns {_short(', '.join(found))}; expected {', '.join(contract.names)}"
    return f"{_short('; '.join(wrong))}; {columns}" if wrong else None


def _renamed(missing: str, unknown: list[str], all_missing: list[str]) -> str:
    alike = difflib.get_close_matches(missing, unknown, n=1) or (unknown if len(unknown) == len(all_missing) == 1 else [])
    return f" (renamed to {_short(alike[0])!r}?)" if alike else ""


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def parse_lines(content: bytes, width: int) -> list[Line]:
    """Every physical line as part of exactly one row; the first that is not blank is the header.

    A byte that is not UTF-8 becomes a lone surrogate in `text`, so that none is lost.
    """
    lines = io.StringIO(content.decode("utf-8-sig", "surrogateescape"), newline="").readlines()
    return list(_parse(lines, width))


def _parse(lines: list[str], width: int) -> Iterator[Line]:
    at = 0
    while at < len(lines):
        fields, taken, problem = _fields(lines, at, width)
        text = lines[at] if taken == 1 else "".join(lines[at : at + taken])
        if not lines[at].strip("\r\n"):
            yield Line(at + 1, text, [])
        elif problem := problem or _problem(text, fields, width):
            yield Line(at + 1, text, [_legible(field) for field in fields], problem)
        else:
            yield Line(at + 1, text, fields)
        at += taken


def _fields(lines: list[str], at: int, width: int) -> tuple[list[str], int, str | None]:
    """The fields of the row that starts at a line, the number of its lines, and what is wrong with its quotes."""
    line = lines[at].rstrip("\r\n")
    if '"' not in line:
        return line.split(","), 1, None
    reader = csv.reader(lines[at : at + MAX_LINES_A_ROW], strict=True)
    try:
        fields = next(reader)
    except csv.Error:
        return line.split(","), 1, "line has a quote that does not close a value"
    if reader.line_num > 1 and len(fields) != width:
        return line.split(","), 1, "line opens a quote that does not close"
    return fields, reader.line_num, None


def _problem(text: str, fields: list[str], width: int) -> str | None:
    if len(fields) > width:
        return f"line has {len(fields)} of {width} fields; beyond the last: {_short(_legible(', '.join(fields[width:])))!r}"
    if len(fields) < width:
        return f"line has {len(fields)} of {width} fields"
    if "\0" in text or (not text.isascii() and _legible(text) != text):
        return "line holds bytes that are not UTF-8 text"
    return None if text.endswith(("\n", "\r")) else "line is cut off by the end of the file (no line end)"


def _legible(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
