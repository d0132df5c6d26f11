"""Delta tables under one root, read by name; assets write them through Dagster's IO manager."""

import json
import tempfile
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl
import polars.selectors as cs
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction
from filelock import FileLock

from mlops_assets.foundation.calendars import DAY, HOUR_START, Calendar, Partition
from mlops_assets.foundation.durations import ONE_DAY
from mlops_assets.foundation.mistakes import OfEveryPartition
from mlops_assets.foundation.names import AssetPath, table_path
from mlops_assets.foundation.stored_schema import MustMigrate, widened, with_types

# By default a table's log stores the least and greatest value of its first 32 columns, which an erasure would have to find.
NO_STATISTICS = {"delta.dataSkippingNumIndexedCols": "0"}
# An earlier version serves nobody, and to open a table with the commits of a month, one each five minutes, takes 0.1 s.
APPENDED_OFTEN = {
    **NO_STATISTICS,
    "delta.checkpointInterval": "20",
    "delta.logRetentionDuration": "interval 1 days",
    "delta.deletedFileRetentionDuration": "interval 1 days",
}
MAX_FILES, FILE_BYTES = 24, (0, 2**20, 2**27)


class VersionGone(LookupError):
    """The rows of a version of a table were removed."""


class OtherGrain(OfEveryPartition):
    """A table whose rows are stored by the partitions of another grain than the declared one."""


class DeltaTables:
    """The tables of the platform by asset path. A table that does not exist is empty."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, asset: AssetPath) -> Path:
        return self._root / table_path(asset)

    def assets(self, use_case: str) -> list[AssetPath]:
        """Every table of a use case, also those that no asset writes any more."""
        tables = sorted(log.parent.relative_to(self._root) for log in (self._root / use_case).rglob("_delta_log"))
        assets = [[*table.parts[:-1], table.stem] for table in tables]
        return [asset for asset in assets if self.exists(asset)]

    def exists(self, asset: AssetPath) -> bool:
        return DeltaTable.is_deltatable(str(self.path(asset)))

    def version(self, asset: AssetPath) -> int:
        """-1 when the table does not exist."""
        return DeltaTable(str(self.path(asset))).version() if self.exists(asset) else -1

    def scan(self, asset: AssetPath) -> pl.LazyFrame:
        return pl.scan_delta(str(self.path(asset))) if self.exists(asset) else pl.LazyFrame()

    def partitions(self, asset: AssetPath, calendar: Calendar) -> set[Partition]:
        """Those with rows; from the table's log alone where they are stored by the column that orders them. Raises OtherGrain."""
        if not self.exists(asset):
            return set()
        require_grain(self.path(asset), str(calendar))
        table = DeltaTable(str(self.path(asset)))
        if table.metadata().partition_columns == [calendar.column]:
            return {date.fromisoformat(partition[calendar.column]) for partition in table.partitions()}
        return {*_values(str(self.path(asset)), calendar.column, table.metadata().id, table.version())}

    def rows(self, asset: AssetPath) -> int:
        return self.scan(asset).select(pl.len()).collect().item() if self.exists(asset) else 0

    def read_version(self, asset: AssetPath, version: int) -> pl.DataFrame:
        """Raises VersionGone where the files or the log of the version were removed."""
        try:
            return pl.scan_delta(str(self.path(asset)), version=version).collect()
        except (DeltaError, OSError, OverflowError) as error:
            why, newest = str(error).splitlines()[0], self.version(asset)
        raise VersionGone(
            f"{'.'.join(asset)} · version {version} cannot be read any more ({why}); the newest is {newest}. "
            f"It was vacuumed, its log was cleaned, or the table was created again: train again."
        )

    def read_until(self, asset: AssetPath, partition: Partition, column: str = DAY) -> pl.DataFrame:
        """The rows of the partitions up to this one; without a table an empty frame without columns."""
        return self.scan(asset).filter(pl.col(column) <= partition).collect() if self.exists(asset) else pl.DataFrame()


@lru_cache(maxsize=100)  # a sensor reads them every 5 s
def _values(path: str, column: str, _table: str, version: int) -> frozenset[Any]:
    return frozenset(pl.scan_delta(path, version=version).select(pl.col(column).unique()).collect().to_series())


class Span(NamedTuple):
    """Rows whose `column` is in [start, end): with the column `day` the days that begin then, on the clock of `start`."""

    column: str
    start: datetime
    end: datetime

    def rows(self) -> pl.Expr:
        return pl.all_horizontal(pl.col(name).is_between(*bounds, closed="left") for name, bounds in self._bounds().items())

    def predicate(self) -> str:
        """In the SQL of Delta Lake."""
        bounds = {
            name: [f"DATE '{bound}'" if name == DAY else f"TIMESTAMP '{bound.isoformat()}'" for bound in pair]
            for name, pair in self._bounds().items()
        }
        return " AND ".join(f"{name} >= {first} AND {name} < {end}" for name, (first, end) in bounds.items())

    def _bounds(self) -> dict[str, tuple[Any, Any]]:
        if self.column == DAY:
            return {DAY: (self.start.date(), self.end.date())}
        # Tables are stored by day, in a time zone of their own: other days need not be read.
        days = (self.start.date() - ONE_DAY, self.end.date() + 2 * ONE_DAY)
        return {DAY: days, self.column: (self.start.astimezone(UTC), self.end.astimezone(UTC))}


def alone(path: Path) -> FileLock:
    """Excludes other writers of a table, also for longer than one commit; those of one thread can be nested."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.parent / f".{path.name}.lock", is_singleton=True)


def write_span(path: Path, rows: pl.DataFrame, span: Span, grain: str | None = None) -> None:
    """Replaces the rows of a span. The table gets new columns, keeps its others as null, and is widened where that is
    exact. Raises IncompatibleRows, and then writes nothing. A new table has `grain` as its description.
    """
    replaced = {"predicate": span.predicate(), "description": grain}
    with alone(path):
        _write(path, _fitted(path, rows), "overwrite", {"schema_mode": "merge", "partition_by": DAY, **replaced})


def append_rows(path: Path, rows: pl.DataFrame) -> None:
    """Adds rows, as `write_span`. A table that does not exist is created, by day where the rows have one."""
    with alone(path):
        if DeltaTable.is_deltatable(str(path)):
            return _write(path, _fitted(path, rows), "append", {"schema_mode": "merge"})
        return _write(path, rows, "append", {"partition_by": "day"} if "day" in rows.columns else {})


def _fitted(path: Path, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the types of the table, which is widened before where they need it."""
    if not DeltaTable.is_deltatable(str(path)):
        return rows
    stored = pl.scan_delta(str(path)).collect_schema()
    types = widened(path.name, stored, rows)
    rows = with_types(path.name, rows, types)
    if any(types[name] != dtype for name, dtype in stored.items()):
        own = {name: types[name] for name in stored}
        rewrite(path, lambda kept: with_types(path.name, kept, own))
    return rows


def open_table(path: Path) -> DeltaTable | None:
    return DeltaTable(str(path)) if DeltaTable.is_deltatable(str(path)) else None


def recorded(table: DeltaTable, key: str) -> str | None:
    """The newest text that a commit recorded under `key`."""
    for limit in (20, None):  # erasures commit, too, and record nothing
        for commit in table.history(limit):
            if key in commit:
                return commit[key]
    return None


def compact(table: DeltaTable, facts: Mapping[str, str]) -> None:
    """Merges the files of a table that is appended to often, as soon as MAX_FILES are of one size, so that a row is copied a few
    times in all, however many others there are. Files that only older versions have are deleted after the table's retention.
    Commits record `facts`.
    """
    sizes = pl.DataFrame(table.get_add_actions())["size_bytes"]
    for least, most in pairwise(FILE_BYTES):
        if sizes.is_between(least, most, closed="left").sum() > MAX_FILES:
            table.optimize.compact(target_size=most, commit_properties=CommitProperties({**facts}))
            table.vacuum(dry_run=False)


def require_migrated(path: Path, renamed: Mapping[str, str]) -> None:
    """Raises MustMigrate where the table has a column by its former name: rows by the new one would hide its values."""
    stored = pl.scan_delta(str(path)).collect_schema() if renamed and DeltaTable.is_deltatable(str(path)) else pl.Schema()
    if former := ", ".join(f"{old} (now {new})" for old, new in renamed.items() if old in stored):
        raise MustMigrate(f"{path.name} · the table still has {former}. Run `mlops migrate` first.")


def require_grain(path: Path, grain: str | None, *, writes: bool = False) -> None:
    """Raises OtherGrain where the rows are stored by another one: as its partitions overlap, rows would be lost or doubled."""
    if grain is None or not DeltaTable.is_deltatable(str(path)):
        return
    table = DeltaTable(str(path))
    stored = table.metadata().description
    if not stored and (HOUR_START in pl.scan_delta(table).collect_schema()) == grain.startswith("hours"):
        if writes:  # to a table of an earlier release
            table.alter.set_table_description(grain)
    elif stored != grain:
        found = f"its rows are stored by {stored or 'partitions of another kind'}, and declared by {grain}; nothing is mixed"
        remedy = "Declare the earlier grain again, or a table of another name, whose files land anew"
        raise OtherGrain(f"{path.stem} · {found}. {remedy}.")


def rewrite(path: Path, convert: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Replaces all rows and the columns of a table by `convert` of them, in one commit; its earlier versions stay. It has one
    partition at a time in memory: the writer of Delta Lake keeps the files of all open until the last row.
    """
    table = DeltaTable(str(path))
    rows, columns = pl.scan_delta(table), table.metadata().partition_columns  # day, or none
    with tempfile.TemporaryDirectory() as folder:  # the types of Delta Lake for those of Polars
        convert(rows.head(0).collect()).drop(cs.by_dtype(pl.Null())).write_delta(folder)
        types, schema = pl.scan_delta(folder).collect_schema(), DeltaTable(folder).schema()
    added = list[AddAction]()
    for partition in table.partitions() if columns else [dict[str, str]()]:
        part = rows.filter(day=date.fromisoformat(partition["day"])) if partition else rows
        new = convert(part.collect()).select(*types).cast(types)
        added.append(_write_file(path, new.drop(columns), partition))
    table.create_write_transaction([*added], "overwrite", schema, columns or None)


def _write_file(path: Path, rows: pl.DataFrame, partition: Mapping[str, str]) -> AddAction:
    """A file that is part of the table once the action is committed."""
    name = "/".join([*(f"{column}={value}" for column, value in partition.items()), f"{uuid.uuid4()}.parquet"])
    (path / name).parent.mkdir(exist_ok=True)
    rows.write_parquet(path / name)
    facts = (path / name).stat()
    return AddAction(name, facts.st_size, partition, int(facts.st_mtime * 1000), True, json.dumps({"numRecords": len(rows)}))


def _write(path: Path, rows: pl.DataFrame, mode: Literal["append", "overwrite"], options: Mapping[str, Any]) -> None:
    typed = rows.drop(cs.by_dtype(pl.Null()))  # a column without a value or a type comes with its first value
    typed.write_delta(str(path), mode=mode, delta_write_options={**options, "configuration": NO_STATISTICS})
