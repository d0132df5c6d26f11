"""One subject's entities in Feast's online store and in the mirrors next to it."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import redis

from mlops_assets.erasure.subject import SubjectMatcher
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
        """Locks the views: rows that were read before the erasure must not be written after it."""
        with ExitStack() as locks:
            for view in sorted(self.views):
                locks.enter_context(self.store.registry.alone(view))
            yield


class MirrorKeys(_Online):
    """Entities in the mirror of every service that reads one of `views`, and in layouts that no service reads any more."""

    def count(self) -> int:
        return len(self._keys())

    def erase(self) -> None:
        """Raises OnlineStoreDown."""
        with self._alone():
            self.store.online_values.erase(self._keys())

    def _keys(self) -> list[str]:
        positions, text = self._positions(), self.matcher.text
        keys = [(key, entity_parts(key)) for key in self.store.online_values.keys(f"{len(text)}:{text}")]
        return [key for key, entity in keys if entity and self._is_subject(*entity, positions)]

    def _is_subject(self, prefix: str, parts: list[str], positions: dict[str, list[int]]) -> bool:
        return any(self.matcher.is_value(parts[position]) for position in positions.get(prefix, range(len(parts))))

    def _positions(self) -> dict[str, list[int]]:
        """By prefix, the parts of a key that identify the subject; none in the mirrors of other use cases."""
        registry = self.store.registry
        prefixes = [prefix for service in registry.services() for prefix in self.store.mirror(service).layouts]
        positions: dict[str, list[int]] = {prefix: [] for prefix in prefixes}
        for service, taken in (taker for view in self.views for taker in registry.takers(registry.view(view))):
            prefix, layout = self.store.mirror(service).home_of(taken.name)
            names = {name for declared, (name, _) in taken.keys.items() if declared in self.matcher.columns}
            positions[prefix] = [position for position, name in enumerate(layout.keys) if name in names]
        return positions


class FeastRows(_Online):
    """Entities of `views` in Feast's online store: SQLite or Redis."""

    def count(self) -> int:
        return self._find_in_redis() if self.store.redis_url else self._find_in_sqlite()

    def erase(self) -> None:
        """Raises OnlineStoreDown. Redis stores all views of an entity under one key: those of other use cases go as well, and
        come back when they are materialized.
        """
        with self._alone():
            self._find_in_redis(erase=True) if self.store.redis_url else self._find_in_sqlite(erase=True)

    def _join_keys(self) -> dict[str, list[str]]:
        """By view, for the views that have the subject as a key."""
        keys = {view: self.store.registry.view(view).join_keys for view in self.views}
        return {view: names for view, names in keys.items() if self.matcher.columns & set(names)}

    def _find_in_sqlite(self, *, erase: bool = False) -> int:
        path = cast(Any, self.store.registry.open().config.online_store).path
        with closing(sqlite3.connect(Path(path), isolation_level=None, timeout=SQLITE_BUSY_S)) as connection:
            entities = 0
            for table in (f"{FEAST_PROJECT}_{view}" for view in self._join_keys()):
                rows = connection.execute(f'SELECT DISTINCT entity_key FROM "{table}"').fetchall()
                keys = [row for row in rows if self._is_subject(row[0])]
                entities += len(keys)
                if erase:
                    connection.executemany(f'DELETE FROM "{table}" WHERE entity_key = ?', keys)
            if erase:
                leave_no_trace(connection)
            return entities

    def _find_in_redis(self, *, erase: bool = False) -> int:
        url = str(self.store.redis_url)
        prefixes = {entity_key_prefix(names) for names in self._join_keys().values()}
        patterns = [glob_literal(prefix) + b"*" + glob_literal(SUFFIX) for prefix in prefixes]
        with unavailable_when_down(url), redis.Redis.from_url(url) as client:
            scans = [cast(Iterator[bytes], client.scan_iter(pattern, count=KEYS_PER_SCAN)) for pattern in patterns]
            keys = {key for scan in scans for key in scan if self._is_subject(key.removesuffix(SUFFIX))}
            if keys and erase:
                client.delete(*keys)
            return len(keys)

    def _is_subject(self, entity_key: bytes) -> bool:
        return self.matcher.is_in(entity_values(entity_key))
