"""The table of a feature source: one Parquet file, a folder of Parquet files, or a Delta table."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from mlops_assets.features.offline.point_in_time import utc
from mlops_assets.foundation.atomic_file import SHARED, replace_file

PARTITION = "day"  # the UTC date of the timestamp column


class MissingFeatureTable(FileNotFoundError):
    """A feature view is read before anything has been written to its table."""


@dataclass(frozen=True)
class FeatureTable:
    """`owner` names the view or source in messages; `timestamp` is the column that ranges and partitions follow."""

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
        """Whether whole days can be skipped without opening their files."""
        return self._has_days(DeltaTable(str(self.path)) if self.delta else None)

    def scan(self, since: datetime | None = None, until: datetime | None = None) -> pl.LazyFrame:
        """Rows with `since` <= timestamp <= `until` (with a time zone; None: open).

        Raises MissingFeatureTable, and ValueError for a table without the timestamp column.
        """
        if not self.exists:
            raise MissingFeatureTable(
                f"{self.owner} · no table at {self.path}; legal: a Parquet file, a folder of them, or a Delta table. "
                "Materialize the features of this view first."
            )
        table = DeltaTable(str(self.path)) if self.delta else None  # opened once: it reads the whole log
        is_folder = self.path.is_dir()
        files = self.path / "**" / "*.parquet" if is_folder else self.path
        rows = pl.scan_delta(table) if table else pl.scan_parquet(files, hive_partitioning=is_folder)
        schema = rows.collect_schema()
        if self.timestamp not in schema:
            raise ValueError(f"{self.owner} · no column {self.timestamp!r}; found: {', '.join(schema)}. Name the right one.")
        moment, day = utc(self.timestamp, schema[self.timestamp]), pl.col(PARTITION)
        partitioned = self._has_days(table)
        if since is not None:
            rows = rows.filter(moment >= since, *([day >= since.astimezone(UTC).date()] if partitioned else []))
        if until is not None:
            rows = rows.filter(moment <= until, *([day <= until.astimezone(UTC).date()] if partitioned else []))
        return rows

    def schema(self) -> pl.Schema:
        """The columns without the partition column, which follows from the timestamp."""
        schema = self.scan().collect_schema()
        return pl.Schema({name: dtype for name, dtype in schema.items() if name != PARTITION or not self.partitioned})

    def append(self, rows: pl.DataFrame) -> None:
        """Adds rows; a reader sees all of them or none. Raises MissingFeatureTable."""
        rows = rows.select(pl.col(name).cast(dtype) for name, dtype in self.schema().items())
        if self.partitioned:
            rows = rows.with_columns(utc(self.timestamp, rows.schema[self.timestamp]).dt.date().alias(PARTITION))
        if self.delta:
            rows.write_delta(str(self.path), mode="append")
        elif self.path.is_file():
            _write(pl.concat([pl.read_parquet(self.path), rows]), self.path)
        elif self.partitioned:
            for (day,), part in rows.partition_by(PARTITION, as_dict=True, include_key=False).items():
                _write(part, self.path / f"{PARTITION}={day}" / f"{uuid.uuid4().hex}.parquet")
        else:
            _write(rows, self.path / f"{uuid.uuid4().hex}.parquet")

    def replace(self, rows: pl.DataFrame) -> None:
        """Replaces all rows, in one file or one Delta version. Raises IsADirectoryError for a folder of files."""
        if self.delta:
            rows.write_delta(str(self.path), mode="overwrite", delta_write_options={"schema_mode": "overwrite"})
        elif self.path.is_dir():
            raise IsADirectoryError(
                f"{self.owner} · {self.path} is a folder; legal: one Parquet file or a Delta table, which are replaced at once. "
                "Name a file."
            )
        else:
            _write(rows, self.path)

    def _has_days(self, table: DeltaTable | None) -> bool:
        return PARTITION in table.metadata().partition_columns if table else any(self.path.glob(f"{PARTITION}=*"))


def _write(rows: pl.DataFrame, path: Path) -> None:
    content = BytesIO()
    rows.write_parquet(content)
    # Readable as the umask allows, also where an earlier version left a private file: servers run under another uid.
    replace_file(path, content.getvalue(), mode=SHARED)
