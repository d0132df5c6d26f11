"""Canary: what graph/kernel/dagster_storage.py changes in Dagster's SQLite storages stores and reads the same.

A failure after an upgrade: compare the methods that it replaces or calls with those of the new release.
"""

import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any, cast

import dagster as dg
import psutil
import pytest

from mlops_assets.graph.kernel import dagster_storage as storage

MADE = dg.DagsterEventType.ASSET_MATERIALIZATION
DAYS = dg.DailyPartitionsDefinition("2013-01-01", end_date="2013-01-11")
RANGE = {"dagster/asset_partition_range_start": "2013-01-02", "dagster/asset_partition_range_end": "2013-01-09"}
FILES = dg.AssetKey("files")


@dg.multi_asset(
    specs=[dg.AssetSpec("rows", partitions_def=DAYS), dg.AssetSpec("rejected", partitions_def=DAYS)],
    check_specs=[dg.AssetCheckSpec("fine", asset="rows")],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def validate() -> Any:
    yield dg.MaterializeResult(asset_key="rows", metadata={"rows": 8}, check_results=[dg.AssetCheckResult(passed=True)])
    yield dg.MaterializeResult(asset_key="rejected")


# Of two runs of the same: times, durations, ids of runs, versions made of them, and processes.
CHANGING = re.compile(
    r'"(timestamp|pid|duration_ms)": [0-9.e+]+|"log_key": "\w+"|\b\d+(\.\d+)?m?s\b|20\d\d-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?|\b[0-9a-f]{64}\b'
)
TABLES = ("event_logs", "asset_keys", "asset_event_tags", "asset_check_executions")


def stored(folder: Path, runs: list[str]) -> dict[str, Any]:
    """What all files have, in the order of the rows, without what changes."""

    def plain(value: Any) -> Any:
        text = value if isinstance(value, str) else repr(value)
        for number, run in enumerate(runs):
            text = text.replace(run, f"run {number}").replace(run[:8], f"run {number}")
        return CHANGING.sub("*", text)

    rows_of_table: dict[str, Any] = {}
    for file in ("index", "", *runs):
        with sqlite3.connect(folder / "history" / "runs" / f"{file}.db") as connection:
            for table in TABLES:
                rows_of_table[plain(f"{file} {table}")] = [
                    [*map(plain, row)] for row in connection.execute(f"select * from {table}")
                ]
    return rows_of_table


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> dict[str, Any]:
    """Two runs over eight days, and the reports of files."""
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", str(size))
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        runs = [dg.materialize([validate], instance=instance, tags=RANGE).run_id for _ in range(2)]
        made = [dg.AssetMaterialization(FILES, partition=str(day), tags={"dagster/data_version": str(day)}) for day in range(7)]
        storage.report_events(instance, [dg.AssetCheckEvaluation(FILES, "fine", passed=True), *made])
        return stored(folder, runs)


@pytest.mark.parametrize("size", [3, 1000])
def test_events_in_batches_are_stored_as_dagster_stores_them_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    storage.share_engines()
    one_by_one, together = write(tmp_path / "one", monkeypatch, 0), write(tmp_path / "many", monkeypatch, size)
    assert together == one_by_one
    assert len(together["index event_logs"]) > 2 * 2 * 2 * 8 + 7, "of two runs, kinds and assets on eight days, and of files"


@contextmanager
def calls_of(*functions: str) -> Iterator[list[str]]:
    """The names of those that were called in the block."""
    made = list[str]()

    def count(frame: Any, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code.co_name in functions:
            made.append(frame.f_code.co_name)

    sys.setprofile(count)
    try:
        yield made
    finally:
        sys.setprofile(None)


def test_queries_and_opening_an_instance_make_no_engine_and_read_no_migration_again(tmp_path: Path) -> None:
    storage.share_engines()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        reference = instance.get_ref()
    with calls_of("create_engine", "_load_revisions") as made, dg.DagsterInstance.from_ref(reference) as instance:
        assert not instance.get_event_records(dg.EventRecordsFilter(MADE))
        assert not instance.get_runs()
    assert not made


def test_the_file_of_a_new_run_reads_no_migration_again(tmp_path: Path) -> None:
    storage.share_engines()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        instance.report_engine_event("first", run_id="first", job_name="job")
        with calls_of("_load_revisions") as made:
            instance.report_engine_event("second", run_id="second", job_name="job")
    assert not made


def test_the_files_of_events_stay_open_and_wait_for_no_disk_and_those_of_old_runs_are_closed(tmp_path: Path) -> None:
    storage.share_engines()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(FILES))
        with cast(Any, instance.event_log_storage).index_connection() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1, "normal"
        events = tmp_path / "history" / "runs"
        before = _open_files(events)
        assert before == {".db", ".db-wal", "index.db", "index.db-wal"}
        for number in range(storage.MAX_ENGINES + 5):
            instance.report_engine_event(f"event {number}", run_id=str(number), job_name="job")
        after = _open_files(events)
        assert not {"0.db", "1.db"} & after
        assert f"{storage.MAX_ENGINES + 4}.db" in after


WRITER = """
import sys, dagster
from mlops_assets.graph.kernel.dagster_storage import share_engines
share_engines()
with dagster.DagsterInstance.from_config(sys.argv[1]) as instance:
    for text in sys.stdin:
        instance.report_engine_event(text.strip(), run_id="run", job_name="job")
"""


def test_the_web_server_shows_each_event_as_soon_as_the_process_of_the_run_has_written_it(tmp_path: Path) -> None:
    messages = Queue[str]()

    def show(entry: dg.EventLogEntry, _cursor: str) -> None:
        messages.put(entry.message)

    (tmp_path / "dagster.yaml").write_text("{}")
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with (
        dg.DagsterInstance.from_config(str(tmp_path)) as instance,
        subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as writer,
    ):
        instance.watch_event_logs("run", None, show)
        assert writer.stdin
        for text in ("first", "second", "third"):
            time.sleep(0.5)  # until the creation of the file reports no more
            print(text, file=writer.stdin, flush=True)
            assert messages.get(timeout=120) == text
        writer.stdin.close()
        instance.end_watch_event_logs("run", show)


def _open_files(folder: Path) -> set[str]:
    files = (Path(file.path) for file in psutil.Process().open_files())
    return {file.name for file in files if file.parent == folder and not file.name.endswith("-shm")}
