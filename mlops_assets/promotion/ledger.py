"""The ledger: append-only, hash-chained records of everything that changes what serves. The home of SQLAlchemy.

Belongs here: writing a record behind the newest, reading records, on SQLite and Postgres.
Not here: how records are linked and checked (promotion/ledger_chain.py), what they mean (promotion/promotion_state.py).
"""

import json
import os
import sqlite3
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, cast, get_args

from sqlalchemy import DDL, Column, Integer, MetaData, Table, Text, create_engine, event, func, insert, select
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from mlops_assets.foundation.atomic_file import sync_folder
from mlops_assets.promotion.ledger_chain import GENESIS, Kind, Record, Row, breaks, canonical, linked, missed, record_of

BUSY_S = 30  # a writer on SQLite waits so long for its turn
CONNECT_S = 10
MAKING = 486_152_013  # the advisory lock under which the table is made: any number that nobody else on the server takes


class IllegalAddress(ValueError):
    """An address at which no ledger can lie."""


class ConcurrentWrite(RuntimeError):
    """Others wrote records after the one up to which the writer had read."""


class LedgerTruncated(LookupError):
    """The writer has read a record that the ledger no longer holds."""


class LedgerDown(RuntimeError):
    """The database does not answer. A record that was on its way may be written: read the ledger before writing it again."""


_METADATA = MetaData()
_LEDGER = Table(
    "mlops_ledger",  # the database may hold MLflow's and Dagster's tables too
    _METADATA,
    Column("use_case", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    *(Column(name, Text, nullable=False) for name in ("kind", "at", "by", "body", "previous", "digest")),
    sqlite_strict=True,
)
_REFUSAL = "mlops_ledger is append-only: no record is ever changed or removed. Append a record that corrects it."
_SQLITE_TRIGGER = "CREATE TRIGGER mlops_ledger_no_{action} BEFORE {on} BEGIN SELECT RAISE(ABORT, '" + _REFUSAL + "'); END"
_GUARDS = {
    "sqlite": (
        _SQLITE_TRIGGER.format(action="update", on="UPDATE ON mlops_ledger"),
        _SQLITE_TRIGGER.format(action="delete", on="DELETE ON mlops_ledger"),
        # INSERT OR REPLACE removes the old row without asking the trigger above: https://sqlite.org/lang_conflict.html
        _SQLITE_TRIGGER.format(
            action="replace",
            on="INSERT ON mlops_ledger WHEN EXISTS (SELECT 1 FROM mlops_ledger"
            " WHERE use_case = NEW.use_case AND number = NEW.number)",
        ),
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION mlops_ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$",
        "CREATE TRIGGER mlops_ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON mlops_ledger"
        " FOR EACH STATEMENT EXECUTE FUNCTION mlops_ledger_refuse()",
    ),
}
for _dialect, _statements in _GUARDS.items():
    for _statement in _statements:
        event.listen(_LEDGER, "after_create", DDL(_statement).execute_if(dialect=_dialect))


class Ledger:
    """`url` is `sqlite:///<file>` or `postgresql://user:password@host/database`; the table is made on first use.

    Any number of processes and threads write at once: the unique (use_case, number) decides who was first. Every method
    raises LedgerDown. No connection is kept between calls, so that a fork or a restarted server does no harm.
    """

    def __init__(self, url: str) -> None:
        """Opens nothing yet. Raises IllegalAddress."""
        self._url = _address(url)

    def append(
        self, use_case: str, kind: Kind, body: Mapping[str, Any], *, by: str, at: datetime, after: int | None = None
    ) -> Record:
        """Writes the next record, whole or not at all. `after` is the number of the newest record that the writer has read
        (0: none); None writes behind whatever is there.

        Raises ConcurrentWrite, LedgerTruncated (both only with `after`), ValueError for what cannot be kept.
        """
        said = _sayable(use_case, kind, body, by=by, at=at)
        with self._connected() as connection:
            while True:
                number, digest = _newest(connection, use_case)
                if after is not None and after != number:
                    raise _overtaken(use_case, after, number, _rows(connection, use_case, after))
                record = linked(said, number + 1, digest)
                if _inserted(connection, record):
                    return record

    def records(self, use_case: str, *, after: int = 0) -> list[Record]:
        """The records above number `after`, oldest first, as they are written (`verify` checks them). Raises UnreadableRecord."""
        with self._connected() as connection:
            return [record_of(row) for row in _rows(connection, use_case, after)]

    def use_cases(self) -> list[str]:
        """Every use case that has a record, sorted."""
        with self._connected() as connection:
            return sorted(connection.scalars(select(_LEDGER.c.use_case).distinct()))

    def verify(self, use_case: str, *, mirrored: tuple[int, str] | None = None) -> list[str]:
        """What is wrong with the chain, one sentence each; [] where it is whole.

        Newest records that were cut off, or rewritten with matching digests, cannot be told from the chain alone:
        `mirrored` is number and digest of the newest record that another place knows.
        """
        with self._connected() as connection:
            rows = _rows(connection, use_case, None)
        wrong = [*breaks(rows), *(missed(rows, *mirrored) if mirrored else ())]
        return [f"{use_case} · {each}" for each in wrong]

    @cached_property
    def _engine(self) -> Engine:
        return _open_sqlite(self._url) if self._url.get_backend_name() == "sqlite" else _open_postgres(self._url)

    @contextmanager
    def _connected(self) -> Generator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except (DBAPIError, OSError) as error:
            said = str(error.orig if isinstance(error, DBAPIError) else error).partition("\n")[0]
            where = self._url.set(query={}).render_as_string(hide_password=True)
            raise LedgerDown(f"ledger · {where} · does not answer: {said}. Start the database, or mend MLOPS_LEDGER.") from None


def _address(url: str) -> URL:
    legal = "legal: sqlite:///<file>, postgresql://user:password@host:5432/database, special characters as %40"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise IllegalAddress(f"ledger · address · cannot be read; {legal}. Mend MLOPS_LEDGER.") from None
    if parsed.drivername not in _GUARDS or not parsed.database:
        said = f"found {parsed.drivername!r}, database {parsed.database!r}"
        raise IllegalAddress(f"ledger · address · {said}; {legal}. Mend MLOPS_LEDGER.")
    return parsed


def _open_sqlite(url: URL) -> Engine:
    file = Path(cast(str, url.database)).absolute()
    if not file.exists():
        _make_file(file)
    return _sqlite_engine(file)


def _make_file(file: Path) -> None:
    """The empty ledger, whole or not at all; of several makers the first wins."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".new-") as aside:
        new = Path(aside) / file.name
        with closing(sqlite3.connect(new)) as connection:
            connection.execute(
                "PRAGMA journal_mode = WAL"
            )  # stays with the file: readers and the writer do not wait for each other
        _METADATA.create_all(_sqlite_engine(new))
        with suppress(FileExistsError):
            os.link(new, file)
    sync_folder(file.parent)


def _sqlite_engine(file: Path) -> Engine:
    def connect() -> sqlite3.Connection:
        # rw: a file that is gone is an error, not a new and empty ledger.
        connection = sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=BUSY_S, check_same_thread=False)
        connection.text_factory = _text
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=NullPool, isolation_level="AUTOCOMMIT")


def _text(stored: bytes) -> str:
    """Bytes that are no UTF-8 are somebody's edit, which `verify` is to tell instead of stumbling over it."""
    return stored.decode(errors="surrogateescape")


def _open_postgres(url: URL) -> Engine:
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": CONNECT_S},
    )
    with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock(MAKING)))
        _METADATA.create_all(connection)
    return engine


def _newest(connection: Connection, use_case: str) -> tuple[int, str]:
    newest = select(_LEDGER.c.number, _LEDGER.c.digest).where(_LEDGER.c.use_case == use_case)
    found = connection.execute(newest.order_by(_LEDGER.c.number.desc()).limit(1)).first()
    return (found.number, found.digest) if found else (0, GENESIS)


def _rows(connection: Connection, use_case: str, after: int | None) -> list[Row]:
    """From the lowest number on, above `after` where it is given; the same order each time, forks included."""
    chosen = select(_LEDGER).where(_LEDGER.c.use_case == use_case).order_by(_LEDGER.c.number, _LEDGER.c.digest)
    if after is not None:
        chosen = chosen.where(_LEDGER.c.number > after)
    return [Row(*row) for row in connection.execute(chosen)]


def _inserted(connection: Connection, record: Record) -> bool:
    """One statement, which is one transaction; False where somebody else was first with this number."""
    try:
        connection.execute(insert(_LEDGER).values(asdict(record) | {"body": canonical(record.body)}))
    except IntegrityError:
        return False
    return True


def _sayable(use_case: str, kind: Kind, body: Mapping[str, Any], *, by: str, at: datetime) -> dict[str, Any]:
    where = f"{use_case} · ledger"
    for name, text in (("use_case", use_case), ("by", by)):
        if not text or not text.isprintable():
            raise ValueError(f"{where} · {name} = {text!r}; legal: printable text. Give it a name.")
    if kind not in get_args(Kind):
        raise ValueError(f"{where} · kind = {kind!r}; legal: {', '.join(get_args(Kind))}. Use one of these.")
    if at.tzinfo is None:
        raise ValueError(f"{where} · at = {at!r} has no time zone; legal: an aware datetime. Pass UTC.")
    try:
        plain = json.loads(canonical(dict(body)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{where} · body of the {kind}: {error}; legal: plain JSON, no NaN or infinity. Correct it.") from None
    return {"use_case": use_case, "kind": kind, "at": at.astimezone(UTC).isoformat(), "by": by, "body": plain}


def _overtaken(use_case: str, after: int, newest: int, meanwhile: Iterable[Row]) -> ConcurrentWrite | LedgerTruncated:
    if newest < after:
        said = f"record {after} was read, and the newest is {newest or 'none'}: records are gone, or this is another ledger"
        return LedgerTruncated(f"{use_case} · ledger · {said}. Run `mlops ledger verify {use_case}`.")
    told = ", ".join(f"record {row.number} ({row.kind} by {row.by} at {row.at})" for row in meanwhile)
    return ConcurrentWrite(
        f"{use_case} · ledger · after record {after} there came {told}. Look at what was done and decide again."
    )
