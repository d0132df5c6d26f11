"""One subject's rows in Delta tables, in the files of their older versions, in their logs, and in single Parquet files."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from mlops_assets.erasure.subject import PLACE, SubjectMatcher
from mlops_assets.foundation.atomic_file import replace_file, sync_folder
from mlops_assets.foundation.delta_tables import NO_STATISTICS

LOG = "_delta_log"
RETENTION = "delta.logRetentionDuration"
YOUNG_HOURS = 1  # no run takes longer from opening a table to its commit


@dataclass(frozen=True)
class _Rows:
    path: Path
    matcher: SubjectMatcher

    def _select(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.filter(self.matcher.is_in_rows(rows.collect_schema()))

    def _count(self, rows: pl.LazyFrame) -> int:
        return self._select(rows).select(pl.len()).collect().item()

    def _count_file(self, file: Path) -> int:
        return self._count(pl.scan_parquet(file, glob=False, hive_partitioning=False))


class TableRows(_Rows):
    """Rows in the current version of the table at `path`."""

    def count(self) -> int:
        return self._count(pl.scan_delta(str(self.path)))

    def erase(self) -> None:
        """One commit; on a conflict with a concurrent commit it changes nothing."""
        table = pl.scan_delta(str(self.path))
        keys = [name for name in table.collect_schema() if name in self.matcher.columns or name in PLACE]
        rows = self._select(table).select(keys).unique().collect()
        if rows.is_empty():
            return
        same = " AND ".join(f'(old."{name}" IS NOT DISTINCT FROM erased."{name}")' for name in keys)
        # A merge and not a delete: the log stores the predicate of a delete, and with it the value.
        merge = DeltaTable(str(self.path)).merge(rows, same, source_alias="erased", target_alias="old", streamed_exec=True)
        with suppress(CommitFailedError):
            merge.when_matched_delete().execute()


class OlderFiles(_Rows):
    """Rows in files of older versions, or of a killed run. Erasing makes their versions unreadable, and no others."""

    def count(self) -> int:
        return sum(map(self._count_file, self._files()))

    def erase(self) -> None:
        """A file without a commit stays for an hour: its commit may follow."""
        table = DeltaTable(str(self.path))
        unused = table.vacuum(0, enforce_retention_duration=False)  # a dry run: a real vacuum would remove every old version
        unused += table.vacuum(YOUNG_HOURS, enforce_retention_duration=False, full=True)
        names = {Path(name).name for name in unused}
        for file in self._files():
            if file.name in names and self._count_file(file):
                file.unlink()
                sync_folder(file.parent)

    def _files(self) -> list[Path]:
        files = sorted(path for path in self.path.rglob("*.parquet") if LOG not in path.parts)
        current = {
            Path(uri).name for uri in DeltaTable(str(self.path)).file_uris()
        }  # after the listing: a commit may come between
        return [file for file in files if file.name not in current]


class TableLog(_Rows):
    """Commits and checkpoints that contain the value in statistics or predicates, as earlier releases wrote them.

    Erasing removes the log up to them, and with it every older version. Commits of the last hour stay, so that a
    concurrent writer still conflicts with them.
    """

    def count(self) -> int:
        return sum(any(map(self._contains_value, _read_actions(file))) for file in (self.path / LOG).iterdir())

    def erase(self) -> None:
        for leftover in (self.path / LOG).glob(".new-*"):  # an earlier release rewrote log files, and was killed
            leftover.unlink()
        table = DeltaTable(str(self.path))
        retention, hour = table.metadata().configuration.get(RETENTION, "interval 30 days"), f"interval {YOUNG_HOURS} hours"
        if not self.count() and retention != hour:  # one hour: an erasure was killed before it restored the setting
            return
        with suppress(CommitFailedError):
            table.alter.set_table_properties(NO_STATISTICS | {RETENTION: hour})
            table.create_checkpoint()
            table.cleanup_metadata()
            table.alter.set_table_properties({RETENTION: "interval 30 days" if retention == hour else retention})

    def _contains_value(self, action: dict[str, Any]) -> bool:
        predicate = action.get("commitInfo", {}).get("operationParameters", {}).get("predicate") or ""
        entries: list[dict[str, Any]] = [action.get(kind) or {} for kind in ("add", "remove")]
        stats = [json.loads(entry.get("stats") or "{}") for entry in entries]
        bounds = [stat.get(bound, {}) for stat in stats for bound in ("minValues", "maxValues")]
        return any(map(self.matcher.is_in, bounds)) or self.matcher.is_in_text(predicate.replace("''", "'"))


def _read_actions(file: Path) -> Iterable[dict[str, Any]]:
    if file.suffix == ".json":
        return map(json.loads, file.read_text().splitlines())
    return pl.read_parquet(file, columns=["add"], glob=False).drop_nulls().to_dicts() if file.suffix == ".parquet" else []


class ParquetRows(_Rows):
    """Rows in every Parquet file under `path`; a reader gets the old file or the new one."""

    def count(self) -> int:
        return sum(map(self._count_file, self.path.rglob("*.parquet")))

    def erase(self) -> None:
        for file in filter(self._count_file, self.path.rglob("*.parquet")):
            rows, buffer = pl.read_parquet(file, glob=False, hive_partitioning=False), BytesIO()
            rows.filter(~self.matcher.is_in_rows(rows.schema)).write_parquet(buffer)
            replace_file(file, buffer.getvalue())
