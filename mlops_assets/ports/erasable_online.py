"""Sought entities online: in Feast's own store and in the mirrors beside it, found by their keys and erased with all values.

Belongs here: telling whose a key is. Not here: values (feature_store.py), the stores of the mirror (blob_stores.py).
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import redis

from mlops_assets.names import FEAST_PROJECT
from mlops_assets.ports.blob_stores import KeyValueStore, glob_literal, leave_no_trace, told_when_down
from mlops_assets.ports.online_mirror import OnlineMirror, entity_parts
from mlops_assets.ports.sought import Sought

if TYPE_CHECKING:
    from mlops_assets.ports.feature_registry import FeatureRegistry
    from mlops_assets.ports.feature_store import FeatureStore

SQLITE_BUSY_S = 60
KEYS_A_SCAN = 10_000


@contextmanager
def _alone(registry: "FeatureRegistry", views: Iterable[str]) -> Generator[None]:
    """Nobody carries these views on meanwhile: rows that were read before must not be written after."""
    with ExitStack() as held:
        for view in sorted(views):
            held.enter_context(registry.alone(view))
        yield


@dataclass(frozen=True)
class MirrorKeys:
    """Entities of `views` in the mirror of every service that takes one, and those of layouts that nobody reads any more."""

    registry: "FeatureRegistry"
    views: tuple[str, ...]
    sought: Sought
    blobs: KeyValueStore
    mirror: Callable[[str], OnlineMirror]

    def count(self) -> int:
        return len(self._keys())

    def erase(self) -> None:
        """Raises OnlineStoreDown."""
        with _alone(self.registry, self.views):
            self.blobs.erase(self._keys())

    def _keys(self) -> list[str]:
        placed = self._placed()
        likely = self.blobs.keys(f"{len(self.sought.text)}:{self.sought.text}")
        return [key for key in likely if self._is_sought(key, placed)]

    def _is_sought(self, key: str, placed: dict[str, list[int]]) -> bool:
        said = entity_parts(key)
        if said is None:
            return False
        prefix, parts = said
        return any(self.sought.is_value(parts[place]) for place in placed.get(prefix, range(len(parts))))

    def _placed(self) -> dict[str, list[int]]:
        """Which parts of the keys with a prefix identify; none of those of other use cases."""
        placed: dict[str, list[int]] = {each: [] for name in self.registry.services() for each in self.mirror(name).prefixes}
        for view in self.views:
            for service, taken in self.registry.takers(self.registry.view(view)):
                prefix, group = self.mirror(service).home_of(taken.name)
                named = {name for ours, (name, _) in taken.keys.items() if ours in self.sought.columns}
                placed[prefix] = [place for place, name in enumerate(group.keys) if name in named]
        return placed


@dataclass(frozen=True)
class FeastRows:
    """Entities of `views` in Feast's online store: its SQLite file, or the Redis at `redis_url`."""

    registry: "FeatureRegistry"
    views: tuple[str, ...]
    sought: Sought
    redis_url: str | None

    def count(self) -> int:
        if self.redis_url:
            with told_when_down(self.redis_url), redis.Redis.from_url(self.redis_url) as client:
                return len(self._in_redis(client))
        with closing(self._connected()) as connection:
            return sum(len(keys) for keys in self._in_sqlite(connection).values())

    def erase(self) -> None:
        """Raises OnlineStoreDown. Redis holds all views of an entity together, those of other use cases too: they go as well,
        and come back when they are materialized.
        """
        with _alone(self.registry, self.views):
            if self.redis_url:
                with told_when_down(self.redis_url), redis.Redis.from_url(self.redis_url) as client:
                    for key in self._in_redis(client):
                        client.delete(key)
            else:
                with closing(self._connected()) as connection:
                    self._erase_in_sqlite(connection)

    def _keyed(self) -> dict[str, list[str]]:
        """The join keys of each view that has a sought one."""
        found = {view: self.registry.view(view).join_keys for view in self.views}
        return {view: keys for view, keys in found.items() if self.sought.columns & set(keys)}

    def _connected(self) -> sqlite3.Connection:
        path = cast(Any, self.registry.open().config.online_store).path
        return sqlite3.connect(Path(path), isolation_level=None, timeout=SQLITE_BUSY_S)

    def _in_sqlite(self, connection: sqlite3.Connection) -> dict[str, list[bytes]]:
        """Entity keys by table."""
        tables = [f"{FEAST_PROJECT}_{view}" for view in self._keyed()]
        held = {table: connection.execute(f'SELECT DISTINCT entity_key FROM "{table}"') for table in tables}
        return {table: [key for (key,) in rows if self._is_sought(key)] for table, rows in held.items()}

    def _erase_in_sqlite(self, connection: sqlite3.Connection) -> None:
        for table, keys in self._in_sqlite(connection).items():
            connection.executemany(f'DELETE FROM "{table}" WHERE entity_key = ?', ([key] for key in keys))
        leave_no_trace(connection)

    def _in_redis(self, client: "redis.Redis") -> list[bytes]:
        prefixes = {_prefix(keys) for keys in self._keyed().values()}
        return sorted(key for prefix in prefixes for key in _scan(client, prefix) if self._is_sought(key.removesuffix(SUFFIX)))

    def _is_sought(self, entity_key: bytes) -> bool:
        from feast.infra.key_encoding_utils import deserialize_entity_key

        said = cast(Any, deserialize_entity_key(entity_key))
        values = [getattr(value, value.WhichOneof("val")) for value in said.entity_values]
        return self.sought.is_in(dict(zip(said.join_keys, values, strict=True)))


def online_rows(store: "FeatureStore", views: Sequence[str], sought: Sought) -> tuple[FeastRows, MirrorKeys]:
    """The sought entities of these views in the online store and in the mirrors of all services."""
    return (
        FeastRows(store.registry, tuple(views), sought, store.redis_url),
        MirrorKeys(store.registry, tuple(views), sought, store.online_values, store.mirror),
    )


SUFFIX = FEAST_PROJECT.encode()  # of Feast's keys in Redis


def _prefix(join_keys: list[str]) -> bytes:
    from feast.infra.key_encoding_utils import serialize_entity_key_prefix

    return serialize_entity_key_prefix(join_keys)


def _scan(client: "redis.Redis", prefix: bytes) -> Iterator[bytes]:
    pattern = glob_literal(prefix) + b"*" + glob_literal(SUFFIX)
    return cast(Iterator[bytes], client.scan_iter(pattern, count=KEYS_A_SCAN))
