"""Feast's offline store over Polars, by Feast's public hook: `offline_store.type` names this module's class."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false, reportIncompatibleMethodOverride=false

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
import polars as pl
from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_view import FeatureView
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.saved_dataset import SavedDatasetStorage

from mlops_assets.features.feast.feast_internals import DUMMY_ENTITY_ID, on_demand_views
from mlops_assets.features.offline.feature_table import FeatureTable
from mlops_assets.features.offline.point_in_time import Facts, as_frame, event_timestamp_of, join_facts, time_range, utc

ArrowTable = Any  # pyarrow ships no types

CLASS_PATH = "mlops_assets.features.offline.polars_offline_store.PolarsOfflineStore"


class PolarsOfflineStoreConfig(FeastConfigBaseModel):
    """Relative source paths start at `root`, which is itself relative to the folder of feature_store.yaml."""

    type: Literal["mlops_assets.features.offline.polars_offline_store.PolarsOfflineStore"] = CLASS_PATH
    root: str = "."


@dataclass(eq=False)
class PolarsRetrievalJob(RetrievalJob):
    """`to_polars` computes the rows each time, without on-demand transforms; for an entity frame, its rows in their order."""

    to_polars: Callable[[], pl.DataFrame]
    config: RepoConfig
    # Feast declares these three as abstract properties; the defaults override them.
    full_feature_names: bool = False
    on_demand_feature_views: Sequence[OnDemandFeatureView] = ()
    metadata: RetrievalMetadata | None = None

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return cast(pd.DataFrame, self._to_arrow_internal(timeout).to_pandas())

    def _to_arrow_internal(self, timeout: int | None = None) -> ArrowTable:
        # Feast's protobuf converters do not know Arrow's string views, and write only the first chunk of a table online.
        return self.to_polars().rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Writes the rows, on-demand features included, atomically to a Parquet file or a Delta table.

        Raises SavedDatasetLocationAlreadyExists, and IsADirectoryError for a folder of Parquet files.
        """
        table = _table(self.config, storage.to_data_source())
        if table.exists and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(str(table.path))
        table.replace(cast(pl.DataFrame, pl.from_arrow(self.to_arrow(timeout=timeout))))


class PolarsOfflineStore(OfflineStore):
    """Point-in-time joins that keep every entity row, in its order, from Parquet files, folders of them and Delta tables.

    A value matches if its timestamp is at or before the row's and at most `ttl` before it (both inclusive; zero: no bound).
    Of values of one moment the last created wins. Times without a zone are UTC, and compared in microseconds. A null key,
    an unknown key and an expired value give nulls.
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
        """Entity rows (Polars eager or lazy, pandas, Arrow; otherwise TypeError) with the views' features.

        Raises MissingFeatureTable for a view without a table, EntityFrameMismatch.
        """
        entities = as_frame(entity_df)
        moment = event_timestamp_of(entities)
        moments = time_range(entities, moment)
        tables = [_facts(config, view, _names(view, feature_refs, full_feature_names), moments) for view in feature_views]
        keys = [name for name in entities.columns if name != moment]
        return PolarsRetrievalJob(
            lambda: join_facts(entities, tables, event_timestamp=moment, created_by_then=filter_by_created_timestamp),
            config,
            full_feature_names=full_feature_names,
            on_demand_feature_views=on_demand_views(feature_refs, project, registry),
            metadata=RetrievalMetadata(feature_refs, keys, *(moments or (None, None))),
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
        """The newest row of each key within [start_date, end_date]; rows with a null key are left out."""
        times = [name for name in (timestamp_field, created_timestamp_column) if name]
        rows = _pull(config, data_source, [*join_key_columns, *feature_name_columns], times, (start_date, end_date))
        known = (rows.drop_nulls(join_key_columns) if join_key_columns else rows).sort(times, maintain_order=True)
        newest = known.unique(join_key_columns, keep="last", maintain_order=True) if join_key_columns else known.tail(1)
        return PolarsRetrievalJob(newest.collect, config)

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
        times = [name for name in (timestamp_field, created_timestamp_column) if name]
        rows = _pull(config, data_source, [*join_key_columns, *feature_name_columns], times, (start_date, end_date))
        return PolarsRetrievalJob(rows.collect, config)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: ArrowTable, progress: Callable[[int], Any] | None
    ) -> None:
        """Appends rows to the view's source atomically. Raises MissingFeatureTable."""
        rows = cast(pl.DataFrame, pl.from_arrow(table))
        _table(config, _source(feature_view)).append(rows)
        if progress:
            progress(rows.height)

    def validate_data_source(self, config: RepoConfig, data_source: DataSource) -> None:
        """A missing table is legal at `feast apply`; one without its timestamp column raises ValueError."""
        table = _table(config, data_source)
        if table.exists:
            table.scan()

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> list[tuple[str, str]]:
        """The columns of rows to write, with Arrow's names of their types. Raises MissingFeatureTable."""
        columns = pl.DataFrame(schema=_table(config, data_source).schema()).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        return [(column.name, str(column.type)) for column in columns]


def _names(view: FeatureView, feature_refs: list[str], full_feature_names: bool) -> dict[str, str]:
    """The requested features of one view: from the name in its table to the name in the result."""
    view_ref = f"{view.projection.name_to_use()}:"
    prefix = f"{view.projection.name_alias or view.name}__" if full_feature_names else ""
    features = [ref.removeprefix(view_ref) for ref in feature_refs if ref.startswith(view_ref)]
    return {feature: prefix + feature for feature in features}


def _facts(config: RepoConfig, view: FeatureView, features: dict[str, str], moments: tuple[datetime, datetime] | None) -> Facts:
    source = _source(view)
    first, last = moments or (None, None)
    rows = _table(config, source).scan(first - view.ttl if first and view.ttl else None, last)
    renamed: dict[str, str] = dict(source.field_mapping)
    keys = [column.name for column in view.entity_columns if column.name != DUMMY_ENTITY_ID]
    return Facts(
        view=view.name,
        rows=rows.rename(renamed, strict=False),
        keys={key: view.projection.join_key_map.get(key, key) for key in keys},
        features=features,
        timestamp=renamed.get(source.timestamp_field, source.timestamp_field),
        created=renamed.get(source.created_timestamp_column, source.created_timestamp_column) or None,
        ttl=view.ttl or timedelta(0),
    )


def _source(view: FeatureView) -> DataSource:
    if view.batch_source is None:
        raise ValueError(f"feature view {view.name!r} · it has no batch source. Declare a FileSource for it.")
    return view.batch_source


def _pull(
    config: RepoConfig, source: DataSource, columns: list[str], times: list[str], within: tuple[datetime | None, datetime | None]
) -> pl.LazyFrame:
    # The caller names the timestamp column, because the source of a saved dataset has none.
    rows = _table(config, source, times[0]).scan(*(time and _utc_time(time) for time in within))
    schema = rows.collect_schema()
    return rows.select(*columns, *(utc(name, schema[name]) for name in times))


def _utc_time(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _table(config: RepoConfig, source: DataSource, timestamp: str | None = None) -> FeatureTable:
    file = cast(Any, source)
    path = _path(config, cast(str, file.path))
    delta = isinstance(file.file_format, DeltaFormat) or (path / "_delta_log").is_dir()
    return FeatureTable(
        owner=f"feature source {source.name!r}", path=path, delta=delta, timestamp=timestamp or source.timestamp_field
    )


def _path(config: RepoConfig, path: str) -> Path:
    # An absolute right side of `/` wins, so absolute roots and paths stay as they are.
    return Path(config.repo_path or ".") / cast(PolarsOfflineStoreConfig, config.offline_store).root / path
