"""How Feast is told where everything lies: registry, offline and online store.

Belongs here: the RepoConfig of a home folder. Not here: opening a store (feature_store).
"""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import feast

from mlops_assets.foundation.home import Home
from mlops_assets.foundation.names import FEAST_PROJECT

OFFLINE_STORE = "mlops_assets.features.offline.polars_offline_store.PolarsOfflineStore"


def feast_config(home: Home, redis_url: str | None) -> feast.RepoConfig:
    """Online values go to a SQLite file below `home`, or to the Redis at `redis_url`."""
    sqlite = {"type": "sqlite", "path": str(online_file(home))}
    return feast.RepoConfig(
        project=FEAST_PROJECT,
        provider="local",
        registry=str(registry_file(home)),
        offline_store={"type": OFFLINE_STORE, "root": str(home.tables)},
        online_store=_redis(redis_url) if redis_url else sqlite,
        entity_key_serialization_version=3,
    )


def online_file(home: Home) -> Path:
    return home.feast / "online.db"


def registry_file(home: Home) -> Path:
    return home.feast / "registry.db"


def _redis(url: str) -> dict[str, Any]:
    """Feast's own form of a Redis address: host:port,name=value,..."""
    said = urlsplit(url)
    options = {"username": said.username, "password": said.password, "db": said.path.strip("/"), "ssl": said.scheme == "rediss"}
    named = [f"{name}={value}" for name, value in options.items() if value]
    return {"type": "redis", "connection_string": ",".join([f"{said.hostname}:{said.port or 6379}", *named])}
