"""Feast's registry under a home folder: its configuration, and the views of each service in the form of the online mirror."""

import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import feast
import polars as pl
from feast import FeatureView, ValueType
from feast.errors import FeatureServiceNotFoundException, FeatureViewNotFoundException
from feast.infra.provider import Provider
from filelock import FileLock

from mlops_assets.features.feast.feast_internals import apply_repo, provider_of
from mlops_assets.features.offline.point_in_time import UTC_MICROSECONDS, EntityFrameMismatch, utc
from mlops_assets.features.offline.polars_offline_store import CLASS_PATH
from mlops_assets.features.online.online_mirror import Group, Layout, Segment
from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.foundation.home import Home
from mlops_assets.foundation.names import FEAST_PROJECT

POLARS_TYPE: dict[ValueType, pl.DataType] = {
    ValueType.DOUBLE: pl.Float64(),
    ValueType.FLOAT: pl.Float32(),
    ValueType.INT64: pl.Int64(),
    ValueType.INT32: pl.Int32(),
    ValueType.STRING: pl.String(),
    ValueType.BOOL: pl.Boolean(),
    ValueType.UNIX_TIMESTAMP: UTC_MICROSECONDS,
}


class UnknownFeatures(LookupError):
    """The registry has no such feature service or view."""


@dataclass(frozen=True)
class ServiceView:
    """One view as a service includes it. `keys`: its join keys, with their names in an entity frame and their types."""

    name: str
    declared: str  # its name in the registry
    ttl: timedelta
    features: dict[str, pl.DataType]
    keys: dict[str, tuple[str, pl.DataType]]

    @property
    def frame_keys(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.keys.values())


class FeatureRegistry:
    """Opens Feast on first use; safe in a thread pool. Names that are not applied raise UnknownFeatures."""

    def __init__(self, home: Home, redis_url: str | None) -> None:
        self._home = home
        self._redis_url = redis_url
        self._lock = threading.RLock()
        self._opened: feast.FeatureStore | None = None
        self._views: dict[str, tuple[ServiceView, ...]] = {}

    def apply(self, repo: Path) -> bool:
        """Does what `feast apply` does in the folder `repo`; returns False, doing nothing, when its files were applied last."""
        with self._lock, self.alone("registry"):
            applied, digest = self._home.feast / "applied.sha256", _digest(repo)
            if applied.is_file() and applied.read_text() == digest and (self._home.feast / "registry.db").is_file():
                return False
            applied.unlink(missing_ok=True)
            store = self.open()
            # With a write-ahead log no reader waits for a materialization; the file keeps this setting.
            with closing(sqlite3.connect(self._home.feast / "online.db")) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
            apply_repo(store, repo, project=FEAST_PROJECT, description="Features of every use case.")
            self._views = {}
            replace_file(applied, digest.encode())
            return True

    def describe(self) -> list[dict[str, object]]:
        """Every view, for a catalogue: view, description, owner, tags, entities, ttl (timedelta, None: never expires), and
        features {name, type, description}.
        """
        with self._lock:
            views = self.open().list_feature_views()
        return [
            {
                "view": view.name,
                "description": view.description,
                "owner": view.owner,
                "tags": dict(view.tags),
                "entities": list(view.entities),
                "ttl": view.ttl or None,
                "features": [{"name": f.name, "type": str(f.dtype), "description": f.description} for f in view.features],
            }
            for view in sorted(views, key=lambda view: view.name)
        ]

    def open(self) -> feast.FeatureStore:
        with self._lock:
            if self._opened is None:
                self._home.feast.mkdir(parents=True, exist_ok=True)
                self._opened = feast.FeatureStore(config=feast_config(self._home, self._redis_url))
            return self._opened

    @cached_property
    def provider(self) -> Provider:
        return provider_of(self.open())

    def service(self, name: str) -> feast.FeatureService:
        with self._lock:
            try:
                return self.open().get_feature_service(name)
            except FeatureServiceNotFoundException as missing:
                raise self._unknown("feature service", name, self.services()) from missing

    def view(self, name: str) -> feast.FeatureView:
        try:
            return self.open().get_feature_view(name)
        except FeatureViewNotFoundException as missing:
            views = [view.name for view in self.open().list_feature_views()]
            raise self._unknown("feature view", name, views) from missing

    def views_of(self, service: str) -> tuple[ServiceView, ...]:
        """The views of a service, in its order."""
        with self._lock:
            if service not in self._views:
                projections = self.service(service).feature_view_projections
                views = (cast(Any, self.view(projection.name).with_projection(projection)) for projection in projections)
                self._views[service] = tuple(service_view(view) for view in views)
            return self._views[service]

    def takers(self, view: feast.FeatureView) -> list[tuple[str, ServiceView]]:
        """Every service that includes the view, with the view as that service projects it."""
        with self._lock:
            return [(name, taken) for name in self.services() for taken in self.views_of(name) if taken.declared == view.name]

    def services(self) -> list[str]:
        with self._lock:
            return [service.name for service in self.open().list_feature_services()]

    @contextmanager
    def alone(self, what: str) -> Generator[None]:
        """Excludes every other writer of `what`, in all processes: an older read must not be written after a newer one."""
        self._home.feast.mkdir(parents=True, exist_ok=True)
        with FileLock(self._home.feast / f"{what}.lock"):
            yield

    def _unknown(self, kind: str, name: str, known: list[str]) -> UnknownFeatures:
        names = ", ".join(sorted(known)) or "none"
        return UnknownFeatures(
            f"{kind} {name!r} · not in the registry under {self._home.feast}; known: {names}. Apply feature_repo."
        )


def feast_config(home: Home, redis_url: str | None) -> feast.RepoConfig:
    """Online values are stored in a SQLite file under `home`, or in the Redis at `redis_url`."""
    return feast.RepoConfig(
        project=FEAST_PROJECT,
        provider="local",
        registry=str(home.feast / "registry.db"),
        offline_store={"type": CLASS_PATH, "root": str(home.tables)},
        online_store=_redis(redis_url) if redis_url else {"type": "sqlite", "path": str(home.feast / "online.db")},
        entity_key_serialization_version=3,
    )


def _redis(url: str) -> dict[str, Any]:
    """Feast's own form of a Redis address: host:port,name=value,..."""
    parts = urlsplit(url)
    options = {
        "username": parts.username,
        "password": parts.password,
        "db": parts.path.strip("/"),
        "ssl": parts.scheme == "rediss",
    }
    settings = [f"{name}={value}" for name, value in options.items() if value]
    return {"type": "redis", "connection_string": ",".join([f"{parts.hostname}:{parts.port or 6379}", *settings])}


def _digest(repo: Path) -> str:
    """SHA-256 over the names and contents of the repo's Python files, in hex."""
    files = sorted(repo.rglob("*.py"))
    parts = [part for file in files for part in (str(file.relative_to(repo)).encode(), file.read_bytes())]
    return sha256(b"\0".join(parts)).hexdigest()


def service_view(view: FeatureView) -> ServiceView:
    """Raises ValueError for a type that cannot be stored online."""
    projection = view.projection
    renamed = projection.join_key_map or {}
    types = {field.name: _polars_type(view, field.name, field.dtype.to_value_type()) for field in view.entity_columns}
    keys = {name: (renamed.get(name, name), dtype) for name, dtype in types.items()}
    features = {field.name: _polars_type(view, field.name, field.dtype.to_value_type()) for field in projection.features}
    return ServiceView(projection.name_to_use(), view.name, view.ttl or timedelta(0), features, keys)


def groups(views: Sequence[ServiceView]) -> tuple[Group, ...]:
    """The views grouped by their join keys, both in the order of the service."""
    segments: dict[tuple[str, ...], list[Segment]] = {}
    for view in views:
        segments.setdefault(view.frame_keys, []).append(Segment(view.name, view.ttl, view.features))
    return tuple(Group(keys, Layout(tuple(group))) for keys, group in segments.items())


def entity_columns(views: Sequence[ServiceView], rows: pl.DataFrame) -> dict[str, pl.Series]:
    """The join keys of all views in their declared types. Raises EntityFrameMismatch for one that `rows` lacks."""
    present = rows.columns
    for view in views:
        if missing := [name for name in view.frame_keys if name not in present]:
            message = f"the entity frame lacks {', '.join(missing)}; it has {', '.join(present)}. Add the join key."
            raise EntityFrameMismatch(f"feature view {view.name!r} · {message}")
    types = {name: dtype for view in views for name, dtype in view.keys.values()}
    columns = [(rows.get_column(name), dtype) for name, dtype in types.items()]
    # Column by column, and only where needed: a query takes 100 µs, a cast to the same type 4 µs.
    return {column.name: column if column.dtype == dtype else column.cast(dtype) for column, dtype in columns}


def newest_rows(view: ServiceView, rows: pl.DataFrame, timestamp: str) -> pl.DataFrame:
    """Rows of the view's table in the mirror's form: join keys named as in an entity frame, features, `timestamp`."""
    keys = [pl.col(ours).cast(dtype).alias(name) for ours, (name, dtype) in view.keys.items()]
    features = [pl.col(name).cast(dtype) for name, dtype in view.features.items()]
    return rows.select(*keys, *features, utc(timestamp, rows.schema[timestamp]).alias("timestamp"))


def _polars_type(view: FeatureView, name: str, value_type: ValueType) -> pl.DataType:
    if value_type not in POLARS_TYPE:
        legal = ", ".join(legal_type.name for legal_type in POLARS_TYPE)
        raise ValueError(f"feature view {view.name!r} · {name} is a {value_type.name}; legal: {legal}. Declare one of these.")
    return POLARS_TYPE[value_type]
