"""One subject's entities in Feast's online store and in the mirrors next to it."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import redis

from mlops_assets.erasure.subject_matcher import SubjectMatcher
from mlops_assets.features.feast.feast_internals import entity_key_prefix, entity_values
from mlops_assets.features.online.key_value_stores import glob_literal, leave_no_trace, unavailable_when_down
from mlops_assets.features.online.online_mirror import entity_parts
from mlops_assets.foundation.names import FEAST_PROJECT

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore

SQLITE_BUSY_S = 60
KEYS_PER_SCAN = 10_000
SUFFIX = FEAST_PROJECT.encode()  # of Feast's keys in Redis


@dataclass(frozen=True)
class _Online:
    store: "FeatureStore"
    views: tuple[str, ...]
    matcher: SubjectMatcher

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Nothing else fills these views meanwhile: rows that were read before must not be written after."""
        with ExitStack() as locks:
            for view in sorted(self.views):
                locks.enter_context(self.store.registry.alone(view))
            yield


class MirrorKeys(_Online):
    """Entities of `views` in the mirror of every service that takes one, and those of layouts without a service."""

    def count(self) -> int:
        return len(self._keys())

    def erase(self) -> None:
        """Raises OnlineStoreDown."""
        with self._alone():
            self.store.online_values.erase(self._keys())

    def _keys(self) -> list[str]:
        positions, text = self._positions(), self.matcher.text
        keys = [(key, entity_parts(key)) for key in self.store.online_values.keys(f"{len(text)}:{text}")]
        return [key for key, named in keys if named and self._is_subject(*named, positions)]

    def _is_subject(self, prefix: str, parts: list[str], positions: dict[str, list[int]]) -> bool:
        return any(self.matcher.is_value(parts[position]) for position in positions.get(prefix, range(len(parts))))

    def _positions(self) -> dict[str, list[int]]:
        """By prefix, which parts of a key identify the subject; none in those of other use cases."""
        registry = self.store.registry
        positions: dict[str, list[int]] = {
            prefix: [] for service in registry.services() for prefix in self.store.mirror(service).prefixes
        }
        for view in self.views:
            for service, taken in registry.takers(registry.view(view)):
                prefix, group = self.store.mirror(service).home_of(taken.name)
                names = {name for declared, (name, _) in taken.keys.items() if declared in self.matcher.columns}
                positions[prefix] = [position for position, name in enumerate(group.keys) if name in names]
        return positions


class FeastRows(_Online):
    """Entities of `views` in Feast's online store: SQLite or Redis."""

    def count(self) -> int:
        if url := self.store.redis_url:
            with unavailable_when_down(url), redis.Redis.from_url(url) as client:
                return len(self._in_redis(client))
        with closing(self._sqlite()) as connection:
            return sum(len(keys) for keys in self._in_sqlite(connection).values())

    def erase(self) -> None:
        """Raises OnlineStoreDown. Redis holds all views of an entity together, also those of other use cases: they go as well,
        and come back when they are materialized.
        """
        with self._alone():
            if url := self.store.redis_url:
                with unavailable_when_down(url), redis.Redis.from_url(url) as client:
                    for key in self._in_redis(client):
                        client.delete(key)
                return
            with closing(self._sqlite()) as connection:
                for table, keys in self._in_sqlite(connection).items():
                    connection.executemany(f'DELETE FROM "{table}" WHERE entity_key = ?', ([key] for key in keys))
                leave_no_trace(connection)

    def _join_keys(self) -> dict[str, list[str]]:
        """Of each view that the subject is a key of."""
        keys = {view: self.store.registry.view(view).join_keys for view in self.views}
        return {view: names for view, names in keys.items() if self.matcher.columns & set(names)}

    def _sqlite(self) -> sqlite3.Connection:
        path = cast(Any, self.store.registry.open().config.online_store).path
        return sqlite3.connect(Path(path), isolation_level=None, timeout=SQLITE_BUSY_S)

    def _in_sqlite(self, connection: sqlite3.Connection) -> dict[str, list[bytes]]:
        """Entity keys by table."""
        tables = [f"{FEAST_PROJECT}_{view}" for view in self._join_keys()]
        keys = {table: connection.execute(f'SELECT DISTINCT entity_key FROM "{table}"') for table in tables}
        return {table: [key for (key,) in rows if self._is_subject(key)] for table, rows in keys.items()}

    def _in_redis(self, client: redis.Redis) -> list[bytes]:
        prefixes = {entity_key_prefix(names) for names in self._join_keys().values()}
        patterns = [glob_literal(prefix) + b"*" + glob_literal(SUFFIX) for prefix in prefixes]
        keys = (cast(Iterator[bytes], client.scan_iter(pattern, count=KEYS_PER_SCAN)) for pattern in patterns)
        return sorted(key for found in keys for key in found if self._is_subject(key.removesuffix(SUFFIX)))

    def _is_subject(self, entity_key: bytes) -> bool:
        return self.matcher.is_in(entity_values(entity_key))
