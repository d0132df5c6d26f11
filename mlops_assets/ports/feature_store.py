"""The features of one service: joined as of a moment, written online, pushed, looked up, erased.

Belongs here: values, offline and online. Not here: what is declared (feature_registry), how the offline store reads
(polars_offline_store) and how the mirror packs (online_mirror). Feast 0.67 sends no telemetry, and loading this module
takes seconds: open it in functions.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

import feast
import numpy as np
import polars as pl
from feast.data_source import PushMode

from mlops_assets.names import FEAST_PROJECT
from mlops_assets.ports.blob_stores import Blobs, LastKnown, RedisBlobs, SqliteBlobs
from mlops_assets.ports.erasable_online import FeastRows, MirrorKeys
from mlops_assets.ports.feature_registry import FeatureRegistry
from mlops_assets.ports.feature_table import MissingFeatureTable
from mlops_assets.ports.home import Home
from mlops_assets.ports.looked_up import POINT_IN_TIME, LookedUp, ages
from mlops_assets.ports.online_mirror import Answer, Moments, NotFilled, OnlineMirror
from mlops_assets.ports.packed_rows import NEVER
from mlops_assets.ports.point_in_time import UTC_MICROSECONDS, as_frame, event_timestamp_of, utc
from mlops_assets.ports.polars_offline_store import PolarsRetrievalJob
from mlops_assets.ports.prediction_log import FEATURE_AGE_S
from mlops_assets.ports.service_views import ServiceView, entity_columns, groups, newest_rows
from mlops_assets.ports.sought import Sought
from mlops_assets.spec.feature import WhenDown

FEATURES_FROM = "features_from"
BEGINNING = datetime.min.replace(tzinfo=UTC)
END_OF_TIME = datetime.max.replace(tzinfo=UTC)


class OnlineFeatures(NamedTuple):
    """Row by row as asked: `features` in the service's order, and `timestamps` with one column per view (null: unknown).

    `age_s` is 0, or how long ago the values were read when the online store is down and the last known ones answer.
    """

    features: pl.DataFrame
    timestamps: pl.DataFrame
    age_s: float


class FeatureStore:
    """The feature service `service` of the Feast project under `home`. Opens Feast on first use; safe in a thread pool.

    Entity rows carry the join keys and `event_timestamp` (without a time zone: UTC), the moment of the prediction.
    Online values lie in SQLite, or in the Redis at `redis_url`; `when_down` says what a lookup does while that is down.
    """

    def __init__(self, home: Home, *, service: str, redis_url: str | None = None, when_down: WhenDown = "refuse") -> None:
        self._service = service
        self._redis_url = redis_url
        self._registry = FeatureRegistry(home, redis_url)
        self._mirrors: dict[str, OnlineMirror] = {}
        blobs = RedisBlobs(redis_url, name=f"{FEAST_PROJECT}/mirror") if redis_url else SqliteBlobs(home.feast / "mirror.db")
        self._blobs: Blobs = LastKnown(blobs, clock=time.monotonic) if when_down == "last_known" else blobs

    def apply(self, repo: Path) -> None:
        """As FeatureRegistry.apply."""
        if self._registry.apply(repo):
            self._mirrors = {}

    def describe(self) -> list[dict[str, object]]:
        """As FeatureRegistry.describe."""
        return self._registry.describe()

    def historical(self, entity_rows: pl.DataFrame) -> pl.DataFrame:
        """`entity_rows` and the features as they were known at each row's event_timestamp, in the same order.

        Raises UnknownFeatures, EntityFrameMismatch for a missing join key, MissingFeatureTable.
        """
        views = self._registry.views_of(self._service)
        job = self._registry.open().get_historical_features(
            entity_df=cast(Any, entity_rows), features=self._registry.service(self._service)
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
        feature_view = self._registry.view(view)
        with self._registry.alone(view):
            touched = self._newest(feature_view, start)
            self._mirror_rows(feature_view, touched)
            if not touched.is_empty():
                self._registry.provider().ingest_df(feature_view, touched.to_pandas())
            return touched.height

    def push(self, view: str, rows: pl.DataFrame) -> int:
        """Fresh rows of a view (join keys, features, timestamp) through its Feast push source, offline and online.

        Offline they are appended to the view's table; online a row that is older than what is held changes nothing.
        Returns how many entities it changed online. Raises UnknownFeatures, MissingFeatureTable, OnlineStoreDown,
        ValueError for a view without a push source; doing it again adds the offline rows again, which no join can tell.
        """
        feature_view = self._registry.view(view)
        source, store = feature_view.stream_source, self._registry.open()
        if not isinstance(source, feast.PushSource):
            raise ValueError(f"feature view {view!r} · has no push source. Declare one in feature_repo, or materialize it.")
        moment = cast(Any, source.batch_source).timestamp_field
        newest = rows.drop_nulls(feature_view.join_keys).sort(moment).unique(feature_view.join_keys, keep="last")
        with self._registry.alone(view):
            store.push(source.name, rows.to_pandas(), to=PushMode.OFFLINE)
            fresh = newest.filter(self._is_news(feature_view, newest, moment))
            if not fresh.is_empty():
                self._mirror_rows(feature_view, fresh)
                store.push(source.name, fresh.to_pandas(), to=PushMode.ONLINE)
        return fresh.height

    def online(self, entity_rows: pl.DataFrame) -> OnlineFeatures:
        """What the online store holds now for these entities; null where it is unknown or older than the view's TTL.

        Raises OnlineStoreDown, NotFilled, EntityFrameMismatch, UnknownFeatures.
        """
        answer, views = self._read(entity_rows, self._moments(entity_rows)), self._registry.views_of(self._service)
        times = pl.DataFrame(answer.event_times, schema=answer.views).select(view.name for view in views)
        return OnlineFeatures(
            self._features(answer), times.select(pl.all().replace(NEVER, None).cast(UTC_MICROSECONDS)), answer.age_s
        )

    def lookup(self, entity_rows: pl.DataFrame) -> pl.DataFrame:
        """`entity_rows`, the features, `features_from` and `feature_age_s`, in the same order.

        `features_from` is 'online', 'last_known' or 'point_in_time': a row is never answered with facts newer than its
        event_timestamp, so when the online store holds one, the whole row comes from `historical`; so does everything while
        that store is empty. `feature_age_s` has one field for each view, the seconds from its event time to the prediction
        moment; null where nothing is known, and for rows that come from `historical`. Raises as `historical` and `online`.
        """
        found, views = self.look_up(entity_rows), self._registry.views_of(self._service)
        types = {name: dtype for view in views for name, dtype in view.features.items()}
        features = pl.DataFrame(found.features, schema=types).select(
            _missing_is_null(name, dtype) for name, dtype in types.items()
        )
        sources = pl.Series(FEATURES_FROM, found.features_from, pl.String())
        how_old = pl.Series(FEATURE_AGE_S, found.ages, pl.Struct({view.name: pl.Float64() for view in views}))
        return entity_rows.hstack(features).hstack([sources, how_old])

    def look_up(self, entity_rows: pl.DataFrame) -> LookedUp:
        """As `lookup`, in plain values, which a server is through with in half the time."""
        at = self._moments(entity_rows)
        try:
            answer = self._read(entity_rows, at)
        except NotFilled:
            return self._looked_back(entity_rows)
        newer = np.any(answer.event_times > at[:, None], axis=1)
        source = "last_known" if answer.age_s else "online"
        found = LookedUp(answer.features, [source] * len(at), ages(answer, at))
        if newer.any():
            found.replace(np.flatnonzero(newer).tolist(), self._looked_back(entity_rows.filter(newer)))
        return found

    def feature_names(self) -> tuple[str, ...]:
        """The features of the service, in its order."""
        return tuple(name for view in self._registry.views_of(self._service) for name in view.features)

    def online_rows(self, views: Sequence[str], sought: Sought) -> tuple[FeastRows, MirrorKeys]:
        """What the online store and the mirrors of all services hold of the sought entities of these views."""
        return (
            FeastRows(self._registry, tuple(views), sought, self._redis_url),
            MirrorKeys(self._registry, tuple(views), sought, self._blobs, self._mirror),
        )

    def _looked_back(self, entity_rows: pl.DataFrame) -> LookedUp:
        features = self.historical(entity_rows).select(self.feature_names()).to_dict(as_series=False)
        return LookedUp(features, [POINT_IN_TIME] * len(entity_rows), [None] * len(entity_rows))

    def _features(self, answer: Answer) -> pl.DataFrame:
        types = {name: dtype for view in self._registry.views_of(self._service) for name, dtype in view.features.items()}
        plain = pl.DataFrame({name: answer.features[name] for name in types}, schema=types)
        return plain.select(_missing_is_null(name, dtype) for name, dtype in types.items())

    def _read(self, entity_rows: pl.DataFrame, moments: Moments) -> Answer:
        keys = entity_columns(self._registry.views_of(self._service), entity_rows)
        return self._mirror(self._service).read({name: key.to_list() for name, key in keys.items()}, moments)

    def _mirror(self, service: str) -> OnlineMirror:
        if service not in self._mirrors:  # made twice by two threads at worst, and alike
            self._mirrors[service] = OnlineMirror(service, groups(self._registry.views_of(service)), self._blobs)
        return self._mirrors[service]

    def _mirror_rows(self, view: feast.FeatureView, rows: pl.DataFrame) -> None:
        """Into every service that takes the view; one that nobody has filled gets all that there is, of every view."""
        for service, taken in self._registry.takers(view):
            mirror = self._mirror(service)
            self._write(mirror, view, taken, rows)
            if not mirror.is_ready():
                self._fill(service)
                mirror.mark_ready()

    def _fill(self, service: str) -> None:
        for taken in self._registry.views_of(service):
            view = self._registry.view(taken.declared)
            with suppress(MissingFeatureTable):  # nobody has made that one yet; its first day brings it
                rows, moment = self._newest(view, BEGINNING), cast(Any, view.batch_source).timestamp_field
                # Another process may have carried this view on while its table was read here.
                self._write(self._mirror(service), view, taken, rows.filter(self._is_news(view, rows, moment)))

    def _write(self, mirror: OnlineMirror, view: feast.FeatureView, taken: ServiceView, rows: pl.DataFrame) -> None:
        source = cast(Any, view.batch_source)
        renamed = rows.rename(dict(source.field_mapping), strict=False)
        moment = source.field_mapping.get(source.timestamp_field, source.timestamp_field)
        mirror.write(taken.name, newest_rows(taken, renamed, moment))

    def _is_news(self, view: feast.FeatureView, rows: pl.DataFrame, moment: str) -> pl.Series:
        """Which rows are not older than what any service holds of their entity."""
        at = rows.select(utc(moment, rows.schema[moment])).to_series()
        news = pl.repeat(True, len(rows), eager=True)
        for service, taken in self._registry.takers(view):
            keys = {name: rows[ours].cast(dtype).to_list() for ours, (name, dtype) in taken.keys.items()}
            held = self._mirror(service).event_times(taken.name, keys)
            news = news & (at >= _as_moments("held", held)).fill_null(value=True)
        return news

    def _newest(self, view: feast.FeatureView, start: datetime) -> pl.DataFrame:
        source = view.batch_source
        assert source is not None
        column = {ours: theirs for theirs, ours in source.field_mapping.items()}
        keys = [column.get(key, key) for key in view.join_keys]
        job = self._registry.provider().offline_store.pull_latest_from_table_or_query(
            config=self._registry.open().config,
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
