"""The ledger on SQLite or Postgres: append-only, hash-chained records of every change to what serves."""

import json
import sqlite3
import tempfile
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

from sqlalchemy import DDL, Column, Integer, MetaData, Table, Text, create_engine, event, func, insert, select
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from mlops_assets.foundation.atomic_file import create_file
from mlops_assets.promotion import ledger_chain as chain
from mlops_assets.promotion.ledger_chain import DamagedLedger, Kind, Record

BUSY_S = 30  # how long a writer on SQLite waits for its turn
CONNECT_S = 10
CREATION_LOCK = 486_152_013  # the advisory lock that guards CREATE TABLE: any number that no other program on the server uses
# No connection is kept between calls, so that a fork or a restarted server does no harm. Each statement is one transaction.
ENGINE: dict[str, Any] = {"poolclass": NullPool, "isolation_level": "AUTOCOMMIT"}


class ConcurrentWrite(RuntimeError):
    """Others wrote records after the newest one that the writer had read."""


class LedgerDown(RuntimeError):
    """No database answers at the address. A record on its way may be written: read the ledger before writing it again."""


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
_ABORT = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
_GUARDS = [
    ("sqlite", f"CREATE TRIGGER mlops_ledger_no_update BEFORE UPDATE ON mlops_ledger {_ABORT}"),
    ("sqlite", f"CREATE TRIGGER mlops_ledger_no_delete BEFORE DELETE ON mlops_ledger {_ABORT}"),
    # INSERT OR REPLACE removes the old row without firing the delete trigger: https://sqlite.org/lang_conflict.html
    ("sqlite", "CREATE TRIGGER mlops_ledger_no_replace BEFORE INSERT ON mlops_ledger WHEN EXISTS"
     f" (SELECT 1 FROM mlops_ledger WHERE use_case = NEW.use_case AND number = NEW.number) {_ABORT}"),
    ("postgresql", "CREATE OR REPLACE FUNCTION mlops_ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS"
     f" $$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"),
    ("postgresql", "CREATE TRIGGER mlops_ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON mlops_ledger"
     " FOR EACH STATEMENT EXECUTE FUNCTION mlops_ledger_refuse()"),
]  # fmt: skip
for _dialect, _statement in _GUARDS:
    event.listen(_LEDGER, "after_create", DDL(_statement).execute_if(dialect=_dialect))


class Ledger:
    """`url` is `sqlite:///<file>` or `postgresql://user:password@host/database`; the table is created on first use. Any number
    of processes and threads write at once: the unique (use_case, number) decides who was first. Every method raises LedgerDown.
    """

    def __init__(self, url: str) -> None:
        """Connects to nothing yet."""
        with suppress(ArgumentError, ValueError):
            self._url = make_url(url)
            if self._url.drivername in ("sqlite", "postgresql") and self._url.database:
                return
        legal = "sqlite:///<file>, postgresql://user:password@host:5432/database, special characters as %40"
        raise LedgerDown(f"ledger · address · cannot be read: {url.partition(':')[0]}:…; legal: {legal}. Correct MLOPS_LEDGER.")

    def append(
        self, use_case: str, kind: Kind, body: Mapping[str, Any], *, by: str, at: datetime, after: int | None = None
    ) -> Record:
        """Writes the next record, whole or not at all. `after` is the number of the newest record that the writer read (0:
        none); None appends to whatever is there. Raises ConcurrentWrite, DamagedLedger; ValueError for what cannot be stored.
        """
        unlinked = _validated(use_case, kind, body, by=by, at=at)
        newest = select(_LEDGER).where(_LEDGER.c.use_case == use_case).order_by(_LEDGER.c.number.desc()).limit(1)
        with self._connected() as connection:
            while True:
                row = connection.execute(newest).first()
                number, digest = (row.number, row.digest) if row else (0, chain.GENESIS)
                if after is not None and number < after:
                    problem = f"record {after} was read, and the newest is {number or 'none'}: records are gone"
                    raise DamagedLedger(f"{use_case} · ledger · {problem}. Run `mlops ledger verify {use_case}`.")
                if after is not None and number > after:
                    rows = _rows(connection, use_case, after)
                    later = ", ".join(f"record {row.number} ({row.kind} by {row.by} at {row.at})" for row in rows)
                    raise ConcurrentWrite(f"{use_case} · ledger · after record {after} came {later}. Read it and decide again.")
                record = chain.seal(replace(unlinked, number=number + 1, previous=digest))
                with suppress(IntegrityError):  # another writer took this number: try the next one
                    connection.execute(insert(_LEDGER).values(vars(record) | {"body": chain.canonical_json(record.body)}))
                    return record

    def records(self, use_case: str, *, after: int = 0) -> list[Record]:
        """The records above number `after`, oldest first; `verify` checks their digests. Raises DamagedLedger."""
        with self._connected() as connection:
            return [chain.parse_row(row) for row in _rows(connection, use_case, after)]

    def use_cases(self) -> list[str]:
        """Every use case that has a record, sorted."""
        with self._connected() as connection:
            return sorted(connection.scalars(select(_LEDGER.c.use_case).distinct()))

    def verify(self, use_case: str, *, mirrored: tuple[int, str] | None = None) -> list[str]:
        """What is wrong with the chain, a sentence per fault. The chain alone does not show that its newest records were cut off,
        or rewritten with matching digests: `mirrored` is number and digest of the newest record that another place knows.
        """
        with self._connected() as connection:
            return [f"{use_case} · {fault}" for fault in chain.find_faults(_rows(connection, use_case, None), mirrored)]

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
            problem = f"ledger · {where} · does not answer: {cause}"
            raise LedgerDown(f"{problem}. Start the database, or correct MLOPS_LEDGER.") from None


def _open_sqlite(url: URL) -> Engine:
    """Creates a missing file, whole or not at all; of several creators the first wins."""
    file = Path(cast(str, url.database)).absolute()
    if not file.exists():
        with tempfile.TemporaryDirectory() as folder:
            new = Path(folder) / file.name
            with closing(sqlite3.connect(new)) as connection:
                # Readers and the writer do not wait for each other. The mode is stored in the file.
                connection.execute("PRAGMA journal_mode = WAL")
            _METADATA.create_all(_sqlite_engine(new))
            create_file(file, new.read_bytes())
    return _sqlite_engine(file)


def _sqlite_engine(file: Path) -> Engine:
    def connect() -> sqlite3.Connection:
        # rw: a file that is gone is an error, not a new and empty ledger.
        connection = sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=BUSY_S, check_same_thread=False)
        # Bytes that are not UTF-8 were edited by hand; `verify` reports them instead of failing.
        connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
        return connection

    return create_engine("sqlite://", creator=connect, **ENGINE)


def _open_postgres(url: URL) -> Engine:
    engine = create_engine(url.set(drivername="postgresql+psycopg"), connect_args={"connect_timeout": CONNECT_S}, **ENGINE)
    with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock(CREATION_LOCK)))
        _METADATA.create_all(connection)
    return engine


def _rows(connection: Connection, use_case: str, after: int | None) -> list[Record]:
    """Ascending by number, those above `after` (None: all); by digest where the chain forks."""
    query = select(_LEDGER).where(_LEDGER.c.use_case == use_case).order_by(_LEDGER.c.number, _LEDGER.c.digest)
    return [Record(*row) for row in connection.execute(query if after is None else query.where(_LEDGER.c.number > after))]


def _validated(use_case: str, kind: Kind, body: Mapping[str, Any], *, by: str, at: datetime) -> Record:
    """The record before it has a number, a previous one and a digest."""
    where = f"{use_case} · ledger"
    for name, text in (("use_case", use_case), ("by", by)):
        if not text or not text.isprintable():
            raise ValueError(f"{where} · {name} = {text!r}; legal: printable text. Correct the name.")
    if at.tzinfo is None:
        raise ValueError(f"{where} · at = {at!r} has no time zone; legal: an aware datetime. Pass UTC.")
    try:
        plain = json.loads(chain.canonical_json(dict(body)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{where} · body of the {kind}: {error}; legal: plain JSON, no NaN or infinity. Correct it.") from None
    return Record(use_case, 0, kind, at.astimezone(UTC).isoformat(), by, plain, "", "")
