"""Feast's registry under a home folder: opened, applied, and read by name."""

import sqlite3
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import feast
from feast.errors import FeatureServiceNotFoundException, FeatureViewNotFoundException
from feast.infra.provider import Provider
from filelock import FileLock

from mlops_assets.features.feast.declared_repo import as_working_folder, digest
from mlops_assets.features.feast.feast_config import feast_config, online_file, registry_file
from mlops_assets.features.feast.feast_internals import provider_of, registry_changes
from mlops_assets.features.feast.service_views import ServiceView, service_view
from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.foundation.home import Home
from mlops_assets.foundation.names import FEAST_PROJECT


class UnknownFeatures(LookupError):
    """The registry does not know the feature service or view."""


class FeatureRegistry:
    """Opens Feast on first use; safe in a thread pool. Names that are not applied raise UnknownFeatures."""

    def __init__(self, home: Home, redis_url: str | None) -> None:
        self._home = home
        self._redis_url = redis_url
        self._lock = threading.RLock()
        self._opened: feast.FeatureStore | None = None
        self._provider: Provider | None = None
        self._views: dict[str, tuple[ServiceView, ...]] = {}

    def apply(self, repo: Path) -> bool:
        """What `feast apply` does in the folder `repo`; nothing at all, and False, when its files are the ones applied last."""
        with self._lock, self.alone("registry"):
            applied, found = self._home.feast / "applied.sha256", digest(repo)
            if applied.is_file() and applied.read_text() == found and registry_file(self._home).is_file():
                return False
            applied.unlink(missing_ok=True)
            self._apply(repo)
            replace_file(applied, found.encode())
            return True

    def _apply(self, repo: Path) -> None:
        store = self.open()
        with as_working_folder(repo.resolve()):
            changes = registry_changes(store, FEAST_PROJECT, "Features of every use case.")
        self._let_readers_pass()
        store.apply(changes.objects, objects_to_delete=changes.objects_to_delete, partial=False)
        self._views = {}

    def describe(self) -> list[dict[str, object]]:
        """Every view of the registry, for a catalogue: view, description, owner, tags, entities, ttl, features.

        `ttl` is a timedelta, or None for values that never expire; `features` are {name, type, description}.
        """
        with self._lock:
            views = self.open().list_feature_views()
        return [_described(view) for view in sorted(views, key=lambda view: view.name)]

    def open(self) -> feast.FeatureStore:
        with self._lock:
            if self._opened is None:
                self._home.feast.mkdir(parents=True, exist_ok=True)
                self._opened = feast.FeatureStore(config=feast_config(self._home, self._redis_url))
            return self._opened

    def provider(self) -> Provider:
        with self._lock:
            if self._provider is None:
                self._provider = provider_of(self.open())
            return self._provider

    def service(self, name: str) -> feast.FeatureService:
        with self._lock:
            try:
                return self.open().get_feature_service(name)
            except FeatureServiceNotFoundException as missing:
                raise self._unknown("feature service", name) from missing

    def view(self, name: str) -> feast.FeatureView:
        try:
            return self.open().get_feature_view(name)
        except FeatureViewNotFoundException as missing:
            raise self._unknown("feature view", name) from missing

    def views_of(self, service: str) -> tuple[ServiceView, ...]:
        """The views that a service takes, in its order."""
        with self._lock:
            if service not in self._views:
                projections = self.service(service).feature_view_projections
                self._views[service] = tuple(
                    service_view(cast(Any, self.view(each.name).with_projection(each))) for each in projections
                )
            return self._views[service]

    def takers(self, view: feast.FeatureView) -> list[tuple[str, ServiceView]]:
        """Every service that takes the view, with the view as that service takes it."""
        with self._lock:
            return [(name, taken) for name in self.services() for taken in self.views_of(name) if taken.declared == view.name]

    def services(self) -> list[str]:
        with self._lock:
            return [each.name for each in self.open().list_feature_services()]

    def _unknown(self, kind: str, name: str) -> UnknownFeatures:
        store = self.open()
        known = store.list_feature_services() if kind == "feature service" else store.list_feature_views()
        names = ", ".join(sorted(each.name for each in known)) or "none"
        found = f"not in the registry under {self._home.feast}; known: {names}"
        return UnknownFeatures(f"{kind} {name!r} · {found}. Apply feature_repo.")

    def _let_readers_pass(self) -> None:
        """With a write-ahead log nobody who reads waits for a materialization; the file keeps this setting."""
        with closing(sqlite3.connect(online_file(self._home))) as connection:
            connection.execute("PRAGMA journal_mode=WAL")

    @contextmanager
    def alone(self, what: str) -> Generator[None]:
        """One writer at a time among all processes: an older read must not be written after a newer one."""
        self._home.feast.mkdir(parents=True, exist_ok=True)
        with FileLock(self._home.feast / f"{what}.lock"):
            yield


def _described(view: feast.FeatureView) -> dict[str, object]:
    return {
        "view": view.name,
        "description": view.description,
        "owner": view.owner,
        "tags": dict(view.tags),
        "entities": list(view.entities),
        "ttl": view.ttl or None,
        "features": [{"name": each.name, "type": str(each.dtype), "description": each.description} for each in view.features],
    }
