"""How Dagster's storages on SQLite and Postgres read and write in this process: with kept connections, and many events at once.

tests/graph/kernel/test_dagster_storage.py fails when an upgrade of Dagster changes what this builds on.
"""

import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.foundation.sqlite_file import ImmutableFile, connect

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from sqlalchemy import URL, Connection, Engine

_ENGINES: "dict[str, Engine]" = {}
_ENGINES_LOCK, MAX_ENGINES = Lock(), 20
# Events of a transaction, for whose 0.8 s other writers wait. Dagster reads the variable at each event.
BATCH = {"DAGSTER_EVENT_BATCH_SIZE": "1000"}
CONNECT_S = 3  # libpq waits for ever by default


class EventLogDown(RuntimeError):
    """No Postgres answers at the address in dagster.yaml."""


@contextmanager
def opened_to_read(folder: Path) -> "Generator[dg.DagsterInstance]":
    """The instance of a dagster.yaml, for a command that a person waits for: Dagster itself tries to connect for 6 s to 40 s.
    Raises EventLogDown.
    """
    share_engines()
    _require_postgres(folder)
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def _require_postgres(folder: Path) -> None:
    """Nothing where another storage is configured."""
    from dagster._config import process_config, resolve_to_config_type
    from dagster._core.instance.ref import InstanceRef

    storage = InstanceRef.from_dir(str(folder)).storage_data
    if storage is None or not storage.module_name.startswith("dagster_postgres"):
        return
    from dagster_postgres import DagsterPostgresStorage
    from dagster_postgres.utils import create_pg_engine, get_token_provider_from_config, pg_url_from_config
    from sqlalchemy import NullPool
    from sqlalchemy.exc import DBAPIError

    config = process_config(resolve_to_config_type(DagsterPostgresStorage.config_type()), storage.config_dict).value
    if config is None:  # Dagster says what is illegal when it opens the instance
        return
    options: dict[str, Any] = {"poolclass": NullPool, "connect_args": {"connect_timeout": CONNECT_S}}
    engine = create_pg_engine(pg_url_from_config(config), get_token_provider_from_config(config), **options)
    try:
        engine.connect().close()
    except DBAPIError as error:
        where, cause = engine.url.set(query={}).render_as_string(hide_password=True), str(error.orig).strip().partition("\n")[0]
        remedy = f"Start the database, or correct `storage` in {folder / 'dagster.yaml'}"
        raise EventLogDown(f"event log · {where} · does not answer: {cause.rstrip('.')}. {remedy}.") from None


def share_engines() -> None:
    """Makes queries, events and the opening of an instance cheap, for all that this process opens, as each tick does."""
    _share_sqlite()
    if "dagster_postgres" in sys.modules:  # which Dagster loads with an instance that needs it
        _share_postgres()


@cache
def _share_sqlite() -> None:
    """Dagster's SQLite storages create an engine and a connection for each statement, and read 88 migration scripts three times
    for each opening: it takes 66 ms of CPU, and 16 ms with this. An event takes 4 ms of CPU instead of 8, and waits for no write
    to the disk, of which there were four. The event file of a run takes 27 ms of CPU instead of 65, as the scripts are not read
    again for it.
    A writer waits for another one for 30 s, as the event log's does, and not for 5 s until "database is locked".
    Of the partitions of a run and of landed files, many events are one transaction: 0.3 to 0.8 ms of CPU for each.
    """
    from alembic import command
    from dagster._core.storage import sql
    from dagster._core.storage.event_log.sqlite import sqlite_event_log
    from dagster._core.storage.runs.sqlite import sqlite_run_storage
    from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage

    storages: list[Any] = [sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage]
    for storage in storages:
        storage.create_engine = _engine_of
    events: Any = sqlite_event_log.SqliteEventLogStorage
    events.store_event_batch = _store_batch
    os.environ.update({**BATCH, **os.environ})
    readers: list[Any] = [sql, command]
    for reader in readers:
        reader.ScriptDirectory = _kept_scripts()


@cache
def _kept_scripts() -> "type[ScriptDirectory]":
    """Reads Dagster's migration scripts once in this process, and those of others, such as MLflow's, as ever."""
    from alembic.script import ScriptDirectory
    from dagster._core.storage.sql import ALEMBIC_SCRIPTS_LOCATION

    kept = cache(ScriptDirectory.from_config)

    class KeptScripts(ScriptDirectory):
        @classmethod
        def from_config(cls, config: "Config") -> ScriptDirectory:
            is_dagster = config.get_main_option("script_location") == ALEMBIC_SCRIPTS_LOCATION
            return kept(config) if is_dagster else ScriptDirectory.from_config(config)

    return KeptScripts


def _engine_of(url: str, **_options: Any) -> "Engine":
    """One engine for each file, which keeps its connections open; each run has a file."""
    with _ENGINES_LOCK:
        engine = _ENGINES.pop(url, None) or _kept_engine(url)
        _ENGINES[url] = engine  # the newest last
        if len(_ENGINES) > MAX_ENGINES:
            oldest = _ENGINES.pop(next(iter(_ENGINES)))
            oldest.pool.dispose()
    return engine


def _kept_engine(url: str) -> "Engine":
    from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
    from sqlalchemy import QueuePool, create_engine, event, make_url

    opened = partial(connect, Path(make_url(url).database or ""), busy_s=SQLITE_BUSY_TIMEOUT_SECONDS, mode="rwc")
    made = create_engine(url, creator=opened, poolclass=QueuePool, pool_size=2, max_overflow=-1)

    # Without it each commit waits for the disk. A crash of a process loses nothing; one of the machine may lose the last events,
    # and what they report is then made again. https://sqlite.org/pragma.html#pragma_synchronous
    def set_up(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA synchronous = NORMAL")

    # The web server shows the log of a run whenever its file changes, and a commit changes the file of the write-ahead log only.
    def report_writes(connection: Any, record: Any) -> None:
        if isinstance(connection, ImmutableFile):
            record.invalidate()  # its disk may be writable by the next time
        elif connection and record.info.get("changes", 0) != (changes := connection.total_changes):
            record.info["changes"] = changes
            with suppress(OSError):  # a deleted run
                os.utime(made.url.database or "")

    event.listen(made, "connect", set_up)
    event.listen(made, "checkin", report_writes)
    any_engine: Any = made
    any_engine.dispose = lambda: None  # Dagster disposes of it after each statement
    return made


@cache
def _share_postgres() -> None:
    """Dagster's Postgres storages connect for each statement, in 10 ms, and plan each partition of a run in several: a tick of
    all sensors of a use case takes 0.3 s instead of 1.8, and a run over 30 days of six tables is planned in 0.2 s, not in 5.7.
    """
    from dagster_postgres.event_log import event_log
    from dagster_postgres.run_storage import run_storage
    from dagster_postgres.schedule_storage import schedule_storage

    storages: list[Any] = [event_log, run_storage, schedule_storage]
    for storage in storages:
        storage.create_pg_engine, storage.create_pg_connection = _postgres_engine, _postgres_connection
    events: Any = event_log.PostgresEventLogStorage
    events.store_event_batch = _store_batch


@cache
def _kept_pool(url: "URL") -> "Engine":
    """Two connections of each process stay open. One that the server has closed meanwhile is replaced."""
    from dagster_postgres.utils import create_pg_engine
    from sqlalchemy import QueuePool

    options: dict[str, Any] = {"poolclass": QueuePool, "pool_size": 2, "max_overflow": -1, "pool_pre_ping": True}
    return create_pg_engine(url.render_as_string(hide_password=False), isolation_level="AUTOCOMMIT", **options)


def _postgres_engine(postgres_url: str, token_provider: Any = None, **options: Any) -> "Engine":
    """The web server has a pool of its own, and a token is the password of one connection."""
    from dagster_postgres.utils import create_pg_engine
    from sqlalchemy import NullPool, make_url

    if token_provider or options.get("poolclass") is not NullPool:
        return create_pg_engine(postgres_url, token_provider, **options)
    return _kept_pool(make_url(postgres_url))


@contextmanager
def _postgres_connection(engine: "Engine") -> "Generator[Connection]":
    """Also of an instance that was opened before."""
    from dagster_postgres.utils import create_pg_connection
    from sqlalchemy import NullPool

    has_tokens = bool(engine.dialect.dispatch.do_connect)
    is_own = isinstance(engine.pool, NullPool) and not has_tokens
    with create_pg_connection(_kept_pool(engine.url) if is_own else engine) as connection:
        yield connection


def _store_batch(storage: Any, events: Sequence[Any]) -> None:
    """Events of one run, in their order. Those of checks, which have tables of their own, one by one."""
    from dagster._core.events import ASSET_EVENTS

    for is_of_assets, group in groupby(events, lambda event: event.dagster_event_type in ASSET_EVENTS):
        if is_of_assets:
            _store_together(storage, [*group])
        else:
            for event in group:
                storage.store_event(event)


def _store_together(storage: Any, events: Sequence[Any]) -> None:
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable

    rows, insert = [storage._event_to_row(event) for event in events], SqlEventLogStorageTable.insert()
    if hasattr(storage, "path_for_shard"):  # SQLite, whose web server reads the file of the run
        with storage.run_connection(events[0].run_id) as connection:
            connection.execute(insert, rows)
    with_ids = insert.returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)
    with storage.index_transaction() as connection:
        ids = connection.execute(with_ids, rows).scalars().all()
        storage._store_asset_event_tags(connection, events, ids)
        newest = {event.dagster_event.asset_key: (event, number) for event, number in zip(events, ids, strict=True)}
        for event, number in newest.values():
            storage._store_asset_event(connection, event, number)


def report_events(instance: dg.DagsterInstance, events: Sequence[Any]) -> None:
    """Events of assets that no run has made: materializations in batches, then the others."""
    from dagster._core.events import DagsterEvent, DagsterEventBatchMetadata, StepMaterializationData, generate_event_batch_id
    from dagster._core.instance.utils import RUNLESS_JOB_NAME, RUNLESS_RUN_ID

    made = [event for event in events if isinstance(event, dg.AssetMaterialization)]
    kind, batch = dg.DagsterEventType.ASSET_MATERIALIZATION.value, generate_event_batch_id()
    for number, event in enumerate(made, start=1):
        reported = DagsterEvent(kind, RUNLESS_JOB_NAME, event_specific_data=StepMaterializationData(event))
        of_batch = DagsterEventBatchMetadata(batch, is_end=number == len(made))
        instance.report_dagster_event(reported, RUNLESS_RUN_ID, batch_metadata=of_batch)
    for event in events:
        if not isinstance(event, dg.AssetMaterialization):
            instance.report_runless_asset_event(event)
