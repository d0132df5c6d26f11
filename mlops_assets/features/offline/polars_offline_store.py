"""Feast's offline store over Polars, by Feast's public hook: `offline_store.type` names this module's class."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false, reportIncompatibleMethodOverride=false

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig

from mlops_assets.features.offline.point_in_time import (
    NO_ENTITY,
    NO_ENTITY_VALUE,
    Facts,
    MissingFeatureTable,
    event_timestamp_of,
    join_facts,
    time_span,
    utc,
)  # fmt: skip
from mlops_assets.foundation.delta_tables import append_rows
from mlops_assets.foundation.stored_schema import converted, count_changed

TimeSpan = tuple[datetime | None, datetime | None]
PARTITION = "day"  # the UTC date of the timestamp column
CLASS_PATH = "mlops_assets.features.offline.polars_offline_store.PolarsOfflineStore"


class PolarsOfflineStoreConfig(FeastConfigBaseModel):
    """Relative source paths start at `root`, which is itself relative to the folder of feature_store.yaml."""

    type: Literal["mlops_assets.features.offline.polars_offline_store.PolarsOfflineStore"] = CLASS_PATH
    root: str = "."


@dataclass(eq=False)
class PolarsRetrievalJob(RetrievalJob):
    """`to_polars` computes the rows each time, without on-demand transforms; for an entity frame, its rows in their order."""

    to_polars: Callable[[], pl.DataFrame]
    # Feast declares these three as abstract properties; the defaults override them.
    full_feature_names: bool = False
    on_demand_feature_views: Sequence[OnDemandFeatureView] = ()
    metadata: RetrievalMetadata | None = None

    def _to_arrow_internal(self, timeout: int | None = None) -> Any:
        # Feast's protobuf converters do not know Arrow's string views, and write only the first chunk of a table online.
        return self.to_polars().rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())


class PolarsOfflineStore(OfflineStore):
    """Point-in-time joins that keep every entity row, in its order, from Delta tables and Parquet files.

    A value matches if its timestamp is at or before the row's and at most `ttl` before it (both inclusive; zero: no bound).
    Of values of one moment the last created wins. Times without a zone are UTC, and compared in microseconds. A null key,
    an unknown key and an expired value give nulls. Views have entities, and sources no field mapping. Methods of Feast that
    are not defined here raise NotImplementedError.
    """

    @staticmethod
    def get_historical_features(  # noqa: PLR0917 - Feast's signature
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: Any,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **_: Any,
    ) -> PolarsRetrievalJob:
        """Entity rows (a Polars, pandas or Arrow table) with the views' features.

        A view without a table, or a feature that its table lacks, is new: it has no values yet. Raises MissingFeatureTable
        where no view has a table, EntityFrameMismatch.
        """
        entities = pl.DataFrame(entity_df)
        moment = event_timestamp_of(entities)
        span = time_span(entities, moment)
        filled = [view for view in feature_views if _table(config, cast(DataSource, view.batch_source)).path.exists()]
        tables = [
            _facts(config, view, feature_refs, prefixed=full_feature_names, span=span, is_new=bool(filled) and view not in filled)
            for view in feature_views
        ]
        # Only where it is needed: of 10,000,000 rows it takes 160 MB.
        added = [NO_ENTITY] if NO_ENTITY not in entities.columns and any(NO_ENTITY in table.keys for table in tables) else []
        no_entity = [pl.lit(NO_ENTITY_VALUE).alias(name) for name in added]
        on_demand = registry.list_on_demand_feature_views(project, allow_cache=True)
        return PolarsRetrievalJob(
            lambda: join_facts(entities.with_columns(no_entity), tables, event_timestamp=moment).drop(added),
            full_feature_names=full_feature_names,
            on_demand_feature_views=[view for view in on_demand if any(ref.startswith(f"{view.name}:") for ref in feature_refs)],
            metadata=RetrievalMetadata(feature_refs, [name for name in entities.columns if name != moment], *span),
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
        """The newest row of each key within [start_date, end_date]; rows with a null key are left out. A feature that the table
        lacks is null.
        """
        times = [name for name in (timestamp_field, created_timestamp_column) if name]
        bounds = (time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC) for time in (start_date, end_date))
        rows = _with_nulls(_table(config, data_source).scan(*bounds), feature_name_columns)
        schema = rows.collect_schema()
        rows = rows.select(*join_key_columns, *feature_name_columns, *(utc(name, schema[name]) for name in times))
        known = rows.drop_nulls(join_key_columns).sort(times, maintain_order=True)
        return PolarsRetrievalJob(known.unique(join_key_columns, keep="last", maintain_order=True).collect)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: Any, progress: Callable[[int], Any] | None
    ) -> None:
        """Appends rows to the view's Delta table atomically, as FeatureTable.append."""
        rows = cast(pl.DataFrame, pl.from_arrow(table))
        _table(config, cast(DataSource, feature_view.batch_source)).append(rows)
        if progress:
            progress(rows.height)

    def validate_data_source(self, config: RepoConfig, data_source: DataSource) -> None:
        """A missing table is legal at `feast apply`; one without its timestamp column raises ValueError."""
        with suppress(MissingFeatureTable):
            _table(config, data_source).scan()

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> list[tuple[str, str]]:
        """The columns of rows to write, with Arrow's names of their types. Raises MissingFeatureTable."""
        columns = pl.DataFrame(schema=_table(config, data_source).schema()).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        return [(column.name, str(column.type)) for column in columns]


class FeatureTable(NamedTuple):
    """`owner` names the view or source in messages; `timestamp` is the column that ranges and partitions follow."""

    owner: str
    path: Path
    timestamp: str

    def scan(self, since: datetime | None = None, until: datetime | None = None) -> pl.LazyFrame:
        """Rows with `since` <= timestamp <= `until` (in UTC; None: open).

        Raises MissingFeatureTable, and ValueError for a table without the timestamp column.
        """
        table, by_day = (None, False) if self.path.is_file() else self._open()
        rows = pl.scan_delta(table) if table else pl.scan_parquet(self.path)
        schema = rows.collect_schema()
        if self.timestamp not in schema:
            raise ValueError(f"{self.owner} · no column {self.timestamp!r}; found: {', '.join(schema)}. Name the right one.")
        moment, day = utc(self.timestamp, schema[self.timestamp]), pl.col(PARTITION)
        if since is not None:
            rows = rows.filter(moment >= since, *([day >= since.date()] if by_day else []))
        if until is not None:
            rows = rows.filter(moment <= until, *([day <= until.date()] if by_day else []))
        return rows

    def schema(self) -> pl.Schema:
        """The columns of rows to append: without the partition column, which follows from the timestamp."""
        table, by_day = self._open()
        columns = pl.scan_delta(table).collect_schema().items()
        return pl.Schema({name: dtype for name, dtype in columns if not by_day or name != PARTITION})

    def append(self, rows: pl.DataFrame) -> None:
        """Adds rows to a Delta table, which is created by day, gets new columns and is widened; a reader sees all of them or
        none. Raises IncompatibleRows where the table would change a value.
        """
        stored, by_day = (self.schema(), self._open()[1]) if self.path.exists() else (pl.Schema(), True)
        # pandas has whole numbers with gaps as floats, and nanoseconds
        both = [name for name, dtype in rows.schema.items() if name in stored and pl.String() not in (dtype, stored[name])]
        equal = [name for name in both if not count_changed(rows, name, stored[name])]
        rows = rows.with_columns(converted(name, rows.schema[name], stored[name]).alias(name) for name in equal)
        if by_day:
            rows = rows.with_columns(utc(self.timestamp, rows.schema[self.timestamp]).dt.date().alias(PARTITION))
        append_rows(self.path, rows)

    def _open(self) -> tuple[DeltaTable, bool]:
        """The Delta table, and whether whole days can be skipped without opening their files."""
        try:
            table = DeltaTable(str(self.path))
        except TableNotFoundError:
            legal = "a Delta table, or a Parquet file that is only read"
            message = f"no table at {self.path}; legal: {legal}. Materialize the features of this view first."
            raise MissingFeatureTable(f"{self.owner} · {message}") from None
        return table, PARTITION in table.metadata().partition_columns


def _facts(config: RepoConfig, view: FeatureView, refs: list[str], *, prefixed: bool, span: TimeSpan, is_new: bool) -> Facts:
    """The requested features of one view, as far as entity rows within a span of time can use them; none of a new one."""
    (first, last), source, ref = span, cast(DataSource, view.batch_source), f"{view.projection.name_to_use()}:"
    prefix = f"{view.projection.name_alias or view.name}__" if prefixed else ""
    features = [name.removeprefix(ref) for name in refs if name.startswith(ref)]
    since = first - view.ttl if first and view.ttl else None
    columns = (*view.join_keys, source.timestamp_field, source.created_timestamp_column or source.timestamp_field)
    none = pl.LazyFrame(schema=dict.fromkeys(columns, pl.Null()))
    return Facts(
        view=view.name,
        rows=_with_nulls(none if is_new else _table(config, source).scan(since, last), features),
        keys={key: view.projection.join_key_map.get(key, key) for key in view.join_keys},
        features={name: prefix + name for name in features},
        timestamp=source.timestamp_field,
        created=source.created_timestamp_column or None,
        ttl=view.ttl or timedelta(0),
    )


def _with_nulls(rows: pl.LazyFrame, names: Sequence[str]) -> pl.LazyFrame:
    """With the names that the rows lack, and with the key of a view without entities."""
    stored = rows.collect_schema()
    missing = (pl.lit(None).alias(name) for name in names if name not in stored)
    return rows.with_columns(*missing, pl.lit(NO_ENTITY_VALUE).alias(NO_ENTITY))


def _table(config: RepoConfig, source: DataSource) -> FeatureTable:
    # An absolute right side of `/` wins, so absolute roots and paths stay as they are.
    root = Path(config.repo_path or ".") / cast(PolarsOfflineStoreConfig, config.offline_store).root
    return FeatureTable(f"feature source {source.name!r}", root / cast(Any, source).path, source.timestamp_field)
