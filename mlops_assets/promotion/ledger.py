"""The ledger on SQLite or Postgres: append-only, hash-chained records of every change to what serves."""

import json
import os
import sqlite3
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast, get_args

from sqlalchemy import DDL, Column, Integer, MetaData, Table, Text, create_engine, event, func, insert, select
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from mlops_assets.foundation.atomic_file import sync_folder
from mlops_assets.promotion import ledger_chain as chain
from mlops_assets.promotion.ledger_chain import Kind, Record, Row

BUSY_S = 30  # how long a writer on SQLite waits for its turn
CONNECT_S = 10
CREATION_LOCK = 486_152_013  # the advisory lock that guards CREATE TABLE: any number that no other program on the server uses


class IllegalAddress(ValueError):
    """An address that is not one of a ledger."""


class ConcurrentWrite(RuntimeError):
    """Others wrote records after the newest one that the writer had read."""


class LedgerTruncated(LookupError):
    """The writer has read a record that the ledger no longer holds."""


class LedgerDown(RuntimeError):
    """The database does not answer. A record that was on its way may be written: read the ledger before writing it again."""


_METADATA = MetaData()
_LEDGER = Table(
    "mlops_ledger",  # prefixed, as the database may hold MLflow's and Dagster's tables too
    _METADATA,
    Column("use_case", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    *(Column(name, Text, nullable=False) for name in ("kind", "at", "by", "body", "previous", "digest")),
    sqlite_strict=True,
)
_REFUSAL = "mlops_ledger is append-only: no record is ever changed or removed. Append a record that corrects it."
_SQLITE_EVENTS = {
    "update": "UPDATE ON mlops_ledger",
    "delete": "DELETE ON mlops_ledger",
    # INSERT OR REPLACE removes the old row without firing the delete trigger: https://sqlite.org/lang_conflict.html
    "replace": "INSERT ON mlops_ledger WHEN EXISTS"
    " (SELECT 1 FROM mlops_ledger WHERE use_case = NEW.use_case AND number = NEW.number)",
}
_GUARDS = {
    "sqlite": [
        f"CREATE TRIGGER mlops_ledger_no_{name} BEFORE {on} BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        for name, on in _SQLITE_EVENTS.items()
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION mlops_ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$",
        "CREATE TRIGGER mlops_ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON mlops_ledger"
        " FOR EACH STATEMENT EXECUTE FUNCTION mlops_ledger_refuse()",
    ],
}
for _dialect, _statements in _GUARDS.items():
    for _statement in _statements:
        event.listen(_LEDGER, "after_create", DDL(_statement).execute_if(dialect=_dialect))


class Ledger:
    """`url` is `sqlite:///<file>` or `postgresql://user:password@host/database`; the table is created on first use.

    Any number of processes and threads write at once: the unique (use_case, number) decides who was first. Every method
    raises LedgerDown.
    """

    def __init__(self, url: str) -> None:
        """Connects to nothing yet. Raises IllegalAddress."""
        self._url = _parse_address(url)

    def append(
        self, use_case: str, kind: Kind, body: Mapping[str, Any], *, by: str, at: datetime, after: int | None = None
    ) -> Record:
        """Writes the next record, whole or not at all. `after` is the number of the newest record that the writer has read
        (0: none); None appends to whatever is there.

        Raises ConcurrentWrite, LedgerTruncated (both only with `after`), ValueError for what cannot be stored.
        """
        fields = _validated(use_case, kind, body, by=by, at=at)
        with self._connected() as connection:
            while True:
                number, digest = _newest(connection, use_case)
                if after is not None and after != number:
                    raise _overtaken(use_case, after, number, _rows(connection, use_case, after))
                record = chain.link_record(fields, number + 1, digest)
                with suppress(IntegrityError):  # another writer took this number: try the next one
                    # One statement, which is one transaction.
                    connection.execute(insert(_LEDGER).values(asdict(record) | {"body": chain.canonical_json(record.body)}))
                    return record

    def records(self, use_case: str, *, after: int = 0) -> list[Record]:
        """The records above number `after`, oldest first; `verify` checks their digests. Raises UnreadableRecord."""
        with self._connected() as connection:
            return [chain.parse_row(row) for row in _rows(connection, use_case, after)]

    def use_cases(self) -> list[str]:
        """Every use case that has a record, sorted."""
        with self._connected() as connection:
            return sorted(connection.scalars(select(_LEDGER.c.use_case).distinct()))

    def verify(self, use_case: str, *, mirrored: tuple[int, str] | None = None) -> list[str]:
        """What is wrong with the chain, one sentence per fault.

        The chain alone does not show that its newest records were cut off, or rewritten with matching digests:
        `mirrored` is number and digest of the newest record that another place knows.
        """
        with self._connected() as connection:
            rows = _rows(connection, use_case, None)
        return [
            f"{use_case} · {fault}"
            for fault in [*chain.find_faults(rows), *(chain.find_lost(rows, *mirrored) if mirrored else ())]
        ]

    @cached_property
    def _engine(self) -> Engine:
        return _open_sqlite(self._url) if self._url.get_backend_name() == "sqlite" else _open_postgres(self._url)

    @contextmanager
    def _connected(self) -> Generator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except (DBAPIError, OSError) as error:
            cause = str(error.orig if isinstance(error, DBAPIError) else error).partition("\n")[0]
            where = self._url.set(query={}).render_as_string(hide_password=True)
            raise LedgerDown(
                f"ledger · {where} · does not answer: {cause}. Start the database, or correct MLOPS_LEDGER."
            ) from None


def _parse_address(url: str) -> URL:
    legal = "legal: sqlite:///<file>, postgresql://user:password@host:5432/database, special characters as %40"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise IllegalAddress(f"ledger · address · cannot be read; {legal}. Correct MLOPS_LEDGER.") from None
    if parsed.drivername not in _GUARDS or not parsed.database:
        found = f"found {parsed.drivername!r}, database {parsed.database!r}"
        raise IllegalAddress(f"ledger · address · {found}; {legal}. Correct MLOPS_LEDGER.")
    return parsed


def _open_sqlite(url: URL) -> Engine:
    """Creates a missing file, whole or not at all; of several creators the first wins."""
    file = Path(cast(str, url.database)).absolute()
    if file.exists():
        return _sqlite_engine(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".new-") as folder:
        new = Path(folder) / file.name
        with closing(sqlite3.connect(new)) as connection:
            # Readers and the writer do not wait for each other. The mode is stored in the file.
            connection.execute("PRAGMA journal_mode = WAL")
        _METADATA.create_all(_sqlite_engine(new))
        with suppress(FileExistsError):
            os.link(new, file)
    sync_folder(file.parent)
    return _sqlite_engine(file)


def _sqlite_engine(file: Path) -> Engine:
    def connect() -> sqlite3.Connection:
        # rw: a file that is gone is an error, not a new and empty ledger.
        connection = sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=BUSY_S, check_same_thread=False)
        # Bytes that are not UTF-8 were edited by hand; `verify` reports them instead of failing.
        connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
        return connection

    # No connection is kept between calls, so that a fork or a restarted server does no harm.
    return create_engine("sqlite://", creator=connect, poolclass=NullPool, isolation_level="AUTOCOMMIT")


def _open_postgres(url: URL) -> Engine:
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": CONNECT_S},
    )
    with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock(CREATION_LOCK)))
        _METADATA.create_all(connection)
    return engine


def _newest(connection: Connection, use_case: str) -> tuple[int, str]:
    query = select(_LEDGER.c.number, _LEDGER.c.digest).where(_LEDGER.c.use_case == use_case)
    row = connection.execute(query.order_by(_LEDGER.c.number.desc()).limit(1)).first()
    return (row.number, row.digest) if row else (0, chain.GENESIS)


def _rows(connection: Connection, use_case: str, after: int | None) -> list[Row]:
    """Ascending by number, those above `after` (None: all); by digest where the chain forks."""
    query = select(_LEDGER).where(_LEDGER.c.use_case == use_case).order_by(_LEDGER.c.number, _LEDGER.c.digest)
    return [Row(*row) for row in connection.execute(query if after is None else query.where(_LEDGER.c.number > after))]


def _validated(use_case: str, kind: Kind, body: Mapping[str, Any], *, by: str, at: datetime) -> dict[str, Any]:
    where = f"{use_case} · ledger"
    for name, text in (("use_case", use_case), ("by", by)):
        if not text or not text.isprintable():
            raise ValueError(f"{where} · {name} = {text!r}; legal: printable text. Correct the name.")
    if kind not in get_args(Kind):
        raise ValueError(f"{where} · kind = {kind!r}; legal: {', '.join(get_args(Kind))}. Use one of these.")
    if at.tzinfo is None:
        raise ValueError(f"{where} · at = {at!r} has no time zone; legal: an aware datetime. Pass UTC.")
    try:
        plain = json.loads(chain.canonical_json(dict(body)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{where} · body of the {kind}: {error}; legal: plain JSON, no NaN or infinity. Correct it.") from None
    return {"use_case": use_case, "kind": kind, "at": at.astimezone(UTC).isoformat(), "by": by, "body": plain}


def _overtaken(use_case: str, after: int, newest: int, later: Iterable[Row]) -> ConcurrentWrite | LedgerTruncated:
    where = f"{use_case} · ledger"
    if newest < after:
        found = f"record {after} was read, and the newest is {newest or 'none'}: records are gone, or this is another ledger"
        return LedgerTruncated(f"{where} · {found}. Run `mlops ledger verify {use_case}`.")
    found = ", ".join(f"record {row.number} ({row.kind} by {row.by} at {row.at})" for row in later)
    return ConcurrentWrite(f"{where} · after record {after} came {found}. Read it and decide again.")
