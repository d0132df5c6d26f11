"""The landing folder: one CSV file per table and day, as a source laid it there.

Belongs here: laying a file down, telling its content apart, reading its lines as text without losing one, erasing some.
Not here: what the text means and whether it is legal (stages/validate.py).
"""

import csv
import difflib
import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
import polars.selectors as cs

from mlops_assets.ports.durable_file import sync_folder, write_aside
from mlops_assets.ports.sought import Sought
from mlops_assets.spec.contract import Contract

BOM = b"\xef\xbb\xbf"
DATETIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
DAY_FILE = re.compile(r"\d{4}-\d{2}-\d{2}\.csv")
LEFT_BEHIND = re.compile(r"\.new-.*|\..*\.part")  # by a process that was killed before its file was in place
MAX_LINES_A_RECORD = 50  # a quoted value may span lines; one that opens and never closes must not swallow the file
MAX_SHOWN = 200  # characters of foreign text in a message


class BrokenDelivery(ValueError):
    """A landed file whose lines cannot be told apart into the contract's columns."""


class MissingDelivery(FileNotFoundError):
    """A file that had to be there."""


@dataclass(frozen=True)
class Landing:
    """Files at `root`/<use_case>/<table>/<YYYY-MM-DD>.csv."""

    root: Path

    def path(self, use_case: str, table: str, day: date) -> Path:
        return self.root / use_case / table / f"{day.isoformat()}.csv"

    def put(self, use_case: str, table: str, *, day: date, rows: pl.DataFrame) -> bool:
        """Lays one day's file down, whole or not at all; datetimes are written as UTC, `2013-07-01T14:05:00Z`.

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
        return {path.stem: _digest(path) for path in self._files(use_case, table, DAY_FILE)}

    def count(self, use_case: str, contract: Contract, sought: Sought) -> int:
        """The delivered lines that are sought; a line that spans several counts once."""
        contents = (path.read_bytes() for path in self._erasable(use_case, contract.table))
        return sum(len(_sought_lines(_lines(content), contract, sought)) for content in contents)

    def erase(self, use_case: str, contract: Contract, sought: Sought) -> None:
        """Takes the sought lines out; all others stay as they were delivered, byte for byte.

        A file that is delivered again in the meantime is left as it is, to be found by the next look.
        """
        for path in self._erasable(use_case, contract.table):
            before, content = path.stat(), path.read_bytes()
            kept = _without(content, contract, sought)
            if kept != content:
                _replace_unless_changed(path, kept, before)

    def read(self, use_case: str, contract: Contract, days: Sequence[date], *, required: bool) -> pl.DataFrame:
        """The lines of these days: every column of `contract` as String, exactly as landed, then where they stand.

        That is `day` (Date), `source_file` (String, relative to `root`), `source_line` (Int64, the header is line 1) and
        `problem` (String, null unless the line cannot be told apart into its fields). An empty value is "", one that is
        not there is null; blank lines are skipped. A line that the file's end cuts off is a problem too: its last value
        may be half a value. Raises MissingDelivery for a `required` file that is absent (else such a day has no rows)
        and BrokenDelivery for a file that is empty or whose columns are not the contract's.
        """
        landed = [day for day in days if self._has_landed(use_case, contract, day, required=required)]
        read = [self._read_file(self.path(use_case, contract.table, day), contract, day) for day in landed]
        return pl.concat([pl.DataFrame(schema=_schema(contract)), *read])

    def _erasable(self, use_case: str, table: str) -> list[Path]:
        return [*self._files(use_case, table, DAY_FILE), *self._files(use_case, table, LEFT_BEHIND)]

    def _files(self, use_case: str, table: str, named: re.Pattern[str]) -> list[Path]:
        """In the order of their names."""
        folder = self.root / use_case / table
        names = sorted(entry.name for entry in os.scandir(folder)) if folder.is_dir() else []
        return [folder / name for name in names if named.fullmatch(name)]

    def _has_landed(self, use_case: str, contract: Contract, day: date, *, required: bool) -> bool:
        path = self.path(use_case, contract.table, day)
        if required and not path.exists():
            raise MissingDelivery(
                f"{use_case} · {contract.table} · {day}: no file has landed; expected {self._shown(path)}. "
                f"Ask its owner to deliver it, then materialize raw/{contract.table} for that day again."
            )
        return path.exists()

    def _read_file(self, path: Path, contract: Contract, day: date) -> pl.DataFrame:
        header, *records = list(_records(_lines(path.read_bytes()), len(contract.columns))) or [_Record(1, [])]
        complaint = _complaint(header.fields, contract)
        if complaint:
            raise BrokenDelivery(f"{self._shown(path)} · {complaint}. Mend the file and land it again, or change the contract.")
        rows = [_padded(record.fields, len(header.fields)) for record in records]
        cells = dict(zip(header.fields, zip(*rows, strict=True), strict=True)) if rows else {}
        values = {
            **{name: cells.get(name, ()) for name in contract.names},
            "day": [day] * len(records),
            "source_file": [self._shown(path)] * len(records),
            "source_line": [record.line for record in records],
            "problem": [record.problem for record in records],
        }
        return pl.DataFrame(values, schema=_schema(contract))

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _schema(contract: Contract) -> dict[str, pl.DataType]:
    schema: dict[str, pl.DataType] = dict.fromkeys((*contract.names, "source_file", "problem"), pl.String())
    return schema | {"day": pl.Date(), "source_line": pl.Int64()}


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=6).hexdigest()


def _without(content: bytes, contract: Contract, sought: Sought) -> bytes:
    lines = _lines(content)
    gone = {number for span in _sought_lines(lines, contract, sought) for number in span}
    kept = "".join(line for number, line in enumerate(lines) if number not in gone)
    return (BOM if content.startswith(BOM) else b"") + kept.encode("utf-8", "surrogateescape")


def _sought_lines(lines: list[str], contract: Contract, sought: Sought) -> list[range]:
    """The lines of each sought record. One that cannot be told apart, or stands in a file without the contract's columns,
    is sought when the value stands anywhere in it.
    """
    header, *records = list(_records(lines, len(contract.columns))) or [_Record(1, [])]
    illegible = _complaint(header.fields, contract) is not None
    records = [header, *records] if illegible else records  # what stands first may be a row of a file without a header
    ends = [record.line - 1 for record in records[1:]] + [len(lines)]
    spans = [range(record.line - 1, end) for record, end in zip(records, ends[: len(records)], strict=True)]

    def is_sought(record: _Record, span: range) -> bool:
        if illegible or record.problem:
            return sought.is_in_text("".join(lines[number] for number in span))
        return sought.is_in(dict(zip(header.fields, record.fields, strict=True)))

    return [span for record, span in zip(records, spans, strict=True) if is_sought(record, span)]


def _replace_unless_changed(path: Path, content: bytes, before: os.stat_result) -> None:
    aside, now = write_aside(path, content), path.stat()
    if (now.st_ino, now.st_mtime_ns, now.st_size) != (before.st_ino, before.st_mtime_ns, before.st_size):
        return aside.unlink()
    shutil.copymode(path, aside)
    aside.rename(path)
    sync_folder(path.parent)


def _padded(fields: list[str], width: int) -> list[str | None]:
    return [*fields[:width], *[None] * (width - len(fields))]


def _complaint(found: list[str], contract: Contract) -> str | None:
    """What is wrong with a header, or None; the order of the columns is free."""
    if not found:
        return f"the file is empty; expected a header and rows with the columns {', '.join(contract.names)}"
    missing = [name for name in contract.names if name not in found]
    unknown = [name for name in found if name not in contract.names]
    repeated = sorted({name for name in found if found.count(name) > 1} - set(unknown))
    wrong = [f"{name!r} is missing{_renamed(name, unknown, missing)}" for name in missing]
    wrong += [f"{_short(name)!r} is unknown" for name in unknown] + [f"{name!r} comes twice" for name in repeated]
    told = f"found the columns {_short(', '.join(found))}; expected {', '.join(contract.names)}"
    return f"{_short('; '.join(wrong))}; {told}" if wrong else None


def _renamed(missing: str, unknown: list[str], all_missing: list[str]) -> str:
    alike = difflib.get_close_matches(missing, unknown, n=1) or (unknown if len(unknown) == len(all_missing) == 1 else [])
    return f" (renamed to {_short(alike[0])!r}?)" if alike else ""


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


@dataclass(frozen=True, slots=True)
class _Record:
    line: int
    fields: list[str]
    problem: str | None = None


def _lines(content: bytes) -> list[str]:
    """The physical lines with their ends. A byte that is not UTF-8 becomes a lone surrogate, so none is lost."""
    return io.StringIO(content.decode("utf-8-sig", "surrogateescape"), newline="").readlines()


def _records(lines: list[str], width: int) -> Iterator[_Record]:
    """Every line that is not blank, as part of exactly one record; the first one is the header."""
    at = 0
    while at < len(lines):
        fields, used, problem = _fields(lines, at, width)
        if lines[at].strip("\r\n"):
            whole = lines[at + used - 1].endswith(("\n", "\r"))
            problem = problem or _problem(fields, width, whole=whole)
            yield _Record(at + 1, [_legible(field) for field in fields] if problem else fields, problem)
        at += used


def _fields(lines: list[str], at: int, width: int) -> tuple[list[str], int, str | None]:
    """The fields of the record that starts at a line, the number of lines it takes, and what is wrong with its quotes."""
    line = lines[at].rstrip("\r\n")
    if '"' not in line:
        return line.split(","), 1, None
    reader = csv.reader(lines[at : at + MAX_LINES_A_RECORD], strict=True)
    try:
        fields = next(reader)
    except csv.Error:
        return line.split(","), 1, "line has a quote that does not close a value"
    if reader.line_num > 1 and len(fields) != width:
        return line.split(","), 1, "line opens a quote that does not close"
    return fields, reader.line_num, None


def _problem(fields: list[str], width: int, *, whole: bool) -> str | None:
    if len(fields) > width:
        return f"line has {len(fields)} of {width} fields; beyond the last: {_short(_legible(', '.join(fields[width:])))!r}"
    if len(fields) < width:
        return f"line has {len(fields)} of {width} fields"
    text = "".join(fields)
    if "\0" in text or (not text.isascii() and _legible(text) != text):
        return "line holds bytes that are not UTF-8 text"
    return None if whole else "line is cut off by the end of the file (no line end)"


def _legible(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
