"""Feast's offline store over Polars: point-in-time joins on Parquet files, folders of Parquet and Delta tables.

Belongs here: Feast's class-path hook (`offline_store.type`), the as-of join, reading and appending to a source.
Not here: the declared views (feature_repo/) and the platform's use of Feast (ports/feature_store.py).
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false, reportMissingTypeStubs=false

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast
from uuid import uuid4

import pandas as pd
import polars as pl
from deltalake import DeltaTable
from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig

EVENT_TIMESTAMP = "event_timestamp"
DAY = "day"
ROW, FOUND, SEEN, CREATED = "__row", "__found", "__seen", "__created"
MOMENT = pl.Datetime("us", "UTC")


class MissingTable(FileNotFoundError):
    """A feature view's table has not been materialized."""


class WrongEntityFrame(ValueError):
    """The entity rows cannot be joined: a column is missing, of the wrong type, or named like a feature."""


class PolarsOfflineStoreConfig(FeastConfigBaseModel):
    """`root` is the folder below which relative source paths lie; itself relative to the folder of feature_store.yaml."""

    type: Literal["mlops_assets.ports.polars_offline_store.PolarsOfflineStore"] = (
        "mlops_assets.ports.polars_offline_store.PolarsOfflineStore"
    )
    root: str = "."


class PolarsRetrievalJob(RetrievalJob):
    """A lazy query; nothing but the entity rows is read before it is collected."""

    def __init__(
        self,
        frame: pl.LazyFrame,
        *,
        full_feature_names: bool = False,
        on_demand: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._frame = frame
        self._full_feature_names = full_feature_names
        self._on_demand = list(on_demand)
        self._metadata = metadata

    def to_polars(self) -> pl.DataFrame:
        """The rows as Polars, without on-demand transforms; for an entity frame, in its order."""
        return self._frame.collect()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return cast(pd.DataFrame, self._to_arrow_internal(timeout).to_pandas())

    def _to_arrow_internal(self, timeout: int | None = None) -> ArrowTable:
        # Feast's protobuf converters do not know Arrow's string views.
        return self.to_polars().to_arrow(compat_level=pl.CompatLevel.oldest())

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata


@dataclass(frozen=True)
class ViewRead:
    """What one join takes from one view. `keys`: source column to entity column; `features`: source name to output name."""

    view: str
    source: DataSource
    keys: dict[str, str]
    features: dict[str, str]
    ttl: timedelta | None


class PolarsOfflineStore(OfflineStore):
    """Point-in-time joins that keep every entity row, in its order.

    A value is taken if it became known at or before the row's timestamp and at most `ttl` before it (both inclusive; a ttl
    of zero has no bound). Among values of one moment the last created wins. A time without a zone is UTC; times are compared
    in microseconds. A null key, an unknown key and a value out of date give nulls.
    """

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(  # noqa: PLR0917 - Feast's signature
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: Any,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        **_: Any,
    ) -> PolarsRetrievalJob:
        """Entity rows (Polars eager or lazy, pandas, Arrow) with the views' features. Raises MissingTable, WrongEntityFrame."""
        entities = _entity_rows(entity_df)
        moment = _moment_column(entities)
        entities = entities.with_columns(_utc(moment, entities.schema[moment]))
        reads = [_read(view, feature_refs, full_feature_names) for view in feature_views]
        _refuse_collisions(entities, reads)
        joined = entities.lazy().with_row_index(ROW).sort(moment, maintain_order=True)
        for read in reads:
            joined = _join(config, joined, entities, moment=moment, read=read, as_created=filter_by_created_timestamp)
        return PolarsRetrievalJob(
            joined.sort(ROW).drop(ROW),
            full_feature_names=full_feature_names,
            on_demand=OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            metadata=_metadata(entities, moment, feature_refs),
        )

    @staticmethod
    def pull_latest_from_table_or_query(  # noqa: PLR0917 - Feast's signature
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> PolarsRetrievalJob:
        """The newest row of each key within [start_date, end_date]; rows with a null key are nobody's and are left out."""
        rows = _pull(
            config, data_source, [*join_key_columns, *feature_name_columns], start_date=start_date, end_date=end_date
        ).drop_nulls(join_key_columns or None)
        order = [timestamp_field, created_timestamp_column] if created_timestamp_column else [timestamp_field]
        newest = rows.sort(order, nulls_last=False, maintain_order=True)
        return PolarsRetrievalJob(newest.unique(join_key_columns, keep="last", maintain_order=True))

    @staticmethod
    def pull_all_from_table_or_query(  # noqa: PLR0917 - Feast's signature
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> PolarsRetrievalJob:
        """Every row within [start_date, end_date]; a missing bound is open."""
        columns = [*join_key_columns, *feature_name_columns]
        return PolarsRetrievalJob(_pull(config, data_source, columns, start_date=start_date, end_date=end_date))

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: ArrowTable, progress: Callable[[int], Any] | None
    ) -> None:
        """Appends rows to the view's source. A single file is replaced at once, so that no reader sees half of it."""
        source = _source_of(feature_view)
        rows = cast(pl.DataFrame, pl.from_arrow(table))
        _append(_path(config, source), rows, moment=source.timestamp_field, delta=_is_delta(config, source))
        if progress:
            progress(rows.height)


def _entity_rows(frame: Any) -> pl.DataFrame:
    match frame:
        case pl.DataFrame():
            return frame
        case pl.LazyFrame():
            return frame.collect()
        case pd.DataFrame():
            return pl.from_pandas(frame)
        case ArrowTable():
            return cast(pl.DataFrame, pl.from_arrow(frame))
        case _:
            found = type(frame).__name__
            raise WrongEntityFrame(f"entity rows · found {found}; legal: Polars, pandas or Arrow tables. Pass one of these.")


def _moment_column(entities: pl.DataFrame) -> str:
    if EVENT_TIMESTAMP in entities.columns:
        return EVENT_TIMESTAMP
    times = [name for name, dtype in entities.schema.items() if isinstance(dtype, pl.Datetime)]
    if len(times) == 1:
        return times[0]
    raise WrongEntityFrame(f"entity rows · no {EVENT_TIMESTAMP!r}, found {entities.columns}. Name the moment of each row so.")


def _utc(column: str, dtype: pl.DataType) -> pl.Expr:
    """The column as UTC microseconds; without a zone it is UTC already."""
    time = pl.col(column)
    if isinstance(dtype, pl.String):
        return time.str.to_datetime(time_unit="us", time_zone="UTC")
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return time if dtype == MOMENT else time.dt.convert_time_zone("UTC").cast(MOMENT)
    return time.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _read(view: FeatureView, feature_refs: list[str], full_feature_names: bool) -> ViewRead:
    prefix = f"{view.projection.name_to_use()}:"
    features = [ref.removeprefix(prefix) for ref in feature_refs if ref.startswith(prefix)]
    said = f"{view.projection.name_alias or view.name}__" if full_feature_names else ""
    keys = {column.name: column.name for column in view.entity_columns if column.name != DUMMY_ENTITY_ID}
    return ViewRead(
        view=view.name,
        source=_source_of(view),
        keys={**keys, **view.projection.join_key_map},
        features={feature: said + feature for feature in features},
        ttl=view.ttl or None,
    )


def _source_of(view: FeatureView) -> DataSource:
    if view.batch_source is None:
        raise MissingTable(f"feature view {view.name!r} · has no batch source. Declare a FileSource for it.")
    return view.batch_source


def _refuse_collisions(entities: pl.DataFrame, reads: Sequence[ViewRead]) -> None:
    asked = [name for read in reads for name in read.features.values()]
    twice = sorted({name for name in asked if name in entities.columns or asked.count(name) > 1})
    if twice:
        raise WrongEntityFrame(f"entity rows · {twice} named twice among rows and features. Rename, or use full feature names.")
    absent = sorted({key for read in reads for key in read.keys.values()} - set(entities.columns))
    if absent:
        raise WrongEntityFrame(f"entity rows · join keys {absent} are absent; found {entities.columns}. Add them.")


def _metadata(entities: pl.DataFrame, moment: str, feature_refs: list[str]) -> RetrievalMetadata:
    keys = [name for name in entities.columns if name != moment]
    first, last = (cast(datetime | None, bound) for bound in (entities[moment].min(), entities[moment].max()))
    return RetrievalMetadata(feature_refs, keys, first, last)


def _join(
    config: RepoConfig, joined: pl.LazyFrame, entities: pl.DataFrame, *, moment: str, read: ViewRead, as_created: bool
) -> pl.LazyFrame:
    facts, on = _facts(config, entities[moment], read, as_created=as_created)
    keys = {key: f"__key_{key}" for key in read.keys}
    types = facts.collect_schema()
    known = [_as_key(read, key, entities.schema[read.keys[key]], types[key]).alias(keys[key]) for key in keys]
    matched = joined.with_columns(known).join_asof(
        facts.rename(keys),
        left_on=moment,
        right_on=on,
        by=list(keys.values()) or None,
        strategy="backward",
        check_sortedness=False,  # both sides are sorted by time as a whole, which Polars cannot see within groups
        coalesce=False,
    )
    if read.ttl:
        fresh = pl.col(FOUND) >= pl.col(moment) - read.ttl
        matched = matched.with_columns(pl.when(fresh).then(pl.col(name)).alias(name) for name in read.features.values())
    return matched.drop(FOUND, SEEN, CREATED, *keys.values(), strict=False)


def _as_key(read: ViewRead, key: str, asked: pl.DataType, kept: pl.DataType) -> pl.Expr:
    column = pl.col(read.keys[key])
    if asked == kept:
        return column
    texts = (pl.String, pl.Categorical, pl.Enum)
    if asked == pl.Null or (asked.is_integer() and kept.is_integer()) or (isinstance(asked, texts) and kept == pl.String):
        return column.cast(kept)
    raise WrongEntityFrame(f"{read.view} · join key {read.keys[key]!r} is {asked}; the table has {kept}. Cast one of them.")


def _facts(config: RepoConfig, moments: pl.Series, read: ViewRead, *, as_created: bool) -> tuple[pl.LazyFrame, str]:
    """The view's rows that the moments can need, sorted by the column to search, and that column's name."""
    first, last = (cast(datetime | None, bound) for bound in (moments.min(), moments.max()))
    rows = _scan(config, read.source, first=first - (read.ttl or timedelta(0)) if first and read.ttl else None, last=last)
    renamed = rows.rename({old: new for old, new in read.source.field_mapping.items()}, strict=False)
    times = [_mapped(read.source, name) for name in (read.source.timestamp_field, read.source.created_timestamp_column) if name]
    facts = renamed.select(
        *read.keys,
        *(pl.col(name).alias(said) for name, said in read.features.items()),
        *(pl.col(name).alias(said) for name, said in zip(times, (FOUND, CREATED), strict=False)),
    ).drop_nulls([*read.keys, FOUND])
    if len(times) == 1:
        return facts.sort(FOUND, maintain_order=True), FOUND
    if not as_created:
        return facts.sort(FOUND, CREATED, nulls_last=False, maintain_order=True), FOUND
    # A fact is seen from the moment it was created; one that comes late must not hide a newer one seen before it.
    seen = facts.drop_nulls(CREATED).with_columns(pl.max_horizontal(FOUND, CREATED).alias(SEEN)).sort(SEEN, FOUND, CREATED)
    newest = pl.col(FOUND).cum_max()
    return seen.filter(pl.col(FOUND) >= (newest.over(*read.keys) if read.keys else newest)), SEEN


def _mapped(source: DataSource, column: str) -> str:
    return source.field_mapping.get(column, column)


def _pull(
    config: RepoConfig, source: DataSource, columns: list[str], *, start_date: datetime | None, end_date: datetime | None
) -> pl.LazyFrame:
    times = [name for name in (source.timestamp_field, source.created_timestamp_column) if name]
    return _scan(config, source, first=start_date, last=end_date).select(*columns, *times)


def _scan(config: RepoConfig, source: DataSource, *, first: datetime | None, last: datetime | None) -> pl.LazyFrame:
    """The source's rows with first <= timestamp <= last, times in UTC microseconds."""
    path = _path(config, source)
    if not path.exists():
        asset = "/".join([*path.with_suffix("").parts[-2:]])
        raise MissingTable(f"feature source {source.name!r} · no table at {path}. Materialize {asset} first.")
    rows = _scan_delta(path, first, last) if _is_delta(config, source) else pl.scan_parquet(path)
    schema = rows.collect_schema()
    times = [name for name in (source.timestamp_field, source.created_timestamp_column) if name]
    rows = rows.with_columns(_utc(name, schema[name]) for name in times if schema[name] != MOMENT)
    moment = pl.col(source.timestamp_field)
    bounds = [moment >= _moment(first)] if first else []
    return rows.filter(*bounds, *([moment <= _moment(last)] if last else []))


def _scan_delta(path: Path, first: datetime | None, last: datetime | None) -> pl.LazyFrame:
    table = DeltaTable(path)
    rows = pl.scan_delta(table)
    if DAY not in table.metadata().partition_columns:
        return rows
    bounds = [pl.col(DAY) >= first.astimezone(UTC).date()] if first else []
    return rows.filter(*bounds, *([pl.col(DAY) <= last.astimezone(UTC).date()] if last else []))


def _moment(time: datetime) -> pl.Expr:
    return pl.lit(time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC), MOMENT)


def _path(config: RepoConfig, source: DataSource) -> Path:
    root = Path(cast(PolarsOfflineStoreConfig, config.offline_store).root)
    # An absolute right side of `/` wins, so absolute roots and sources stay what they are.
    return Path(config.repo_path or ".") / root / cast(Any, source).path


def _is_delta(config: RepoConfig, source: DataSource) -> bool:
    return isinstance(cast(Any, source).file_format, DeltaFormat) or (_path(config, source) / "_delta_log").is_dir()


def _append(path: Path, rows: pl.DataFrame, *, moment: str, delta: bool) -> None:
    if delta:
        by_day = not path.exists() or DAY in DeltaTable(path).metadata().partition_columns
        rows = rows.with_columns(_utc(moment, rows.schema[moment]).dt.date().alias(DAY)) if by_day else rows
        rows.write_delta(path, mode="append", delta_write_options={"partition_by": [DAY]} if by_day else {})
        return
    whole = path / f"{uuid4().hex}.parquet" if path.is_dir() else path
    if whole.exists():
        rows = pl.concat([pl.read_parquet(whole), rows], how="diagonal_relaxed")
    part = whole.with_name(f".{uuid4().hex}.part")
    rows.write_parquet(part)
    os.replace(part, whole)
