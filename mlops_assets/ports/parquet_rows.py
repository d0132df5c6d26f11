"""Sought rows in single Parquet files, which belong to no table: counted, and taken out.

Belongs here: the training samples beside tracked models, and one file at a time. Not here: Delta tables (erasable_tables.py).
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import polars as pl

from mlops_assets.ports.durable_file import replace_file
from mlops_assets.ports.sought import Sought


def count_rows(file: Path, sought: Sought) -> int:
    frame = pl.scan_parquet(file, glob=False, hive_partitioning=False)
    theirs = sought.in_rows(frame.collect_schema())
    return 0 if theirs is None else frame.filter(theirs).select(pl.len()).collect().item()


@dataclass(frozen=True)
class ParquetRows:
    """The sought rows of every Parquet file below `folder`."""

    folder: Path
    sought: Sought

    def count(self) -> int:
        return sum(count_rows(file, self.sought) for file in self._files())

    def erase(self) -> None:
        """Each file is replaced as a whole; a reader meets the old rows or the new ones."""
        for file in self._files():
            if count_rows(file, self.sought):
                self._rewrite(file)

    def _files(self) -> list[Path]:
        return sorted(self.folder.rglob("*.parquet"))

    def _rewrite(self, file: Path) -> None:
        rows, buffer = pl.read_parquet(file, glob=False, hive_partitioning=False), BytesIO()
        theirs = self.sought.in_rows(rows.schema)
        assert theirs is not None
        rows.filter(~theirs).write_parquet(buffer)
        replace_file(file, buffer.getvalue())
