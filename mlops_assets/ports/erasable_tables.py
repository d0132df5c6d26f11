"""The sought rows of one Delta table: those of now, and those in the files of older versions.

Belongs here: finding and erasing them for good. Not here: the table's own log (delta_log.py) and which tables there are.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from mlops_assets.ports.delta_log import clean_log, data_files, removed_files
from mlops_assets.ports.durable_file import sync_folder
from mlops_assets.ports.parquet_rows import count_rows
from mlops_assets.ports.sought import PLACE, Sought

UNFINISHED = timedelta(hours=1)  # no run takes so long between writing a file and committing it


@dataclass(frozen=True)
class TableRows:
    """The sought rows of the table at `path`, as it is now."""

    path: Path
    sought: Sought

    def count(self) -> int:
        return self._found().height

    def erase(self) -> None:
        """One commit. A run that commits first is not disturbed: what it wrote is left to be found again."""
        predicate = " OR ".join(_conditions(self._found(), self.sought))
        if predicate:
            with suppress(CommitFailedError):
                DeltaTable(str(self.path)).delete(predicate)

    def _found(self) -> pl.DataFrame:
        rows = pl.scan_delta(str(self.path))
        schema = rows.collect_schema()
        theirs = self.sought.in_rows(schema)
        if theirs is None:
            return pl.DataFrame()
        telling = [name for name in schema if name in self.sought.columns or name in PLACE]
        return rows.filter(theirs).select(telling).collect()


@dataclass(frozen=True)
class OlderFiles:
    """The files at `path` that hold sought rows and do not belong to the table of now: of older versions, or left behind
    by a run that was killed. Without them those versions cannot be read any more; the others still can.

    `at` is now. A file that no commit knows and that is younger than an hour may be about to be committed, and stays.
    """

    path: Path
    sought: Sought
    at: datetime

    def count(self) -> int:
        return sum(count_rows(file, self.sought) for file in self._files())

    def erase(self) -> None:
        """The files, and then what the table's log tells of them."""
        removed = removed_files(self.path)
        for file in self._files():
            if count_rows(file, self.sought) and (file.name in removed or self._is_left_behind(file)):
                file.unlink()
                sync_folder(file.parent)
        clean_log(self.path, self.sought)

    def _files(self) -> list[Path]:
        files = data_files(self.path)  # looked up first, so that one that is committed meanwhile counts as current
        current = {Path(uri).name for uri in DeltaTable(str(self.path)).file_uris()}
        return [file for file in files if file.name not in current]

    def _is_left_behind(self, file: Path) -> bool:
        return self.at.timestamp() - file.stat().st_mtime > UNFINISHED.total_seconds()


def _conditions(found: pl.DataFrame, sought: Sought) -> Iterator[str]:
    """What is true of these rows and of no others, in SQL: their own spellings, or where a broken line stood."""
    columns = sorted(sought.columns & set(found.columns))
    for name in columns:
        values = found.filter(sought.in_column(name))[name].unique().sort()
        if len(values):
            yield f'"{name}" IN ({", ".join(map(_literal, values))})'
    if set(PLACE) <= set(found.columns):
        broken = found.filter(~pl.any_horizontal(sought.in_column(name) for name in columns)).select(PLACE)
        for file, line in broken.iter_rows():
            yield f'("source_file" = {_literal(file)} AND "source_line" = {line})'


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
