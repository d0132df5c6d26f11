"""A flat file, with rows of many days and maybe of several tables, as the landed files of its partitions."""

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

import polars as pl

from mlops_assets.foundation.calendars import Calendar, Partition
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.ingestion.csv_lines import columns_in, find_header_problem
from mlops_assets.ingestion.forms import read_table
from mlops_assets.ingestion.forms.kind import name_by_content
from mlops_assets.ingestion.forms.table import PLACE, Table, UnreadableFile
from mlops_assets.ingestion.landed_file import describe, opened
from mlops_assets.ingestion.landed_values import landed_text, typed
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.spool import PARTITION
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.form import Csv, Excel, Form, JsonLines, Parquet
from mlops_assets.spec.pulled_source import PulledSource
from mlops_assets.spec.source import Files
from mlops_assets.spec.use_case import UseCase

TIMES = ("date", "datetime")
NO_LIMIT = 2**62  # the limit of a source is that of each part
FORMS: tuple[type[Form], ...] = (Csv, Parquet, JsonLines, Excel)


class IllegalFlatFile(ValueError):
    """A file that cannot be split: nothing of it has landed."""


@dataclass
class LandedTable:
    """What has landed, or would land: rows, partitions by what became of them, and rows that stay out. `refused` and what follows
    it are counted in a dry run: the rows that go to quarantine, by reason, and the partitions that have too many of them.
    """

    table: str
    calendar: Calendar
    rows: int = 0
    outside: int = 0  # of partitions that are not declared
    others: int = 0  # of other tables, or the same once more
    keys: list[str] = field(default_factory=list[str])
    status: Counter[str] = field(default_factory=Counter[str])
    retracted: int = 0  # landed before, and not in the file
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter[str])
    example: str = ""
    refused_keys: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Split:
    """The rows of one table in the file. A row that cannot be placed in time goes where the row before it goes."""

    use_case: UseCase
    source: Files
    path: Path
    report: LandedTable

    @property
    def form(self) -> Form:
        return form_of(self.name, self.source)

    @cached_property
    def name(self) -> str:
        """Of a file with this content."""
        with self._refusing(), opened(self.path, NO_LIMIT) as file:
            return name_by_content(file, self.path)

    @property
    def own(self) -> Contract:
        return self.use_case.contract(self.source.table)

    @cached_property
    def contract(self) -> Contract:
        """What is read: the table's columns, and of its request's the time, where it has none; in a file with those of others."""
        columns = (*self.own.columns, *self._borrowed())
        taken = {name for column in columns for name in (column.header, column.renamed_from)}
        others = {column.header for one in self.use_case.contracts for column in one.columns} - taken
        return self.own.but(columns=columns, dropped=(*self.own.dropped, *sorted(others - {*self.own.dropped})))

    def _borrowed(self) -> Iterator[Column]:
        requests = self.use_case.contract(self.use_case.features.request_table)
        has_time = any(column.dtype in TIMES for column in self.own.columns) or (self.named is not None and not self.own.day)
        if requests.day and not has_time and self.report.calendar.cron and requests.day not in self.own.names:
            yield requests.column(requests.day).but(since=date.max)  # a file may lack it

    @contextmanager
    def opened(self) -> Generator[Table]:
        with self._refusing(), opened(self.path, NO_LIMIT) as file:
            yield read_table(cast(BinaryIO, file), self.name, self.form, contract=self.contract, max_bytes=NO_LIMIT)

    @contextmanager
    def _refusing(self) -> Generator[None]:
        try:
            yield
        except UnreadableFile as error:
            raise IllegalFlatFile(f"{self.path.name} · {error}.") from None
        except OSError as error:
            raise IllegalFlatFile(f"{self.path.name} · {describe(error)}.") from None

    @cached_property
    def header(self) -> list[str]:
        with self.opened() as table:
            if table.cut:
                raise IllegalFlatFile(f"{self.path.name} · {table.cut}. Correct the file.")
            return table.header

    @property
    def problem(self) -> str | None:
        delimiter = self.form.delimiter if isinstance(self.form, Csv) else None
        return find_header_problem(self.header, self.contract, delimiter=delimiter)

    @property
    def remedy(self) -> str:
        """Of its problem."""
        absent = [self.own.column(name).header for name in self.own.unique if name not in self.names]
        if not absent or not self.columns:
            return "Correct the file, or the contract."
        named = f"{' and '.join(absent)} identif{'y' if absent[1:] else 'ies'} a row"
        return f"Add what is missing: {named}, and a corrected row has the same there as before."

    @cached_property
    def names(self) -> list[str | None]:
        """The contract's name of each column of the file."""
        declared = {*self.contract.names}
        return [name if name in declared else None for name in columns_in(self.header, self.contract)]

    @cached_property
    def columns(self) -> list[Column]:
        return [column for column in self.own.columns if column.name in self.names]

    @property
    def is_dependent(self) -> bool:
        """Whether a row of the file may have no row of this table, or one that other rows have, too: as that of an outcome which
        is not known yet, and of one customer with many orders.
        """
        has_others = any(name is None for name in self.names)
        return has_others and self.source.table != self.use_case.features.request_table

    @cached_property
    def time(self) -> Column | None:
        """Of its partition; None where all rows are in one."""
        if not self.report.calendar.cron or (self.named is not None and not self.own.day):
            return None
        times = [column for column in self.contract.columns if column.name in self.names and column.dtype in TIMES]
        if self.own.day or len(times) == 1:
            return self.contract.column(self.own.day or times[0].name)
        found = f"{self.source.table} has {len(times) or 'no'} date or datetime columns, and its contract names none as day"
        legal = f"or name the file as that of one {self.report.calendar.noun}, {self.report.calendar.form}"
        raise IllegalFlatFile(f"{self.path.name} · {found}. Declare Contract(day=...), {legal}.")

    @cached_property
    def named(self) -> Partition | None:
        """The partition that the file is named after."""
        key = Landing(self.path.parent, form=self.form).key_of(self.path.name, self.report.calendar)
        return self.report.calendar.parse(key) if key else None

    def place(self) -> pl.Expr:
        calendar = self.report.calendar
        if self.time is None:
            return pl.lit(calendar.in_run([""])[0] if self.named is None else self.named)
        return calendar.of_column(typed(self.time, self.form))

    def rows(self) -> Iterator[pl.DataFrame]:
        """Of this table: its columns as text, `problem`, `source_line` and PARTITION. Those of other tables are counted."""
        for rows in self._placed():
            own = rows.filter(~self._is_of_others()) if self.is_dependent else rows
            self.report.others += rows.height - own.height
            yield own

    def distinct(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Whole partitions, in which other tables may have repeated a row of this one: without these, which are counted."""
        columns = (*self.own.names, "problem", PARTITION)
        kept = rows.unique(columns, keep="first", maintain_order=True) if self.is_dependent else rows
        self.report.others += rows.height - kept.height
        return kept

    def landed(self, rows: pl.DataFrame) -> pl.DataFrame:
        """As Landing.read returns them: with the columns of their partition."""
        calendar, schema = self.report.calendar, {PARTITION: rows.schema[PARTITION]}
        places = [{PARTITION: one} | calendar.stored(one) for one in rows[PARTITION].unique()]
        stored = pl.DataFrame(places, schema=schema | calendar.types())
        joined = rows.join(stored, on=PARTITION, how="left", maintain_order="left").drop(PARTITION)
        return joined.with_columns(source_file=pl.lit(self.path.name))

    def read(self) -> pl.DataFrame:
        """All rows at once, as landed: in the partition that the file is named after, or else in their own."""
        calendar = self.report.calendar
        schema = dict.fromkeys(self.own.names, pl.String()) | PLACE | {PARTITION: calendar.types()[calendar.column]}
        rows = pl.concat([pl.DataFrame(schema=schema), *self.rows()])
        return self.landed(self.distinct(rows if self.named is None else rows.with_columns(pl.lit(self.named).alias(PARTITION))))

    def _is_of_others(self) -> pl.Expr:
        """Whether a row has no value that only this table has."""
        requests = {column.header for column in self.use_case.columns(self.use_case.features.request_table).values()}
        own = [column for column in self.columns if column.header not in requests] or self.columns
        return pl.all_horizontal(landed_text(column, self.form).is_null() for column in own) & pl.col("problem").is_null()

    def _placed(self) -> Iterator[pl.DataFrame]:
        schema = dict.fromkeys(filter(None, self.names), pl.String()) | PLACE
        absent = {name: pl.lit(None, pl.String()) for name in self.contract.names if name not in self.names}
        place, last = self.place().alias(PARTITION), None
        with self.opened() as table:
            for part in table.rows(self.names):
                placed = part.select(*schema).with_columns(**absent).with_columns(place)
                placed = placed.with_columns(pl.col(PARTITION).forward_fill().fill_null(pl.lit(last)).backward_fill())
                if (last := placed[PARTITION][-1] if placed.height else last) is None and placed.height:
                    raise self._without_time(placed)
                yield placed.select(*self.own.names, *PLACE, PARTITION)

    def _without_time(self, rows: pl.DataFrame) -> IllegalFlatFile:
        column = cast(Column, self.time)
        first = rows.row(0, named=True)
        found = f"line {first['source_line']} has {first[column.name]!r}"
        legal = f"legal: a {column.dtype}, as the form of {self.source.table} declares it"
        return IllegalFlatFile(
            f"{self.path.name} · no {column.header} of the first {rows.height:,} rows can be read; {found}; {legal}."
        )


def form_of(name: str, source: Files) -> Form:
    """The declared form, where the file is named (in lower case) as one of it or as none; else that of its name. Raises
    IllegalFlatFile where the same text would mean another value in the declared form.
    """
    declared = source.form
    kinds = [kind for kind in FORMS if name.endswith(kind().suffixes)]
    if name.endswith(declared.suffixes) or not kinds:
        return declared
    form = kinds[0](missing=declared.missing, time_zone=declared.time_zone, doubled=declared.doubled)
    if declared.date_format or declared.datetime_format or declared.number_marks != form.number_marks:
        problem = f"{source.table} is declared as {declared.SUFFIX} with its own form of dates or numbers"
        raise IllegalFlatFile(
            f"{name} · {problem}, in which the text of {form.SUFFIX} is not read. Convert the file to {declared.SUFFIX}."
        )
    return form


def choose_table(use_case: UseCase, table: str, path: Path) -> Split:
    """The part of the file that is of this table, from whatever source that is read. Raises IllegalFlatFile."""
    split = Split(use_case, use_case.source(table), path, LandedTable(table, table_calendar(use_case, table)))
    if problem := split.problem:
        raise IllegalFlatFile(f"{path.name} · as {table}: {problem}. {split.remedy}")
    return split


def choose_tables(use_case: UseCase, path: Path, tables: Sequence[str]) -> list[Split]:
    """The parts of the file, by table. Raises IllegalFlatFile."""
    declared = [source.table for source in use_case.sources]
    if unknown := [table for table in tables if table not in declared]:
        raise IllegalFlatFile(f"--table {unknown[0]} · it is not declared; declared: {', '.join(declared)}. Use one of these.")
    candidates = [source for source in use_case.sources if source.table in (tables or declared)]
    if pulled := [source.table for source in candidates if isinstance(source, PulledSource) and tables]:
        problem = f"the rows of {pulled[0]} are read from its source, and would be overwritten"
        raise IllegalFlatFile(f"--table {pulled[0]} · {problem}. `mlops land {use_case.name}` reads them.")
    splits = [
        Split(use_case, source, path, LandedTable(source.table, table_calendar(use_case, source.table)))
        for source in candidates if not isinstance(source, PulledSource)
    ]  # fmt: skip
    if not splits:
        raise IllegalFlatFile(f"{use_case.name} · all its tables are read from their sources: `mlops land {use_case.name}`.")
    chosen = [split for split in splits if not split.problem]
    if not chosen or (tables and len(chosen) < len(splits)):
        nearest = max((split for split in splits if split.problem), key=lambda split: len(split.columns))
        raise IllegalFlatFile(f"{path.name} · as {nearest.source.table}: {nearest.problem}. {nearest.remedy}")
    if not tables:
        _require_all_used(path, splits, chosen)
    return chosen


def _require_all_used(path: Path, splits: Sequence[Split], chosen: Sequence[Split]) -> None:
    used = {column.header for split in chosen for column in split.columns}
    for split in splits:
        if split not in chosen and (unused := [column.header for column in split.columns if column.header not in used]):
            names = " ".join(f"--table {one.source.table}" for one in chosen)
            problem = f"{', '.join(unused)} would not land, as not all columns of {split.source.table} are there: {split.problem}"
            raise IllegalFlatFile(f"{path.name} · {problem}. Add them, or name the tables: {names}.")
    for split in chosen:
        within = [other.source.table for other in chosen if {*split.own.names} < {*other.own.names}]
        if within:
            problem = f"it has all columns of {split.source.table}, which are columns of {within[0]}, too"
            raise IllegalFlatFile(f"{path.name} · {problem}. Name the tables: --table {within[0]}.")
