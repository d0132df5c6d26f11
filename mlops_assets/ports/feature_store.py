"""The features of one service: declared, joined as of a moment, written online, looked up. The home of Feast.

Belongs here: everything that opens a Feast store. Not here: how the offline store reads (polars_offline_store) and what
is declared (feature_repo/). Feast 0.67 sends no telemetry, and loading this module takes seconds: open it in functions.
"""

import fcntl
import sqlite3
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, cast

import feast
import polars as pl
from feast.errors import FeatureServiceNotFoundException, FeatureViewNotFoundException
from feast.infra.provider import Provider, get_provider
from feast.repo_operations import extract_objects_for_apply_delete, parse_repo  # pyright: ignore[reportUnknownVariableType]

from mlops_assets.names import FEAST_PROJECT
from mlops_assets.ports.declared_repo import as_working_folder, digest
from mlops_assets.ports.home import Home
from mlops_assets.ports.online_view import OnlineView
from mlops_assets.ports.point_in_time import as_frame, event_timestamp_of, utc
from mlops_assets.ports.polars_offline_store import PolarsRetrievalJob

OFFLINE_STORE = "mlops_assets.ports.polars_offline_store.PolarsOfflineStore"
FEATURES_FROM = "features_from"
# Feast's SQLite store keeps whole seconds: a fact stored at t happened within [t, t + this].
STORED_TICK = timedelta(microseconds=999_999)
END_OF_TIME = datetime.max.replace(tzinfo=UTC)

_ROW, _UNSURE = "__asked", "__unsure"


class UnknownFeatures(LookupError):
    """The registry does not know the feature service or view."""


class OnlineFeatures(NamedTuple):
    """Row by row as asked: `features` in the service's order, and `timestamps` with one column per view (null: unknown)."""

    features: pl.DataFrame
    timestamps: pl.DataFrame


class FeatureStore:
    """The feature service `service` of the Feast project under `home`. Opens Feast on first use; safe in a thread pool.

    Entity rows carry the join keys and `event_timestamp` (without a time zone: UTC), the moment of the prediction.
    """

    def __init__(self, home: Home, *, service: str) -> None:
        self._home = home
        self._service = service
        self._lock = threading.RLock()
        self._opened: feast.FeatureStore | None = None
        self._provider: Provider | None = None
        self._views: tuple[OnlineView, ...] | None = None

    def apply(self, repo: Path) -> None:
        """What `feast apply` does in the folder `repo`; nothing at all when its files are the ones applied last."""
        with self._lock, self._alone():
            applied, found = self._home.feast / "applied.sha256", digest(repo)
            if applied.is_file() and applied.read_text() == found and _registry_file(self._home).is_file():
                return
            applied.unlink(missing_ok=True)
            self._apply(repo)
            applied.write_text(found)

    def _apply(self, repo: Path) -> None:
        store = self._open()
        with as_working_folder(repo.resolve()):
            declared = parse_repo(Path.cwd())
        if not declared.projects:
            declared.projects.append(feast.Project(name=FEAST_PROJECT, description="Features of every use case."))
        objects, gone, _, _ = extract_objects_for_apply_delete(FEAST_PROJECT, store.registry, declared)
        self._let_readers_pass()
        store.apply(cast(Any, objects), objects_to_delete=cast(Any, gone), partial=False)
        self._views = None

    def historical(self, entity_rows: pl.DataFrame) -> pl.DataFrame:
        """`entity_rows` and the features as they were known at each row's event_timestamp, in the same order.

        Raises UnknownFeatures, EntityFrameMismatch for a missing join key, MissingFeatureTable.
        """
        views = self._service_views()
        job = self._open().get_historical_features(entity_df=cast(Any, entity_rows), features=self._feast_service())
        found = cast(PolarsRetrievalJob, job).to_polars()
        types = {name: dtype for view in views for name, dtype in view.features.items()}
        return found.select(*entity_rows.columns, *(_missing_is_null(name, dtype) for name, dtype in types.items()))

    def materialize(self, view: str, start: datetime, end: datetime) -> int:
        """Write to the online store the newest value of every entity touched since `start`; returns how many.

        Reads on beyond `end`, up to the newest row of the table: Feast overwrites blindly, and a day that is filled again
        must not push a newer value out. Raises UnknownFeatures, MissingFeatureTable, ValueError when end < start.
        """
        if end < start:
            raise ValueError(f"feature view {view!r} · materialize from {start} to {end}; legal: start <= end. Swap them.")
        with self._lock, self._alone():
            feature_view = self._feast_view(view)
            rows = self._newest(feature_view, start)
            if not rows.is_empty():
                self._online_provider().ingest_df(feature_view, rows.to_pandas())
            return rows.height

    def online(self, entity_rows: pl.DataFrame) -> OnlineFeatures:
        """What the online store holds now for these entities; null where it is unknown or older than the view's TTL."""
        at = self._moments(entity_rows)
        views = self._service_views()
        held = [self._read(view, entity_rows) for view in views]
        features = [
            found.select(_unexpired(at, view.ttl, found["timestamp"], name) for name in view.features)
            for view, found in zip(views, held, strict=True)
        ]
        timestamps = [found["timestamp"].alias(view.name) for view, found in zip(views, held, strict=True)]
        return OnlineFeatures(pl.concat(features, how="horizontal"), pl.DataFrame(timestamps))

    def lookup(self, entity_rows: pl.DataFrame) -> pl.DataFrame:
        """`entity_rows`, the features, and `features_from`: 'online', or 'point_in_time' for the rows that it answers.

        A row is never answered with facts newer than its event_timestamp: when the online store may hold one, or when
        its whole seconds cannot decide about the TTL, the whole row comes from `historical`. Raises as `historical`.
        """
        held = self.online(entity_rows)
        unsure = self._unsure(entity_rows, held.timestamps)
        rows = entity_rows.with_row_index(_ROW)
        live = rows.hstack(held.features).filter(~unsure).with_columns(pl.lit("online").alias(FEATURES_FROM))
        if not unsure.any():
            return live.drop(_ROW)
        past = self.historical(rows.filter(unsure)).with_columns(pl.lit("point_in_time").alias(FEATURES_FROM))
        return pl.concat([live, past]).sort(_ROW).drop(_ROW)

    def feature_names(self) -> tuple[str, ...]:
        """The features of the service, in its order."""
        return tuple(name for view in self._service_views() for name in view.features)

    def describe(self) -> list[dict[str, object]]:
        """Every view of the registry, for a catalogue: view, description, owner, tags, entities, ttl, features.

        `ttl` is a timedelta, or None for values that never expire; `features` are {name, type, description}.
        """
        with self._lock:
            views = self._open().list_feature_views()
        return [_described(view) for view in sorted(views, key=lambda view: view.name)]

    def _read(self, view: OnlineView, entity_rows: pl.DataFrame) -> pl.DataFrame:
        with self._lock:
            return view.read(self._online_provider(), self._open().config, entity_rows)

    def _newest(self, view: feast.FeatureView, start: datetime) -> pl.DataFrame:
        source = view.batch_source
        assert source is not None
        column = {ours: theirs for theirs, ours in source.field_mapping.items()}
        keys = [column.get(key, key) for key in view.join_keys]
        job = self._online_provider().offline_store.pull_latest_from_table_or_query(
            config=self._open().config,
            data_source=source,
            join_key_columns=keys,
            feature_name_columns=[column.get(feature.name, feature.name) for feature in view.features],
            timestamp_field=source.timestamp_field,
            created_timestamp_column=source.created_timestamp_column or None,
            start_date=start,
            end_date=END_OF_TIME,
        )
        return cast(PolarsRetrievalJob, job).to_polars().drop_nulls(keys)

    def _moments(self, entity_rows: pl.DataFrame) -> pl.Series:
        name = event_timestamp_of(as_frame(entity_rows))
        return entity_rows.select(utc(name, entity_rows.schema[name]).alias("at")).to_series()

    def _unsure(self, entity_rows: pl.DataFrame, timestamps: pl.DataFrame) -> pl.Series:
        at = self._moments(entity_rows)
        verdict = pl.repeat(False, len(at), eager=True)
        for view in self._service_views():
            since = timestamps[view.name]
            latest = since + STORED_TICK
            verdict = verdict | (latest > at).fill_null(value=False)
            if view.ttl:
                verdict = verdict | ((since < at - view.ttl) & (latest >= at - view.ttl)).fill_null(value=False)
        return verdict.alias(_UNSURE)

    def _open(self) -> feast.FeatureStore:
        with self._lock:
            if self._opened is None:
                self._home.feast.mkdir(parents=True, exist_ok=True)
                self._opened = feast.FeatureStore(config=_config(self._home))
            return self._opened

    def _online_provider(self) -> Provider:
        with self._lock:
            if self._provider is None:
                self._provider = get_provider(self._open().config)
            return self._provider

    def _feast_service(self) -> feast.FeatureService:
        with self._lock:
            try:
                return self._open().get_feature_service(self._service)
            except FeatureServiceNotFoundException as missing:
                raise self._unknown("feature service", self._service) from missing

    def _feast_view(self, name: str) -> feast.FeatureView:
        try:
            return self._open().get_feature_view(name)
        except FeatureViewNotFoundException as missing:
            raise self._unknown("feature view", name) from missing

    def _service_views(self) -> tuple[OnlineView, ...]:
        with self._lock:
            if self._views is None:
                projections = self._feast_service().feature_view_projections
                views = [cast(Any, self._feast_view(each.name).with_projection(each)) for each in projections]
                self._views = tuple(OnlineView(view) for view in views)
            return self._views

    def _unknown(self, kind: str, name: str) -> UnknownFeatures:
        store = self._open()
        known = store.list_feature_services() if kind == "feature service" else store.list_feature_views()
        names = ", ".join(sorted(each.name for each in known)) or "none"
        found = f"not in the registry under {self._home.feast}; known: {names}"
        return UnknownFeatures(f"{kind} {name!r} · {found}. Apply feature_repo.")

    def _let_readers_pass(self) -> None:
        """With a write-ahead log nobody who reads waits for a materialization; the file keeps this setting."""
        with closing(sqlite3.connect(_online_file(self._home))) as connection:
            connection.execute("PRAGMA journal_mode=WAL")

    @contextmanager
    def _alone(self) -> Generator[None]:
        """One writer at a time among all processes: an older read must not be written after a newer one."""
        self._home.feast.mkdir(parents=True, exist_ok=True)
        with (self._home.feast / "write.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _online_file(home: Home) -> Path:
    return home.feast / "online.db"


def _registry_file(home: Home) -> Path:
    return home.feast / "registry.db"


def _config(home: Home) -> feast.RepoConfig:
    return feast.RepoConfig(
        project=FEAST_PROJECT,
        provider="local",
        registry=str(_registry_file(home)),
        offline_store={"type": OFFLINE_STORE, "root": str(home.tables)},
        online_store={"type": "sqlite", "path": str(_online_file(home))},
        entity_key_serialization_version=3,
    )


def _missing_is_null(name: str, dtype: pl.DataType) -> pl.Expr:
    """The online store cannot tell NaN from null; so that both sides agree, missing is null."""
    value = pl.col(name).cast(dtype)
    return value.fill_nan(None) if dtype.is_float() else value


def _unexpired(at: pl.Series, ttl: timedelta, since: pl.Series, name: str) -> pl.Expr:
    return pl.when(since >= at - ttl if ttl else since.is_not_null()).then(pl.col(name)).alias(name)


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
