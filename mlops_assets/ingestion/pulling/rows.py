"""Rows of a pulled source as the text that lands, and the files of their partitions: each is replaced whole, or not at all."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import polars as pl

from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.foundation.grains import declared_partitions, table_calendar
from mlops_assets.ingestion.csv_lines import MAX_ROW_LINES, columns_in
from mlops_assets.ingestion.landed_values import typed
from mlops_assets.spec.column_type import DType
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.moment import in_utc, parse_moment
from mlops_assets.spec.pulled_source import PulledSource
from mlops_assets.spec.use_case import UseCase

PARTITION, PROBLEM, FALLBACK = "_partition", "_problem", "_moment"
MOMENT = pl.Datetime("us", "UTC")
MAX_PLAIN_DIGITS = 60  # of a Decimal; beyond, it is written with an exponent
MAX_CHARACTERS = 100_000  # of a value; Python's csv module refuses 131,072
ROWS_AT_ONCE = 20_000  # a row takes ten times as much as Python values


class CannotPull(RuntimeError):
    """A source that cannot be read now, or whose rows cannot land. What landed before stays, and the next run goes on."""


class Row(NamedTuple):
    """`values` of the contract's columns as text, with "" where missing; `moment` decides the partition where the time column has
    none. A row with a `problem` goes to quarantine, with its values as they are.
    """

    values: tuple[str, ...]
    moment: datetime | None = None
    problem: str = ""


def row_builder(contract: Contract, time: str) -> Callable[[Sequence[object]], Row]:
    """Of the values of the contract's columns, as the source has them, the row that lands."""
    names = [column.header for column in contract.columns]
    at, dtypes = contract.names.index(time), cast(list[DType], [column.dtype for column in contract.columns])

    def build(values: Sequence[object]) -> Row:
        texts = (*map(text_of, values, dtypes),)
        if problem := _find_problem(texts):
            return unreadable(dict(zip(names, texts, strict=True)), contract, read_moment(texts[at]), problem)
        return Row(texts)

    return build


def fields_of(record: Mapping[str, object], contract: Contract) -> list[object]:
    """The values of the contract's columns. A record from before a column was renamed has its former key."""
    return [
        record.get(column.renamed_from if column.renamed_from and column.header not in record else column.header)
        for column in contract.columns
    ]


def unreadable(original: object, contract: Contract, moment: datetime | None, problem: str) -> Row:
    """A row that is no row of the contract: it lands with its original as JSON in the first column."""
    text = original if isinstance(original, str) else json.dumps(original, default=str)
    # On one line, and of UTF-8 text.
    text = text.encode("ascii", "backslashreplace").decode().replace("\n", "\\n").replace("\r", "\\r")
    return Row((text, *[""] * (len(contract.names) - 1)), moment, problem)


def text_of(value: object, dtype: DType) -> str:  # noqa: PLR0911 - a line per type
    """The exact value, as a contract reads it. A datetime without an offset stays so; it is UTC."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool() | 0 | 1 if dtype == "bool" or isinstance(value, bool):
            return "true" if value else "false"
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat()
        case date():
            return f"{value.isoformat()}T00:00:00Z" if dtype == "datetime" else value.isoformat()
        case Decimal():
            return format(value, "f") if value.is_finite() and abs(value.adjusted()) < MAX_PLAIN_DIGITS else str(value)
        case bytes() | memoryview():
            return bytes(cast(bytes, value)).hex()
        case dict() | list():
            return json.dumps(value, ensure_ascii=False, default=str)
        case _:
            return str(value)


def read_moment(text: str) -> datetime | None:
    with suppress(ValueError):
        return parse_moment(text)
    with suppress(ValueError):
        if "-" in text:  # without one it may be a number of eight digits
            return datetime.combine(date.fromisoformat(text), time(), UTC)
    return None


def _find_problem(texts: Sequence[str]) -> str:
    """Why the landed file could not hold the values as they are."""
    text = "\0".join(texts)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "a value is not Unicode text"
    if (breaks := text.count("\n") + text.count("\r") - text.count("\r\n")) >= MAX_ROW_LINES:
        return f"the row has {breaks} line breaks; legal: fewer than {MAX_ROW_LINES}"
    longest = max(map(len, texts)) if len(text) > MAX_CHARACTERS else 0
    return f"a value has {longest:,} characters; legal: at most {MAX_CHARACTERS:,}" if longest > MAX_CHARACTERS else ""


class Buffer:
    """New rows of one run in little memory, by partition. Rows of undeclared partitions are counted, and do not land. A row
    without a moment lands in the declared partition that is nearest to `now`.
    """

    def __init__(self, use_case: UseCase, source: PulledSource, now: datetime) -> None:
        self._contract, self._calendar = use_case.contract(source.table), table_calendar(use_case, source.table)
        first, last = declared_partitions(use_case, self._calendar)
        nearest = max(filter(None, [first, self._calendar.of(in_utc(now))]))
        nearest = min(filter(None, [last, nearest]))
        place = pl.col(PARTITION)
        self._is_declared = pl.lit(True) if first is None else (place >= first) & (True if last is None else place <= last)
        # As the rows are read after they have landed.
        moment = typed(self._contract.column(source.time), source.form).cast(MOMENT)
        self._place = self._calendar.of_column(
            pl.coalesce(moment, pl.col(FALLBACK), pl.lit(self._calendar.start(nearest), MOMENT))
        )
        self._parts: list[pl.DataFrame] = []
        self.read = self.outside = 0

    def add(self, rows: Iterable[Row]) -> None:
        schema = {**dict.fromkeys((*self._contract.names, PROBLEM), pl.String()), FALLBACK: MOMENT}
        rows = iter(rows)
        while part := [(*row.values, row.problem, row.moment) for row in islice(rows, ROWS_AT_ONCE)]:
            placed = pl.DataFrame(part, schema=schema, orient="row").with_columns(self._place.alias(PARTITION))
            inside = placed.filter(self._is_declared).drop(FALLBACK)
            self.read, self.outside = self.read + len(part), self.outside + len(part) - len(inside)
            self._parts.append(inside)

    def by_partition(self) -> dict[str, pl.DataFrame]:
        """The values of each row, and its problem, in the order of their arrival."""
        parts = pl.concat(self._parts).partition_by(PARTITION, as_dict=True, include_key=False) if self._parts else {}
        return {self._calendar.key(place): rows for (place,), rows in parts.items()}


def merge(path: Path, contract: Contract, rows: Iterable[tuple[str, ...]], *, replaces: bool, version: str | None = None) -> bool:
    """Adds rows to a partition's file, or replaces those in it. Of rows with one key that with the highest value of the column
    `version` stays, or the last; in the place of the first. Returns whether the file has changed.
    """
    rows, before = [*rows], path.read_bytes() if path.exists() else b""
    merged: dict[tuple[object, ...], tuple[str, ...]] = {}
    key, at = [contract.names.index(name) for name in contract.unique], contract.names.index(version or contract.names[0])
    dtypes = cast(list[DType], [column.dtype for column in contract.columns])
    for row in (*(_read(before, contract, path) if not replaces else ()), *rows):
        # A row without a whole key is no version of another one.
        has_key = not row[-1] and all(row[index] for index in key)
        place = tuple(_comparable(row[index], dtypes[index]) for index in key) if has_key else row
        if version is None or place not in merged or _order(row[at], dtypes[at]) >= _order(merged[place][at], dtypes[at]):
            merged[place] = row
    content = _write(merged.values(), contract)
    if path.exists() and path.read_bytes() != before:  # delivered, or erased by `mlops forget`, meanwhile
        return merge(path, contract, rows, replaces=replaces, version=version)
    if content == before:
        return False
    replace_file(path, content)
    return True


def _comparable(text: str, dtype: DType) -> object:
    """The same for all texts of one value."""
    return _order(text, dtype) if dtype in ("datetime", "date", "float", "decimal") else text


def _order(text: str, dtype: DType) -> tuple[int, Any]:
    """Texts that have not the type come before those that have."""
    if dtype in ("datetime", "date"):
        moment = read_moment(text)
        return (1, moment) if moment else (0, text)
    with suppress(InvalidOperation):
        if not (number := Decimal(text)).is_nan():
            return 1, number
    return 0, text


def _write(rows: Iterable[tuple[str, ...]], contract: Contract) -> bytes:
    """A row with a problem gets one more field than there are columns, with the problem: the reader of landed files then
    quarantines it, and shows both.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")  # the characters of the line end are those that are quoted
    writer.writerow([column.header for column in contract.columns])
    writer.writerows(row if row[-1] else row[:-1] for row in rows)
    return file.getvalue().encode()


def _read(content: bytes, contract: Contract, path: Path) -> Iterator[tuple[str, ...]]:
    """The rows of a file that `_write` wrote, maybe under an earlier contract."""
    if not content:
        return
    csv.field_size_limit(sys.maxsize)  # the original of an unreadable row may be long
    try:
        lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = columns_in(next(lines), contract)
        for line in filter(None, lines):
            if not len(header) <= len(line) <= len(header) + 1:
                raise csv.Error(f"line {lines.line_num} has {len(line)} of {len(header)} fields")
            problem = "" if len(line) == len(header) else line[-1]
            values = dict(zip(header, line, strict=False))
            yield (*(values.get(name, "") for name in contract.names), problem)
    except (csv.Error, UnicodeDecodeError) as error:
        remedy = "Correct the file, or delete it and pull from the start"
        raise CannotPull(f"{path} · new rows cannot be added to it: {error}. {remedy}.") from None
