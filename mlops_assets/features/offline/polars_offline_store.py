"""Feast's offline store over Polars, by Feast's public hook: `offline_store.type` names this module's class."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast
from uuid import uuid4

import pandas as pd
import polars as pl
from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.saved_dataset import SavedDatasetStorage
from pyarrow import parquet

from mlops_assets.features.feast.feast_internals import DUMMY_ENTITY_ID, on_demand_views
from mlops_assets.features.offline.feature_table import FeatureTable
from mlops_assets.features.offline.point_in_time import Facts, as_frame, event_timestamp_of, join_facts, time_range, utc

ArrowTable = Any  # pyarrow ships no types

CLASS_PATH = "mlops_assets.features.offline.polars_offline_store.PolarsOfflineStore"


class PolarsOfflineStoreConfig(FeastConfigBaseModel):
    """`root` is the folder below which relative source paths lie; itself relative to the folder of feature_store.yaml."""

    type: Literal["mlops_assets.features.offline.polars_offline_store.PolarsOfflineStore"] = CLASS_PATH
    root: str = "."


class PolarsRetrievalJob(RetrievalJob):
    """A question whose `answer` is computed each time it is asked for."""

    def __init__(
        self,
        answer: Callable[[], pl.DataFrame],
        config: RepoConfig,
        *,
        full_feature_names: bool = False,
        on_demand: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._answer, self._config = answer, config
        self._full_feature_names = full_feature_names
        self._on_demand = list(on_demand)
        self._metadata = metadata

    def to_polars(self) -> pl.DataFrame:
        """The rows without on-demand transforms; for an entity frame, its rows in their order."""
        return self._answer()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return cast(pd.DataFrame, self._to_arrow_internal(timeout).to_pandas())

    def _to_arrow_internal(self, timeout: int | None = None) -> ArrowTable:
        # Feast's protobuf converters do not know Arrow's string views, and write only the first chunk of a table online.
        return self.to_polars().rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Writes the answer, on-demand features included, whole or not at all, to a Parquet file or a Delta table.

        Raises SavedDatasetLocationAlreadyExists, and IsADirectoryError where a folder of Parquet files stands.
        """
        table = _table(self._config, storage.to_data_source())
        if table.exists and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(str(table.path))
        table.replace(cast(pl.DataFrame, pl.from_arrow(self.to_arrow(timeout=timeout))))

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata


class PolarsOfflineStore(OfflineStore):
    """Point-in-time joins that keep every entity row, in its order, from Parquet files, folders of them and Delta tables.

    A value is taken if its timestamp is at or before the row's and at most `ttl` before it (both inclusive; a ttl of zero
    has no bound). Among values of one moment the last created wins. A time without a zone is UTC; times are compared in
    microseconds. A null key, an unknown key and a value out of date give nulls.
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
        """Entity rows (Polars eager or lazy, pandas, Arrow) with the views' features beside them.

        Raises MissingFeatureTable for a view without a table, EntityFrameMismatch, TypeError for another entity frame.
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
            on_demand=on_demand_views(feature_refs, project, registry),
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
        """The newest row of each key within [start_date, end_date]; rows with a null key are nobody's and are left out."""
        times = [timestamp_field, *([created_timestamp_column] if created_timestamp_column else [])]
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
        times = [timestamp_field, *([created_timestamp_column] if created_timestamp_column else [])]
        rows = _pull(config, data_source, [*join_key_columns, *feature_name_columns], times, (start_date, end_date))
        return PolarsRetrievalJob(rows.collect, config)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: ArrowTable, progress: Callable[[int], Any] | None
    ) -> None:
        """Appends rows to the view's source; a reader sees all of them or none. Raises MissingFeatureTable."""
        rows = cast(pl.DataFrame, pl.from_arrow(table))
        _table(config, _source(feature_view)).append(rows)
        if progress:
            progress(rows.height)

    @staticmethod
    def write_logged_features(
        config: RepoConfig, data: ArrowTable | Path, source: LoggingSource, logging_config: LoggingConfig, registry: BaseRegistry
    ) -> None:
        """Adds logged features (an Arrow table, or a folder of Parquet files) as a new file of the destination's folder."""
        destination = cast(FileLoggingDestination, logging_config.destination)
        parquet.write_to_dataset(
            parquet.read_table(data) if isinstance(data, Path) else data,
            root_path=str(_below_root(config, destination.path)),
            partition_cols=destination.partition_by or None,
            basename_template=f"{uuid4().hex}-{{i}}.parquet",
            existing_data_behavior="overwrite_or_ignore",
        )

    def validate_data_source(self, config: RepoConfig, data_source: DataSource) -> None:
        """A table that nothing has filled yet is legal at `feast apply`; one without its timestamp column is a ValueError."""
        table = _table(config, data_source)
        if table.exists:
            table.scan()

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> list[tuple[str, str]]:
        """The columns that a writer gives, with Arrow's names of their types. Raises MissingFeatureTable."""
        columns = pl.DataFrame(schema=_table(config, data_source).schema()).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        return [(column.name, str(column.type)) for column in columns]


def _names(view: FeatureView, feature_refs: list[str], full_feature_names: bool) -> dict[str, str]:
    """The asked features of one view, by their name in its table, with their name in the answer."""
    prefix = f"{view.projection.name_to_use()}:"
    said = f"{view.projection.name_alias or view.name}__" if full_feature_names else ""
    asked = [ref.removeprefix(prefix) for ref in feature_refs if ref.startswith(prefix)]
    return {feature: said + feature for feature in asked}


def _facts(config: RepoConfig, view: FeatureView, features: dict[str, str], moments: tuple[datetime, datetime] | None) -> Facts:
    source = _source(view)
    keys = {column.name: column.name for column in view.entity_columns if column.name != DUMMY_ENTITY_ID}
    first, last = moments or (None, None)
    rows = _table(config, source).scan(first - view.ttl if first and view.ttl else None, last)
    renamed: dict[str, str] = dict(source.field_mapping)
    return Facts(
        view=view.name,
        rows=rows.rename(renamed, strict=False),
        keys={key: view.projection.join_key_map.get(key, key) for key in keys},
        features=features,
        timestamp=renamed.get(source.timestamp_field, source.timestamp_field),
        created=renamed.get(source.created_timestamp_column, source.created_timestamp_column) or None,
        **({"ttl": view.ttl} if view.ttl else {}),
    )


def _source(view: FeatureView) -> DataSource:
    if view.batch_source is None:
        raise ValueError(f"feature view {view.name!r} · has no batch source. Declare a FileSource for it.")
    return view.batch_source


def _pull(
    config: RepoConfig, source: DataSource, columns: list[str], times: list[str], within: tuple[datetime | None, datetime | None]
) -> pl.LazyFrame:
    # The caller names the time: the source of a saved dataset has none.
    rows = _table(config, source, times[0]).scan(*map(_in_utc, within))
    schema = rows.collect_schema()
    return rows.select(*columns, *(utc(name, schema[name]) for name in times))


def _in_utc(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time and time.tzinfo is None else time and time.astimezone(UTC)


def _table(config: RepoConfig, source: DataSource, timestamp: str | None = None) -> FeatureTable:
    file = cast(Any, source)
    path = _below_root(config, cast(str, file.path))
    delta = isinstance(file.file_format, DeltaFormat) or (path / "_delta_log").is_dir()
    return FeatureTable(
        owner=f"feature source {source.name!r}", path=path, delta=delta, timestamp=timestamp or source.timestamp_field
    )


def _below_root(config: RepoConfig, path: str) -> Path:
    # An absolute right side of `/` wins: absolute roots and paths stay what they are.
    return Path(config.repo_path or ".") / cast(PolarsOfflineStoreConfig, config.offline_store).root / path
