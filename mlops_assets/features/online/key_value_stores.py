"""Values by key in SQLite or Redis: read many at once, change many at once, erase.

Belongs here: the two stores, and what is done while one is down. Not here: what a value holds (packed_rows).
"""

import re
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, LockError, TimeoutError
from redis.retry import Retry

KEYS_A_STATEMENT = 30_000  # SQLite binds at most 32,766 values
KEYS_A_COMMAND = 10_000  # one HSET of this size keeps Redis from others for some 10 ms
READ_TIMEOUT_S, WRITE_TIMEOUT_S = 0.25, 10.0
LOCK_LEASE_S = 10  # renewed with every command, so that a killed writer keeps others waiting no longer
SQLITE_BUSY_S = 300
MAPPED_BYTES = 2**30  # read in place, without a copy and a call a page: a tenth off a read of 100 keys
REMEMBERED = 100_000
GLOB = re.compile(rb"[*?\[\]\\]")  # what has a meaning in a pattern of Redis
CONNECTING: dict[str, Any] = {"socket_connect_timeout": READ_TIMEOUT_S, "retry": Retry(NoBackoff(), 1)}

Value = bytes | None
Change = Callable[[list[Value]], Sequence[bytes]]


class OnlineStoreDown(RuntimeError):
    """The store does not answer."""


class Read(NamedTuple):
    """One value a key, None where there is none; `age_s` is how long ago the oldest of them was read, 0 for now."""

    values: list[Value]
    age_s: float = 0.0


class KeyValueStore(Protocol):
    """A reader never meets half a value, and waits for no writer."""

    def read(self, keys: Sequence[str]) -> Read:
        """Raises OnlineStoreDown."""
        ...

    def change(self, keys: Sequence[str], change: Change) -> None:
        """Replaces the values of distinct `keys` by what `change` makes of them; no other writer comes between.

        Raises OnlineStoreDown; then some values may have been replaced, and doing it again is safe.
        """
        ...

    def keys(self, containing: str) -> list[str]:
        """Every key with that text in it. Raises OnlineStoreDown."""
        ...

    def erase(self, keys: Sequence[str]) -> None:
        """The keys with their values, for good. Raises OnlineStoreDown; doing it again is safe."""
        ...


def leave_no_trace(connection: sqlite3.Connection) -> None:
    """What was deleted goes from the pages of the file and from its write-ahead log too, once nobody reads what was before."""
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


class SqliteStore:
    """A file of its own. A write-ahead log lets readers go on, with the values of before, while one writer writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    def read(self, keys: Sequence[str]) -> Read:
        found: dict[str, bytes] = {}
        for start in range(0, len(keys), KEYS_A_STATEMENT):
            part = keys[start : start + KEYS_A_STATEMENT]
            asked = f"SELECT key, value FROM mirror WHERE key IN ({','.join('?' * len(part))})"
            found.update(self._connection().execute(asked, part))
        return Read([found.get(key) for key in keys])

    def change(self, keys: Sequence[str], change: Change) -> None:
        """All of them or none: one transaction."""
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            rows = zip(keys, change(self.read(keys).values), strict=True)
            connection.executemany(
                "INSERT INTO mirror VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", rows
            )
        except BaseException:
            connection.rollback()
            raise
        connection.commit()

    def keys(self, containing: str) -> list[str]:
        found = self._connection().execute("SELECT key FROM mirror WHERE instr(key, ?) ORDER BY key", [containing])
        return [key for (key,) in found]

    def erase(self, keys: Sequence[str]) -> None:
        self._connection().executemany("DELETE FROM mirror WHERE key = ?", ([key] for key in keys))
        leave_no_trace(self._connection())

    def _connection(self) -> sqlite3.Connection:
        """One a thread: a connection must not be shared."""
        if not hasattr(self._local, "connection"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=SQLITE_BUSY_S)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(f"PRAGMA mmap_size={MAPPED_BYTES}")
            connection.execute("CREATE TABLE IF NOT EXISTS mirror (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
            self._local.connection = connection
        return cast(sqlite3.Connection, self._local.connection)


def glob_literal(text: bytes) -> bytes:
    """A pattern of Redis that nothing but `text` matches."""
    return GLOB.sub(rb"\\\g<0>", text)


@contextmanager
def unavailable_when_down(url: str) -> Generator[None]:
    """Raises OnlineStoreDown for what Redis' client raises then."""
    try:
        yield
    except (ConnectionError, TimeoutError, LockError) as error:
        where = url.rpartition("@")[2].removeprefix("redis://")  # never a password
        raise OnlineStoreDown(
            f"online store · Redis at {where} does not answer: {error}. Start it, or mend the address."
        ) from error


class RedisStore:
    """One hash, `name`, on one Redis. A lost connection is opened again by the next call; nothing needs a restart.

    A hash rather than a key a value: its fields need no prefix, and 30 bytes less a field are a third off the round trip of
    100 (0.18 to 0.12 ms). It lies on one node of a cluster, where a read of several keys would be refused.
    """

    def __init__(self, url: str, *, name: str) -> None:
        self._url, self._name = url, name
        self._readers = redis.ConnectionPool.from_url(url, socket_timeout=READ_TIMEOUT_S, **CONNECTING)
        self._writer = redis.Redis.from_url(url, socket_timeout=WRITE_TIMEOUT_S, **CONNECTING)
        self._local = threading.local()

    def read(self, keys: Sequence[str]) -> Read:
        with self._told():
            return Read(self._ask("HMGET", self._name, *keys) if keys else [])

    def change(self, keys: Sequence[str], change: Change) -> None:
        with self._told(), self._writer.lock(f"{self._name}.lock", timeout=LOCK_LEASE_S) as lock:
            for start in range(0, len(keys), KEYS_A_COMMAND):
                part = list(keys[start : start + KEYS_A_COMMAND])
                values = change(cast(list[Value], self._writer.hmget(self._name, part)))
                self._writer.hset(self._name, mapping=dict(zip(part, values, strict=True)))
                lock.reacquire()

    def keys(self, containing: str) -> list[str]:
        asked = b"*" + glob_literal(containing.encode()) + b"*"
        with self._told():
            found = cast(Iterator[tuple[bytes, bytes]], self._writer.hscan_iter(self._name, match=asked, count=KEYS_A_COMMAND))
            return sorted({key.decode() for key, _ in found})

    def erase(self, keys: Sequence[str]) -> None:
        """From memory; Redis rewrites its own files on disk, if it keeps any, in its own time."""
        with self._told(), self._writer.lock(f"{self._name}.lock", timeout=LOCK_LEASE_S):
            if keys:
                self._writer.hdel(self._name, *keys)

    def _ask(self, *command: str) -> list[Value]:
        """On a connection of this thread, opened again once: taking one from a pool is a third of a read (0.14 to 0.09 ms)."""
        if not hasattr(self._local, "connection"):
            self._local.connection = self._readers.make_connection()
        try:
            return self._answer(*command)
        except TimeoutError:  # who hangs is waited for once
            self._local.connection.disconnect()
            raise
        except ConnectionError:
            self._local.connection.disconnect()
            return self._answer(*command)

    def _answer(self, *command: str) -> list[Value]:
        connection = self._local.connection
        connection.send_command(*command)
        return connection.read_response()

    def _told(self) -> AbstractContextManager[None]:
        return unavailable_when_down(self._url)


class LastKnown:
    """Reads through `blobs`; while they are down, answers what was last read in this process, with its age.

    A key that this process has never read is answered by nobody: OnlineStoreDown. Values keep their event times, so
    that a view's TTL ends the use of old ones by itself. `clock` gives seconds that only grow.
    """

    def __init__(self, blobs: KeyValueStore, *, clock: Callable[[], float], most: int = REMEMBERED) -> None:
        self._blobs, self._clock, self._most = blobs, clock, most
        self._seen: OrderedDict[str, tuple[Value, float]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, keys: Sequence[str]) -> Read:
        try:
            found = self._blobs.read(keys)
        except OnlineStoreDown as down:
            return self._remembered(keys, down)
        now = self._clock()
        with self._lock:
            # A value that is suddenly gone is a store that was emptied: what is known stays.
            seen = zip(keys, found.values, strict=True)
            self._seen.update((key, (value, now)) for key, value in seen if value is not None or key not in self._seen)
            while len(self._seen) > self._most:
                self._seen.popitem(last=False)
        return found

    def change(self, keys: Sequence[str], change: Change) -> None:
        self._blobs.change(keys, change)

    def keys(self, containing: str) -> list[str]:
        return self._blobs.keys(containing)

    def erase(self, keys: Sequence[str]) -> None:
        """In this process too; another one that reads through the same store keeps what it knows until it ends."""
        self._blobs.erase(keys)
        with self._lock:
            for key in keys:
                self._seen.pop(key, None)

    def _remembered(self, keys: Sequence[str], down: OnlineStoreDown) -> Read:
        with self._lock:
            seen = [self._seen.get(key) for key in keys]
        known = [each for each in seen if each is not None]
        if len(known) < len(seen):
            raise down
        return Read([value for value, _ in known], max((self._clock() - at for _, at in known), default=0.0))
