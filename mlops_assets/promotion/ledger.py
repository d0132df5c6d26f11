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
from typing import Any

from sqlalchemy import (
    DDL,
    Column,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
    tuple_,
)
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from mlops_assets.foundation.atomic_file import create_file
from mlops_assets.promotion import ledger_chain as chain
from mlops_assets.promotion.ledger_chain import DamagedLedger, Kind, Record
from mlops_assets.promotion.ledger_file import PLACED, TRAINED, Head, LedgerHeads, connect, describe_remedy, is_file_there
from mlops_assets.promotion.promotion_state import PromotionState, promotion_state_of

CONNECT_S = 10  # libpq waits for ever by default, and a rollback must not
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
    """`url` is `sqlite:///<file>` or `postgresql://user:password@host/database`. Any number of processes and threads write at
    once: the unique (use_case, number) decides who was first. Reading creates nothing: a new ledger has no records. Every
    method raises LedgerDown, and DamagedLedger for a file that is missing from a home with traces of its records.
    """

    def __init__(self, url: str, heads: Path | None = None) -> None:
        """Connects to nothing yet. `heads` is the folder that remembers the newest records; without it none is remembered."""
        self._heads = LedgerHeads(heads) if heads else None
        self._is_there = False  # once found it is never new again, and a file that is gone then is an error
        with suppress(ArgumentError, ValueError):
            self._url = make_url(url)
            self._file = Path(self._url.database or "").absolute() if self._url.drivername == "sqlite" else None
            if self._url.drivername in ("sqlite", "postgresql") and self._url.database:
                return
        legal = "sqlite:///<file>, postgresql://user:password@host:5432/database, special characters as %40"
        raise LedgerDown(f"ledger · address · cannot be read: {url.partition(':')[0]}:…; legal: {legal}. Correct MLOPS_LEDGER.")

    @property
    def address(self) -> str:
        """Without its password."""
        return self._url.render_as_string(hide_password=True)

    def require_if_trained(self) -> None:
        """Raises DamagedLedger where the file is missing and MLflow has a model: every platform that trains has a ledger."""
        if self._file:
            is_file_there(self._file, (*PLACED, TRAINED))

    def create(self) -> None:
        """Creates a new ledger, as the first `append` does; an existing one stays as it is."""
        with self._connected(creates=True):
            pass

    def append(
        self, use_case: str, kind: Kind, body: Mapping[str, Any], *, by: str, at: datetime, after: int | None = None
    ) -> Record:
        """Writes the next record, whole or not at all. `after` is the number of the newest record that the writer read (0:
        none); None appends to whatever is there. Raises ConcurrentWrite, DamagedLedger; ValueError for what cannot be stored.
        """
        unlinked = _validated(use_case, kind, body, by=by, at=at)
        with self._connected(creates=True) as connection:
            record = _insert(connection, unlinked, after)
        with suppress(OSError, LedgerDown, DamagedLedger):  # the record is written
            self.remember(use_case)
        return record

    def remember(self, use_case: str) -> None:
        """Remembers the newest record, as `append` does, unless the one that is remembered is gone. Raises OSError."""
        if self._heads and (newest := self._newest(use_case)):
            self._heads.advance(use_case, newest, partial(self._has, use_case))

    def accept(self, use_case: str) -> None:
        """Remembers the newest record in place of one that is gone, whose number and digest are kept in a file."""
        if self._heads:
            self._heads.replace(use_case, self._newest(use_case))

    def require_whole(self, use_case: str) -> None:
        """Raises DamagedLedger where the remembered record is gone, with what to do. `verify` checks the whole chain."""
        head = self._heads.read(use_case) if self._heads else None
        if head is None or self._has(use_case, head):
            return
        problem = f"record {head[0]} ({head[1][:12]}…) was written and is gone: newest records were cut off"
        accept = f"`mlops ledger mirror {use_case} --replace` goes on without them"
        raise DamagedLedger(f"{use_case} · ledger · {problem}. Restore the newest backup, or {accept}.")

    def records(self, use_case: str, *, after: int = 0) -> list[Record]:
        """The records above number `after`, oldest first; `verify` checks their digests. Raises DamagedLedger."""
        with self._connected() as connection:
            return [chain.parse_row(row) for row in _rows(connection, use_case, after)]

    def state(self, use_case: str) -> PromotionState:
        """What the records decide. Raises DamagedLedger."""
        return promotion_state_of(use_case, self.records(use_case))

    def newest_of(self, *kinds: Kind) -> list[Record]:
        """Of each use case the newest record of any of these kinds. Raises DamagedLedger."""
        columns = _LEDGER.c.use_case, func.max(_LEDGER.c.number)
        newest = select(*columns).where(_LEDGER.c.kind.in_(kinds)).group_by(_LEDGER.c.use_case)
        query = select(_LEDGER).where(tuple_(_LEDGER.c.use_case, _LEDGER.c.number).in_(newest))
        with self._connected() as connection:
            return [chain.parse_row(Record(*row)) for row in connection.execute(query)]

    def use_cases(self) -> list[str]:
        """Every use case that has a record, sorted."""
        with self._connected() as connection:
            return sorted(connection.scalars(select(_LEDGER.c.use_case).distinct()))

    def verify(self, use_case: str, *, mirrored: tuple[int, str] | None = None) -> list[str]:
        """What is wrong with the chain, a sentence per fault. The chain alone does not show that its newest records were cut off,
        or rewritten with matching digests: the remembered record does, and `mirrored`, number and digest of one that another
        place knows.
        """
        known, unreadable = dict.fromkeys([mirrored] if mirrored else []), list[str]()
        try:
            if self._heads and (head := self._heads.read(use_case)):
                known[head] = None
        except DamagedLedger as error:
            unreadable = [str(error)]
        with self._connected() as connection:
            faults = chain.find_faults(_rows(connection, use_case, None), known)
            return [*(f"{use_case} · {fault}" for fault in faults), *unreadable]

    def _newest(self, use_case: str) -> Head | None:
        with self._connected() as connection:
            return (row.number, row.digest) if (row := connection.execute(_newest(use_case)).first()) else None

    def _has(self, use_case: str, head: Head) -> bool:
        number, digest = head
        query = select(_LEDGER.c.number).where(_LEDGER.c.use_case == use_case, _LEDGER.c.number == number)
        with self._connected() as connection:
            return connection.execute(query.where(_LEDGER.c.digest == digest)).first() is not None

    def _exists(self) -> bool:
        if not self._is_there:
            self._is_there = is_file_there(self._file) if self._file else inspect(self._engine).has_table(_LEDGER.name)
        return self._is_there

    @cached_property
    def _engine(self) -> Engine:
        if self._file:
            return _sqlite_engine(self._file)
        url = self._url.set(drivername="postgresql+psycopg")
        # None is prepared: behind pgbouncer, the next statement may come to another connection, which does not know it.
        options = {"connect_timeout": CONNECT_S, "prepare_threshold": None}
        return create_engine(url, connect_args=options, **ENGINE)

    @contextmanager
    def _connected(self, *, creates: bool = False) -> Generator[Connection]:
        try:
            if not self._exists() and not creates:
                yield from _no_records()
                return
            if not self._is_there:
                _create_sqlite(self._file) if self._file else _create_tables(self._engine)
                self._is_there = True
            with self._engine.connect() as connection:
                yield connection
        except (DBAPIError, OSError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            where = self._url.set(query={}).render_as_string(hide_password=True)
            problem = f"ledger · {where} · does not answer: {str(cause).partition(chr(10))[0]}"
            remedy = describe_remedy(cause, self._file) if self._file else "Start the database, or correct MLOPS_LEDGER"
            raise LedgerDown(f"{problem}. {remedy}.") from None


def _no_records() -> Generator[Connection]:
    with create_engine("sqlite://", **ENGINE).connect() as connection:
        _METADATA.create_all(connection)
        yield connection


def _create_sqlite(file: Path) -> None:
    """Whole or not at all; of several creators the first wins."""
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / file.name
        with closing(sqlite3.connect(new)) as connection:
            # Readers and the writer do not wait for each other. The mode is stored in the file.
            connection.execute("PRAGMA journal_mode = WAL")
        _METADATA.create_all(_sqlite_engine(new))
        create_file(file, new.read_bytes())


def _sqlite_engine(file: Path) -> Engine:
    return create_engine("sqlite://", creator=partial(connect, file), **ENGINE)


def _create_tables(engine: Engine) -> None:
    with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock(CREATION_LOCK)))
        _METADATA.create_all(connection)


def _newest(use_case: str) -> Select[Any]:
    return select(_LEDGER).where(_LEDGER.c.use_case == use_case).order_by(_LEDGER.c.number.desc()).limit(1)


def _insert(connection: Connection, unlinked: Record, after: int | None) -> Record:
    use_case = unlinked.use_case
    while True:
        row = connection.execute(_newest(use_case)).first()
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
