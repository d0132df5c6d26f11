"""Feast's registry under a home folder: its configuration, and the views of each service as the online mirror stores them."""

import sqlite3
import threading
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import feast
import polars as pl
from feast import FeatureView, ValueType
from feast.repo_config import RegistryConfig
from filelock import FileLock

from mlops_assets.features.feast.feast_internals import apply_repo, read_repo, without_times
from mlops_assets.features.offline.point_in_time import UTC_MICROSECONDS
from mlops_assets.features.offline.polars_offline_store import CLASS_PATH
from mlops_assets.features.online.layout import ServiceView
from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.foundation.home import Home
from mlops_assets.foundation.names import FEAST_PROJECT

T = TypeVar("T")
# Feast imports it by name, when it opens the registry.
REGISTRY_STORE = "mlops_assets.features.feast.registry_file.AtomicRegistryStore"
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


class FeatureRegistry:
    """Opens Feast on first use; safe in a thread pool. Names that are not applied raise UnknownFeatures."""

    def __init__(self, home: Home, redis_url: str | None) -> None:
        self._home = home
        self._redis_url = redis_url
        self._lock = threading.RLock()
        self._opened: feast.FeatureStore | None = None
        self._views: dict[str, tuple[ServiceView, ...]] = {}

    def apply(self, repo: Path) -> bool:
        """Does what `feast apply` does in the folder `repo`, and nothing when the same was applied last; whether it did."""
        with self._lock, self.alone("registry"):
            applied, digest = self._home.feast / "applied.sha256", _digest(repo, _files(repo))
            if applied.is_file() and applied.read_text() == digest and (self._home.feast / "registry.db").is_file():
                return False
            applied.unlink(missing_ok=True)
            store = self.open()
            # With a write-ahead log no reader waits for a materialization; the file keeps this setting.
            with closing(sqlite3.connect(self._home.feast / "online.db")) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
            apply_repo(store, read_repo(repo), project=FEAST_PROJECT, description="Features of every use case.")
            self._views = {}
            replace_file(applied, digest.encode())
            return True

    def open(self) -> feast.FeatureStore:
        with self._lock:
            if self._opened is None:
                self._home.feast.mkdir(parents=True, exist_ok=True)
                self._opened = feast.FeatureStore(config=feast_config(self._home, self._redis_url))
            return self._opened

    def services(self) -> dict[str, feast.FeatureService]:
        return {service.name: service for service in self.open().list_feature_services()}

    def service(self, name: str) -> feast.FeatureService:
        return self._known("feature service", name, self.services())

    def view_of(self, service: str, name: str) -> feast.FeatureView:
        """The view that the service includes under this name."""
        registered = {view.name: view.declared for view in self.views_of(service)}
        return self.view(self._known("feature view", name, registered))

    def view(self, name: str) -> feast.FeatureView:
        # Not the store's own list, which hides the key of a view without entities.
        views = self.open().registry.list_feature_views(FEAST_PROJECT)
        return self._known("feature view", name, {view.name: view for view in views})

    def views_of(self, service: str) -> tuple[ServiceView, ...]:
        """The views of a service, in its order."""
        with self._lock:
            if service not in self._views:
                projections = self.service(service).feature_view_projections
                views = (cast(Any, self.view(projection.name).with_projection(projection)) for projection in projections)
                self._views[service] = tuple(service_view(view) for view in views)
            return self._views[service]

    def has_views_of(self, service: str) -> bool:
        """Whether `views_of` has them in memory; reading the registry takes some 0.1 s."""
        return service in self._views

    def takers(self, view: feast.FeatureView) -> list[tuple[str, ServiceView]]:
        """Every service that includes the view, with the view as that service projects it."""
        return [(name, taken) for name in self.services() for taken in self.views_of(name) if taken.declared == view.name]

    @contextmanager
    def alone(self, what: str) -> Generator[None]:
        """Excludes every other writer of `what`, in all processes: an older read must not be written after a newer one."""
        self._home.feast.mkdir(parents=True, exist_ok=True)
        with FileLock(self._home.feast / f"{what}.lock", is_singleton=True):  # nested in one thread
            yield

    def _known(self, kind: str, name: str, known: Mapping[str, T]) -> T:
        if name not in known:
            place = f"not in the registry under {self._home.feast}; known: {', '.join(sorted(known)) or 'none'}"
            raise UnknownFeatures(f"{kind} {name!r} · {place}. Apply feature_repo; `mlops check` names what prevents it.")
        return known[name]


def feast_config(home: Home, redis_url: str | None) -> feast.RepoConfig:
    """Online values are stored in a SQLite file under `home`, or in the Redis at `redis_url`."""
    return feast.RepoConfig(
        project=FEAST_PROJECT,
        provider="local",
        registry=RegistryConfig(registry_store_type=REGISTRY_STORE, path=str(home.feast / "registry.db")),
        offline_store={"type": CLASS_PATH, "root": str(home.tables)},
        online_store=_redis(redis_url) if redis_url else {"type": "sqlite", "path": str(home.feast / "online.db")},
        entity_key_serialization_version=3,
    )


def _redis(url: str) -> dict[str, Any]:
    """Feast's own form of a Redis address: host:port,name=value,..."""
    parts = urlsplit(url)
    login = {"username": parts.username, "password": parts.password}
    options = login | {"db": parts.path.strip("/"), "ssl": parts.scheme == "rediss"}
    settings = [f"{name}={value}" for name, value in options.items() if value]
    address = ",".join([f"{parts.hostname}:{parts.port or 6379}", *settings])
    # Otherwise a value that is not newer than the stored one, such as a correction, is dropped without a message.
    return {"type": "redis", "connection_string": address, "skip_dedup": True}


@cache
def _digest(repo: Path, files: str) -> str:
    """Of the files and of the objects that they build from declarations, which do not change while a process runs."""
    declared = read_repo(repo)
    kinds: tuple[list[Any], ...] = (
        declared.entities, declared.data_sources, declared.feature_views, declared.feature_services
    )  # fmt: skip
    protos = (without_times(one.to_proto()) for kind in kinds for one in kind)
    texts = sorted(str(getattr(proto, "spec", proto)) for proto in protos)
    return sha256("".join([files, *texts]).encode()).hexdigest()


def _files(repo: Path) -> str:
    """SHA-256 over the names and contents of the repo's Python files, in hex."""
    files = {str(file.relative_to(repo)): file.read_bytes() for file in sorted(repo.rglob("*.py"))}
    return sha256(b"\0".join(part for name, content in files.items() for part in (name.encode(), content))).hexdigest()


def service_view(view: FeatureView) -> ServiceView:
    """Raises ValueError for a type that cannot be stored online."""
    projection = view.projection
    renamed = projection.join_key_map or {}
    types: dict[str, pl.DataType] = {}
    for field in (*view.entity_columns, *projection.features):
        value_type = field.dtype.to_value_type()
        if value_type not in POLARS_TYPE:
            found = f"{field.name} is a {value_type.name}; legal: {', '.join(legal.name for legal in POLARS_TYPE)}"
            raise ValueError(f"feature view {view.name!r} · {found}. Declare one of these.")
        types[field.name] = POLARS_TYPE[value_type]
    keys = {column.name: (renamed.get(column.name, column.name), types[column.name]) for column in view.entity_columns}
    features = {field.name: types[field.name] for field in projection.features}
    return ServiceView(projection.name_to_use(), view.name, view.ttl or timedelta(0), features, keys)
