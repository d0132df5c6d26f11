"""The features of one service: joined as of a moment, written online, pushed, looked up.

Loading this module takes seconds: import it in functions.
"""

import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import feast
import numpy as np
import polars as pl
from feast.data_source import PushMode

from mlops_assets.features.feast.feature_registry import FeatureRegistry
from mlops_assets.features.feast.service_views import ServiceView, entity_columns, groups, newest_rows
from mlops_assets.features.offline.feature_table import MissingFeatureTable
from mlops_assets.features.offline.point_in_time import UTC_MICROSECONDS, as_frame, event_timestamp_of, utc
from mlops_assets.features.offline.polars_offline_store import PolarsRetrievalJob
from mlops_assets.features.online.key_value_stores import KeyValueStore, LastKnown, RedisStore, SqliteStore
from mlops_assets.features.online.online_mirror import POINT_IN_TIME, LookupResult, Moments, NotFilled, OnlineMirror, OnlineValues
from mlops_assets.features.online.packed_rows import NEVER
from mlops_assets.foundation.home import Home
from mlops_assets.foundation.names import FEAST_PROJECT
from mlops_assets.spec.feature import WhenDown

BEGINNING = datetime.min.replace(tzinfo=UTC)
END_OF_TIME = datetime.max.replace(tzinfo=UTC)


class FeatureStore:
    """The feature service `service` of the Feast project under `home`. Opens Feast on first use; safe in a thread pool.

    Entity rows carry the join keys and `event_timestamp` (without a time zone: UTC), the moment of the prediction.
    Online values are stored in SQLite, or in the Redis at `redis_url`; `when_down` is what a lookup does while that is down.
    """

    def __init__(self, home: Home, *, service: str, redis_url: str | None = None, when_down: WhenDown = "refuse") -> None:
        self.service = service
        self.redis_url = redis_url
        self.registry = FeatureRegistry(home, redis_url)
        self._mirrors: dict[str, OnlineMirror] = {}
        values = RedisStore(redis_url, name=f"{FEAST_PROJECT}/mirror") if redis_url else SqliteStore(home.feast / "mirror.db")
        self.online_values: KeyValueStore = LastKnown(values, clock=time.monotonic) if when_down == "last_known" else values

    def apply(self, repo: Path) -> None:
        """As FeatureRegistry.apply."""
        if self.registry.apply(repo):
            self._mirrors = {}

    def describe(self) -> list[dict[str, object]]:
        """As FeatureRegistry.describe."""
        return self.registry.describe()

    def historical(self, entity_rows: pl.DataFrame) -> pl.DataFrame:
        """`entity_rows` and the features as they were known at each row's event_timestamp, in the same order.

        Raises UnknownFeatures, EntityFrameMismatch for a missing join key, MissingFeatureTable.
        """
        views = self.registry.views_of(self.service)
        job = self.registry.open().get_historical_features(
            entity_df=cast(Any, entity_rows), features=self.registry.service(self.service)
        )
        found = cast(PolarsRetrievalJob, job).to_polars()
        types = {name: dtype for view in views for name, dtype in view.features.items()}
        return found.select(*entity_rows.columns, *(_missing_is_null(name, dtype) for name, dtype in types.items()))

    def materialize(self, view: str, start: datetime, end: datetime) -> int:
        """Write to the online store the newest value of every entity touched since `start`; returns how many.

        Reads on beyond `end`, up to the newest row of the table: Feast overwrites blindly, and a day that is filled again
        must not push a newer value out. Readers go on meanwhile. Every service that takes the view gets its mirror; one
        that is new, or whose store was emptied, gets all of its views. Doing it again is always safe. Raises
        UnknownFeatures, MissingFeatureTable, OnlineStoreDown, ValueError when end < start.
        """
        if end < start:
            raise ValueError(f"feature view {view!r} · materialize from {start} to {end}; legal: start <= end. Swap them.")
        feature_view = self.registry.view(view)
        with self.registry.alone(view):
            touched = self._newest(feature_view, start)
            self._mirror_rows(feature_view, touched)
            if not touched.is_empty():
                self.registry.provider().ingest_df(feature_view, touched.to_pandas())
            return touched.height

    def push(self, view: str, rows: pl.DataFrame) -> int:
        """Fresh rows of a view (join keys, features, timestamp) through its Feast push source, offline and online.

        Offline they are appended to the view's table; online a row that is older than what is held changes nothing.
        Returns how many entities it changed online. Raises UnknownFeatures, MissingFeatureTable, OnlineStoreDown,
        ValueError for a view without a push source; doing it again adds the offline rows again, which no join can tell.
        """
        feature_view = self.registry.view(view)
        source, store = feature_view.stream_source, self.registry.open()
        if not isinstance(source, feast.PushSource):
            raise ValueError(f"feature view {view!r} · has no push source. Declare one in feature_repo, or materialize it.")
        moment = cast(Any, source.batch_source).timestamp_field
        newest = rows.drop_nulls(feature_view.join_keys).sort(moment).unique(feature_view.join_keys, keep="last")
        with self.registry.alone(view):
            store.push(source.name, rows.to_pandas(), to=PushMode.OFFLINE)
            fresh = newest.filter(self._is_news(feature_view, newest, moment))
            if not fresh.is_empty():
                self._mirror_rows(feature_view, fresh)
                store.push(source.name, fresh.to_pandas(), to=PushMode.ONLINE)
        return fresh.height

    def look_up(self, entity_rows: pl.DataFrame) -> LookupResult:
        """The features of each row, in the order of the rows, as plain values.

        A row's source is 'online', 'last_known' or 'point_in_time': a row never gets facts newer than its event_timestamp,
        so when the online store has one, the whole row comes from `historical`; so do all rows while that store is empty.
        Raises OnlineStoreDown, EntityFrameMismatch, UnknownFeatures, and as `historical`.
        """
        at = self._moments(entity_rows)
        try:
            answer = self._read(entity_rows, at)
        except NotFilled:
            return self._looked_back(entity_rows)
        newer = np.any(answer.event_times > at[:, None], axis=1)
        source = "last_known" if answer.age_s else "online"
        found = LookupResult(answer.features, [source] * len(at), answer.ages(at))
        if newer.any():
            found.replace(np.flatnonzero(newer).tolist(), self._looked_back(entity_rows.filter(newer)))
        return found

    def feature_names(self) -> tuple[str, ...]:
        """The features of the service, in its order."""
        return tuple(name for view in self.registry.views_of(self.service) for name in view.features)

    def _looked_back(self, entity_rows: pl.DataFrame) -> LookupResult:
        features = self.historical(entity_rows).select(self.feature_names()).to_dict(as_series=False)
        return LookupResult(features, [POINT_IN_TIME] * len(entity_rows), [None] * len(entity_rows))

    def _read(self, entity_rows: pl.DataFrame, moments: Moments) -> OnlineValues:
        keys = entity_columns(self.registry.views_of(self.service), entity_rows)
        return self.mirror(self.service).read({name: key.to_list() for name, key in keys.items()}, moments)

    def mirror(self, service: str) -> OnlineMirror:
        if service not in self._mirrors:  # made twice by two threads at worst, and alike
            self._mirrors[service] = OnlineMirror(service, groups(self.registry.views_of(service)), self.online_values)
        return self._mirrors[service]

    def _mirror_rows(self, view: feast.FeatureView, rows: pl.DataFrame) -> None:
        """Into every service that takes the view; one that nobody has filled gets all that there is, of every view."""
        for service, taken in self.registry.takers(view):
            mirror = self.mirror(service)
            self._write(mirror, view, taken, rows)
            if not mirror.is_ready():
                self._fill(service)
                mirror.mark_ready()

    def _fill(self, service: str) -> None:
        for taken in self.registry.views_of(service):
            view = self.registry.view(taken.declared)
            with suppress(MissingFeatureTable):  # nobody has made that one yet; its first day brings it
                rows, moment = self._newest(view, BEGINNING), cast(Any, view.batch_source).timestamp_field
                # Another process may have carried this view on while its table was read here.
                self._write(self.mirror(service), view, taken, rows.filter(self._is_news(view, rows, moment)))

    def _write(self, mirror: OnlineMirror, view: feast.FeatureView, taken: ServiceView, rows: pl.DataFrame) -> None:
        source = cast(Any, view.batch_source)
        renamed = rows.rename(dict(source.field_mapping), strict=False)
        moment = source.field_mapping.get(source.timestamp_field, source.timestamp_field)
        mirror.write(taken.name, newest_rows(taken, renamed, moment))

    def _is_news(self, view: feast.FeatureView, rows: pl.DataFrame, moment: str) -> pl.Series:
        """Which rows are not older than what any service holds of their entity."""
        at = rows.select(utc(moment, rows.schema[moment])).to_series()
        news = pl.repeat(True, len(rows), eager=True)
        for service, taken in self.registry.takers(view):
            keys = {name: rows[ours].cast(dtype).to_list() for ours, (name, dtype) in taken.keys.items()}
            held = self.mirror(service).event_times(taken.name, keys)
            news = news & (at >= _as_moments("held", held)).fill_null(value=True)
        return news

    def _newest(self, view: feast.FeatureView, start: datetime) -> pl.DataFrame:
        source = view.batch_source
        assert source is not None
        column = {ours: theirs for theirs, ours in source.field_mapping.items()}
        keys = [column.get(key, key) for key in view.join_keys]
        job = self.registry.provider().offline_store.pull_latest_from_table_or_query(
            config=self.registry.open().config,
            data_source=source,
            join_key_columns=keys,
            feature_name_columns=[column.get(feature.name, feature.name) for feature in view.features],
            timestamp_field=source.timestamp_field,
            created_timestamp_column=source.created_timestamp_column or None,
            start_date=start,
            end_date=END_OF_TIME,
        )
        return cast(PolarsRetrievalJob, job).to_polars().drop_nulls(keys)

    def _moments(self, entity_rows: pl.DataFrame) -> Moments:
        name = event_timestamp_of(as_frame(entity_rows))
        moments = entity_rows[name]
        if moments.dtype != UTC_MICROSECONDS:
            moments = entity_rows.select(utc(name, moments.dtype)).to_series()
        return moments.to_numpy().view(np.int64)


def _missing_is_null(name: str, dtype: pl.DataType) -> pl.Expr:
    """The online store cannot tell NaN from null; so that both sides agree, missing is null."""
    value = pl.col(name).cast(dtype)
    return value.fill_nan(None) if dtype.is_float() else value


def _as_moments(name: str, times: Moments) -> pl.Series:
    known = pl.Series(name, np.where(times == NEVER, 0, times)).cast(UTC_MICROSECONDS)
    return known.set(pl.Series(times == NEVER), None)
