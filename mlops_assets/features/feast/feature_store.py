"""The features of one service: joined as of a moment, written online, pushed, looked up. It takes seconds to import."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import feast
import numpy as np
import polars as pl
from feast.data_source import DataSource, PushMode

from mlops_assets.features.feast.declared_types import as_declared, as_type, feature_columns
from mlops_assets.features.feast.feast_internals import provider_of, registration_of
from mlops_assets.features.feast.feature_registry import FeatureRegistry
from mlops_assets.features.offline.point_in_time import (
    NO_ENTITY,
    NO_ENTITY_VALUE,
    UTC_MICROSECONDS,
    MissingFeatureTable,
    moments_of,
    require_keys,
)  # fmt: skip
from mlops_assets.features.offline.polars_offline_store import PolarsOfflineStore, PolarsRetrievalJob
from mlops_assets.features.online.key_value_stores import (
    KeyValueStore,
    LastKnown,
    OnlineStoreDown,
    open_values,
    state_key,
    unavailable_when_down,
)  # fmt: skip
from mlops_assets.features.online.layout import ServiceView
from mlops_assets.features.online.online_mirror import (
    EPOCH,
    POINT_IN_TIME,
    LookupResult,
    Missing,
    Moments,
    NotFilled,
    OnlineMirror,
    OnlineValues,
)  # fmt: skip
from mlops_assets.features.request_features import ONE_MICROSECOND, Columns
from mlops_assets.foundation.home import Home
from mlops_assets.foundation.home_lock import erasure_mark
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.foundation.stored_schema import IncompatibleRows
from mlops_assets.spec.feature import WhenDown
from mlops_assets.spec.moment import in_utc

BEGINNING = datetime.min.replace(tzinfo=UTC)
END_OF_TIME = datetime.max.replace(tzinfo=UTC)


class NoPushSource(ValueError):
    """Rows are pushed to a feature view that declares no push source."""


class FeatureStore:
    """The feature service `service` of the Feast project under `home`. Opens Feast on first use; safe in a thread pool.

    Entity rows have the join keys and `event_timestamp` (without a time zone: UTC), the moment of the prediction.
    Online values are stored in SQLite, or in the Redis at `redis_url`; `when_down` is what a lookup does while that is down.
    """

    def __init__(self, home: Home, *, service: str, redis_url: str | None = None, when_down: WhenDown = "refuse") -> None:
        self.service = service
        self.redis_url = redis_url
        self.registry = FeatureRegistry(home, redis_url)
        self._mirrors: dict[str, OnlineMirror] = {}
        values = open_values(home, redis_url)
        self.online_values: KeyValueStore = values
        if when_down == "last_known":
            self.online_values = LastKnown(values, clock=time.monotonic, mark=partial(erasure_mark, home.root))

    def apply(self, repo: Path) -> None:
        """As FeatureRegistry.apply. A mirror whose layout that changed is filled from the tables, before a server misses it."""
        if self.registry.apply(repo):
            for service in self.registry.services():
                with suppress(OnlineStoreDown, IncompatibleRows):  # the next materialization fills it, or raises
                    self._fill(self.mirror(service))

    def historical(self, entity_rows: pl.DataFrame) -> pl.DataFrame:
        """`entity_rows` and the features as they were known at each row's event_timestamp, in the same order.

        Raises UnknownFeatures, EntityFrameMismatch for a missing join key, MissingFeatureTable.
        """
        views = self.registry.views_of(self.service)
        job = self.registry.open().get_historical_features(
            entity_df=cast(Any, entity_rows), features=self.registry.service(self.service)
        )
        rows = cast(PolarsRetrievalJob, job).to_polars()
        # The online store cannot distinguish NaN from null; so that both sides agree, missing is null.
        features = [
            feature.fill_nan(None) if dtype.is_float() else feature
            for view in views
            for feature, dtype in zip(feature_columns(view, rows), view.features.values(), strict=True)
        ]
        return rows.select(*entity_rows.columns, *features)

    def materialize(self, view: str, start: datetime) -> int:
        """Writes online the newest value of every entity with a row since `start`; returns how many. Repeating it is safe. An
        entity whose rows since `start` are gone from the table gets the newest one before it again, or no value.

        Every service that includes the view gets its mirror; a mirror that is new or was emptied gets all of its views.
        Readers are not blocked. Raises UnknownFeatures, MissingFeatureTable, OnlineStoreDown.
        """
        feature_view = self.view(view)
        with self.registry.alone(feature_view.name):
            key, state = state_key(feature_view.name), registration_of(feature_view)
            if self.online_values.read([key]).values != [state]:
                start = BEGINNING  # Feast's own store has no values of this view, or none of its new features
            # Up to the newest row: Feast overwrites blindly, and refilling a day must not replace newer values.
            newest = self._newest(feature_view, start)
            newest = newest.vstack(self._instead_of_retracted(feature_view, newest, start))
            self._write_mirrors(feature_view, newest)
            if not newest.is_empty():
                # Feast has no way to delete the values of one entity, and no null moment.
                rows = newest.with_columns(pl.col(_timestamp(feature_view)).fill_null(EPOCH))
                with unavailable_when_down(self.redis_url or ""):
                    provider_of(self.registry.open()).ingest_df(feature_view, rows.to_pandas())
            self.online_values.change([key], lambda _: [state])
            return newest.height

    def push(self, view: str, rows: pl.DataFrame) -> int:
        """Writes fresh rows of a view (join keys, features, timestamp) through its Feast push source.

        Appends all of them to the view's table, which follows their columns as FeatureTable.append; online, a row older than the
        stored value changes nothing. Returns how many entities changed online. Repeating it appends the rows again, which no
        join notices. Raises UnknownFeatures, NoPushSource, IncompatibleRows, OnlineStoreDown.
        """
        feature_view = self.view(view)
        source, store = feature_view.stream_source, self.registry.open()
        if not isinstance(source, feast.PushSource):
            raise NoPushSource(f"feature view {view!r} · it has no push source. Declare one, or materialize it.")
        keyed = rows.with_columns(pl.lit(NO_ENTITY_VALUE).alias(NO_ENTITY))
        known = as_declared(feature_view, keyed).drop_nulls(feature_view.join_keys).sort(_timestamp(feature_view))
        newest = known.unique(feature_view.join_keys, keep="last")
        with self.registry.alone(feature_view.name):
            # Not through Feast, which wants exactly the columns of the table.
            PolarsOfflineStore.offline_write_batch(store.config, feature_view, rows.to_arrow(), None)
            fresh = newest.filter(self._is_not_older(feature_view, newest))
            if not fresh.is_empty():
                self._write_mirrors(feature_view, fresh)
                with unavailable_when_down(self.redis_url or ""):
                    store.push(source.name, fresh.to_pandas(), to=PushMode.ONLINE)
        return fresh.height

    def look_up(self, columns: Columns) -> LookupResult:
        """The features of each row, in the order of the rows, as plain values; each row's source is one of
        'online', 'last_known' and 'point_in_time'. `columns` have the join keys and `event_timestamp` (UTC).
        Raises OnlineStoreDown, and as `historical`.
        """
        entities, at = self._entities(columns)
        try:
            values = self.mirror(self.service).read(entities, at)
        except NotFilled:
            return self._look_back(entities, at)
        return self._complete(values, entities, at)

    async def look_up_async(self, columns: Columns) -> LookupResult:
        """As `look_up`, in an event loop that does other work meanwhile; history is read in a thread."""
        if not self.registry.has_views_of(self.service):
            return await asyncio.to_thread(self.look_up, columns)
        entities, at = self._entities(columns)
        try:
            values = await self.mirror(self.service).read_async(entities, at)
        except NotFilled:
            return await asyncio.to_thread(self._look_back, entities, at)
        if (values.event_times > at[:, None]).any():
            return await asyncio.to_thread(self._complete, values, entities, at)
        return self._complete(values, entities, at)

    def _entities(self, columns: Columns) -> tuple[Columns, Moments]:
        """The join keys in their declared types, and the moments. Raises EntityFrameMismatch."""
        mirror = self.mirror(self.service)
        # No frame where the mirror answers: one row of a frame takes 0.1 ms.
        at = np.array([(in_utc(moment) - EPOCH) // ONE_MICROSECOND for moment in columns[EVENT_TIMESTAMP]], dtype=np.int64)
        columns = {**columns, NO_ENTITY: [NO_ENTITY_VALUE] * len(at)}
        if not columns.keys() >= mirror.key_types.keys():
            for view in mirror.views:
                require_keys(view.name, view.frame_keys, [*columns])
        return {name: as_type(columns[name], dtype) for name, dtype in mirror.key_types.items()}, at

    def _complete(self, values: OnlineValues, entities: Columns, at: Moments) -> LookupResult:
        source = "last_known" if values.age_s else "online"
        result = LookupResult(values.features, [source] * len(at), values.ages(at), values.missing())
        # A prediction must not use facts newer than its moment: a row for which one is stored comes from history as a whole.
        is_newer = np.any(values.event_times > at[:, None], axis=1)
        if is_newer.any():
            places = np.flatnonzero(is_newer).tolist()
            newer = {name: [values[place] for place in places] for name, values in entities.items()}
            result.replace(places, self._look_back(newer, at[is_newer]))
        return result

    def view(self, name: str) -> feast.FeatureView:
        """Raises UnknownFeatures for a view that the service does not include under this name."""
        return self.registry.view_of(self.service, name)

    def feature_names(self) -> tuple[str, ...]:
        return tuple(name for view in self.registry.views_of(self.service) for name in view.features)

    def mirror(self, service: str) -> OnlineMirror:
        views, mirror = self.registry.views_of(service), self._mirrors.get(service)
        if mirror is None or mirror.views is not views:  # the registry has been applied again
            mirror = self._mirrors[service] = OnlineMirror(service, views, self.online_values)
        return mirror

    def _look_back(self, entities: Columns, at: Moments) -> LookupResult:
        views, count = self.registry.views_of(self.service), len(at)
        moments = pl.Series(EVENT_TIMESTAMP, at, pl.Int64).cast(UTC_MICROSECONDS)
        rows = self.historical(pl.DataFrame(entities, schema=self.mirror(self.service).key_types).with_columns(moments))
        features = rows.select(self.feature_names()).to_dict(as_series=False)
        missing: list[Missing] = [
            [(view.name, "unknown") for view in views if all(features[name][row] is None for name in view.features)]
            for row in range(count)
        ]
        return LookupResult(features, [POINT_IN_TIME] * count, [None] * count, missing)

    def _write_mirrors(self, view: feast.FeatureView, rows: pl.DataFrame) -> None:
        for service, projected in self.registry.takers(view):
            mirror = self.mirror(service)
            _write(mirror, view, projected, rows)
            self._fill(mirror)

    def _fill(self, mirror: OnlineMirror) -> None:
        """Writes the newest values of every table, if the mirror is new or was emptied."""
        if mirror.is_ready():
            return
        has_table = False
        for view in mirror.views:
            registered = self.registry.view(view.declared)
            with suppress(MissingFeatureTable):  # its first materialization writes it
                newest = self._newest(registered, BEGINNING)
                # Another process may have written newer values of this view while its table was read here.
                _write(mirror, registered, view, newest.filter(self._is_not_older(registered, newest)))
                has_table = True
        if has_table:
            mirror.mark_ready()

    def _is_not_older(self, view: feast.FeatureView, rows: pl.DataFrame) -> pl.Series:
        """Which rows are at least as new as the values that any service stores for their entity."""
        at = moments_of(rows, _timestamp(view)).to_numpy().view(np.int64)
        is_not_older = np.ones(len(rows), dtype=np.bool_)
        for service, projected in self.registry.takers(view):
            keys = {name: rows[ours].cast(dtype).to_list() for ours, (name, dtype) in projected.keys.items()}
            is_not_older &= at >= self.mirror(service).event_times(projected.name, keys)  # NEVER is below every moment
        return pl.Series(is_not_older)

    def _instead_of_retracted(self, view: feast.FeatureView, newest: pl.DataFrame, start: datetime) -> pl.DataFrame:
        """A row for each entity that has values since `start` online and none in `newest`: its newest one before, or nulls."""
        keys, stored = [*view.join_keys], list[pl.DataFrame]()
        for service, projected in self.registry.takers(view):
            parts = self.mirror(service).entities_since(projected.name, start)
            stored.append(pl.DataFrame(parts, schema=dict.fromkeys(projected.keys, pl.String()), orient="row").select(keys))
        types = {key: newest.schema[key] for key in keys}
        online = pl.concat(stored).unique().cast(cast(Any, types)) if stored else newest.clear().select(keys)
        gone = online.join(newest, on=keys, how="anti")
        if gone.is_empty():
            return newest.clear()
        return gone.join(self._newest(view, BEGINNING), on=keys, how="left").select(newest.columns)

    def _newest(self, view: feast.FeatureView, start: datetime) -> pl.DataFrame:
        """The newest row of every entity with a row since `start`."""
        source = cast(DataSource, view.batch_source)
        job = PolarsOfflineStore.pull_latest_from_table_or_query(
            config=self.registry.open().config,
            data_source=source,
            join_key_columns=view.join_keys,
            feature_name_columns=[feature.name for feature in view.features],
            timestamp_field=source.timestamp_field,
            created_timestamp_column=source.created_timestamp_column or None,
            start_date=start,
            end_date=END_OF_TIME,
        )
        return as_declared(view, job.to_polars())


def _write(mirror: OnlineMirror, view: feast.FeatureView, projected: ServiceView, rows: pl.DataFrame) -> None:
    """Rows with the join keys, the timestamp and the features of the view, these in their declared types."""
    keys = [pl.col(declared).cast(dtype).alias(name) for declared, (name, dtype) in projected.keys.items()]
    mirror.write(projected.name, rows.select(*keys, *projected.features, moments_of(rows, _timestamp(view)).alias("timestamp")))


def _timestamp(view: feast.FeatureView) -> str:
    return cast(DataSource, view.batch_source).timestamp_field
