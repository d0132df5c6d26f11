"""Dagster's SQLite event log, without a new engine and a disk flush per event. Not here: the instance (dagster.yaml).

A backfill of 120 days writes some 5,000 events. The parent builds an SQLAlchemy engine for each statement and waits for
the disk at each commit. With a write-ahead log, `synchronous=NORMAL` survives a killed process whole and can lose only
the last moments before a power cut, never corrupt (https://sqlite.org/pragma.html#pragma_synchronous).
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy import create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

KEPT_ENGINES, BUSY_SECONDS = 16, 60


class UnflushedEventLog(SqliteEventLogStorage):
    """As its parent; only engines are kept and commits do not wait for the disk."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._engines: dict[str, Engine] = {}
        super().__init__(*arguments, **named)

    @contextmanager
    def _connect(self, shard: str) -> Generator[Any]:
        with self._db_lock, self._engine(shard).begin() as connection:
            connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
            yield connection

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            engine = create_engine(self.conn_string_for_shard(shard), poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})
            self._initdb(engine)
            self._initialized_dbs.add(shard)
            self._engines[shard] = engine
            if len(self._engines) > KEPT_ENGINES:
                self._engines.pop(next(iter(self._engines))).dispose()
        return self._engines[shard]
