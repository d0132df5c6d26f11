"""Dagster's SQLite event log, without a disk flush per event. Not here: anything else of the instance (dagster.yaml).

A backfill of 120 days writes some 6,000 events, and each commit waits for the disk. With a write-ahead log,
`synchronous=NORMAL` survives a killed process whole and can only lose the last moments before a power cut, never
corrupt (https://sqlite.org/pragma.html#pragma_synchronous).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster._core.storage.event_log import SqliteEventLogStorage


class UnflushedEventLog(SqliteEventLogStorage):
    """As its parent; only the flush differs."""

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Any]:
        with super()._connect(shard) as connection:
            connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
            yield connection
