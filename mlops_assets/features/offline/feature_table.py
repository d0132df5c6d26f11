"""The file forms behind a feature source: one Parquet file, a folder of Parquet files, or a Delta table.

A partition column `day` is the UTC date of the timestamp column.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from mlops_assets.features.offline.point_in_time import utc
from mlops_assets.foundation.atomic_file import replace_file

PARTITION = "day"


class MissingFeatureTable(FileNotFoundError):
    """A feature view is read before anything has been written to its table."""


@dataclass(frozen=True)
class FeatureTable:
    """`owner` names the view or source in messages; `timestamp` is the column that the range and the partitions follow."""

    owner: str
    path: Path
    delta: bool
    timestamp: str

    @property
    def exists(self) -> bool:
        if self.delta:
            return DeltaTable.is_deltatable(str(self.path))
        return any(self.path.rglob("*.parquet")) if self.path.is_dir() else self.path.is_file()

    @property
    def partitioned(self) -> bool:
        """Whether whole days can be left out without opening their files."""
        if self.delta:
            return PARTITION in DeltaTable(str(self.path)).metadata().partition_columns
        return any(self.path.glob(f"{PARTITION}=*"))

    def scan(self, since: datetime | None = None, until: datetime | None = None) -> pl.LazyFrame:
        """Rows with `since` <= timestamp <= `until` (aware, either may be open).

        Raises MissingFeatureTable, and ValueError for a table without the timestamp column.
        """
        self._require()
        table = DeltaTable(str(self.path)) if self.delta else None
        rows = pl.scan_delta(table) if table else self._scan_files()
        schema = rows.collect_schema()
        if self.timestamp not in schema:
            raise ValueError(f"{self.owner} · no column {self.timestamp!r}; found: {', '.join(schema)}. Name the right one.")
        moment = utc(self.timestamp, schema[self.timestamp])
        partitioned = PARTITION in table.metadata().partition_columns if table else self.partitioned
        if since is not None:
            rows = rows.filter(moment >= since, *([pl.col(PARTITION) >= since.astimezone(UTC).date()] if partitioned else []))
        if until is not None:
            rows = rows.filter(moment <= until, *([pl.col(PARTITION) <= until.astimezone(UTC).date()] if partitioned else []))
        return rows

    def schema(self) -> pl.Schema:
        """The columns without the partition column, which follows from the timestamp."""
        schema = self.scan().collect_schema()
        return pl.Schema({name: dtype for name, dtype in schema.items() if name != PARTITION or not self.partitioned})

    def append(self, rows: pl.DataFrame) -> None:
        """Add rows; a reader sees all of them or none. Into a folder or a Delta table nothing is rewritten."""
        rows = rows.select(pl.col(name).cast(dtype) for name, dtype in self.schema().items())
        if self.partitioned:
            rows = rows.with_columns(utc(self.timestamp, rows.schema[self.timestamp]).dt.date().alias(PARTITION))
        if self.delta:
            rows.write_delta(str(self.path), mode="append")
        elif self.path.is_dir():
            for folder, part in _by_folder(rows, self.path, self.partitioned):
                _write_whole(part, folder / f"{uuid.uuid4().hex}.parquet")
        else:
            _write_whole(pl.concat([pl.read_parquet(self.path), rows]), self.path)

    def replace(self, rows: pl.DataFrame) -> None:
        """These rows instead of all others, as one file or one Delta version. Raises IsADirectoryError for a folder of files."""
        if self.delta:
            rows.write_delta(str(self.path), mode="overwrite", delta_write_options={"schema_mode": "overwrite"})
        elif self.path.is_dir():
            raise IsADirectoryError(
                f"{self.owner} · a folder stands at {self.path}; legal: one Parquet file or a Delta table, which change at once. "
                "Name a file."
            )
        else:
            _write_whole(rows, self.path)

    def _scan_files(self) -> pl.LazyFrame:
        if self.path.is_dir():
            return pl.scan_parquet(self.path / "**" / "*.parquet", hive_partitioning=True)
        return pl.scan_parquet(self.path)

    def _require(self) -> None:
        if not self.exists:
            raise MissingFeatureTable(
                f"{self.owner} · no table at {self.path}; legal: a Parquet file, a folder of them, or a Delta table. "
                "Materialize the features of this view first."
            )


def _by_folder(rows: pl.DataFrame, root: Path, partitioned: bool) -> list[tuple[Path, pl.DataFrame]]:
    if not partitioned:
        return [(root, rows)]
    days = rows.partition_by(PARTITION, as_dict=True, include_key=False)
    return [(root / f"{PARTITION}={day}", part) for (day,), part in days.items()]


def _write_whole(rows: pl.DataFrame, path: Path) -> None:
    content = BytesIO()
    rows.write_parquet(content)
    replace_file(path, content.getvalue())
