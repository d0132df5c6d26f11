"""One subject's rows in Delta tables, in the files of their older versions, in their logs, and in single Parquet files."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from mlops_assets.erasure.subject_matcher import PLACE, SubjectMatcher
from mlops_assets.foundation.atomic_file import replace_file, sync_folder
from mlops_assets.foundation.delta_tables import NO_STATISTICS

LOG = "_delta_log"
RETENTION = "delta.logRetentionDuration"
YOUNG_HOURS = 1  # no run needs longer from opening a table to its commit


def _subject_rows(file: Path, matcher: SubjectMatcher) -> int:
    rows = pl.scan_parquet(file, glob=False, hive_partitioning=False)
    matches = matcher.in_rows(rows.collect_schema())
    return 0 if matches is None else rows.filter(matches).select(pl.len()).collect().item()


@dataclass(frozen=True)
class TableRows:
    """The subject's rows in the current version of the table at `path`."""

    path: Path
    matcher: SubjectMatcher

    def count(self) -> int:
        return self._rows().height

    def erase(self) -> None:
        """One commit, which gives way to a concurrent one. It is a merge, as the log keeps the predicate of a delete."""
        rows = self._rows().unique()
        same = " AND ".join(f'(old."{name}" IS NOT DISTINCT FROM erased."{name}")' for name in rows.columns)
        if len(rows):
            merge = DeltaTable(str(self.path)).merge(rows, same, source_alias="erased", target_alias="old", streamed_exec=True)
            with suppress(CommitFailedError):
                merge.when_matched_delete().execute()

    def _rows(self) -> pl.DataFrame:
        """The columns that tell them from other rows."""
        rows = pl.scan_delta(str(self.path))
        schema = rows.collect_schema()
        matches = self.matcher.in_rows(schema)
        columns = [name for name in schema if name in self.matcher.columns or name in PLACE]
        return pl.DataFrame() if matches is None else rows.filter(matches).select(columns).collect()


@dataclass(frozen=True)
class OlderFiles:
    """The files with the subject's rows that belong to older versions only, or to a run that was killed.

    Their versions become unreadable, others stay readable. A young file without a commit may be about to get one: it stays.
    """

    path: Path
    matcher: SubjectMatcher

    def count(self) -> int:
        return sum(_subject_rows(file, self.matcher) for file in self._files())

    def erase(self) -> None:
        table = DeltaTable(str(self.path))
        unused = table.vacuum(0, enforce_retention_duration=False)  # lists them; a vacuum for good would take every version
        unused += table.vacuum(YOUNG_HOURS, enforce_retention_duration=False, full=True)
        names = {Path(name).name for name in unused}
        for file in self._files():
            if file.name in names and _subject_rows(file, self.matcher):
                file.unlink()
                sync_folder(file.parent)

    def _files(self) -> list[Path]:
        files = sorted(path for path in self.path.rglob("*.parquet") if LOG not in path.parts)
        current = {Path(uri).name for uri in DeltaTable(str(self.path)).file_uris()}  # after the listing: commits go on
        return [file for file in files if file.name not in current]


@dataclass(frozen=True)
class TableLog:
    """The commits and checkpoints of the table that name the subject, in statistics or predicates of earlier releases.

    They go with the whole log before them, and with it every older version. Commits of the last hour stay, so that a
    concurrent writer still conflicts with them.
    """

    path: Path
    matcher: SubjectMatcher

    def count(self) -> int:
        return sum(any(map(self._is_named, _actions(file))) for file in self._files())

    def erase(self) -> None:
        for leftover in (self.path / LOG).glob(".new-*"):  # of an earlier release that was killed
            leftover.unlink()
        table = DeltaTable(str(self.path))
        kept = table.metadata().configuration.get(RETENTION, "interval 30 days")
        hour = f"interval {YOUNG_HOURS} hours"
        if not self.count() and kept != hour:
            return
        with suppress(CommitFailedError):
            table.alter.set_table_properties(NO_STATISTICS | {RETENTION: hour})
            table.create_checkpoint()
            table.cleanup_metadata()
            table.alter.set_table_properties({RETENTION: "interval 30 days" if kept == hour else kept})

    def _files(self) -> list[Path]:
        return [path for path in (self.path / LOG).iterdir() if path.suffix in (".json", ".parquet")]

    def _is_named(self, action: dict[str, Any]) -> bool:
        predicate = action.get("commitInfo", {}).get("operationParameters", {}).get("predicate")
        entries: list[dict[str, Any]] = [action.get(kind) or {} for kind in ("add", "remove")]
        stats = [json.loads(entry.get("stats") or "{}") for entry in entries]
        extremes = [each.get(bound, {}) for each in stats for bound in ("minValues", "maxValues")]
        return any(map(self.matcher.is_in, extremes)) or self.matcher.is_in_text((predicate or "").replace("''", "'"))


def _actions(file: Path) -> Iterator[dict[str, Any]]:
    if file.suffix == ".json":
        return map(json.loads, file.read_text().splitlines())
    return iter(pl.read_parquet(file, columns=["add"], glob=False).drop_nulls().to_dicts())


@dataclass(frozen=True)
class ParquetRows:
    """The subject's rows in every Parquet file under `folder`."""

    folder: Path
    matcher: SubjectMatcher

    def count(self) -> int:
        return sum(_subject_rows(file, self.matcher) for file in self.folder.rglob("*.parquet"))

    def erase(self) -> None:
        """A reader gets the old file or the new one."""
        for file in self.folder.rglob("*.parquet"):
            if _subject_rows(file, self.matcher):
                rows, buffer = pl.read_parquet(file, glob=False, hive_partitioning=False), BytesIO()
                matches = self.matcher.in_rows(rows.schema)
                assert matches is not None
                rows.filter(~matches).write_parquet(buffer)
                replace_file(file, buffer.getvalue())
