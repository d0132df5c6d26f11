"""dagster-polars' Delta IO manager, extended to write and read a range of partitions. Imports polars and deltalake."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from dagster_polars import PolarsDeltaIOManager
from dagster_polars.io_managers.delta import DeltaSchemaMode, DeltaWriteMode
from deltalake import DeltaTable
from upath import UPath

from mlops_assets.foundation import names
from mlops_assets.foundation.conversions import sql_of, type_of_sql
from mlops_assets.foundation.delta_tables import NO_STATISTICS, Span, require_grain, require_migrated, write_span
from mlops_assets.graph.kernel.asset_metadata import ADDED_COLUMNS, SCHEMA
from mlops_assets.graph.kernel.tables import GRAIN, PARTITION_COLUMN, RENAMED

# The parent's default is the text "overwrite", which it then compares with the enum.
OVERWRITE = DeltaWriteMode.overwrite
# A training set with another feature replaces the old one, schema included.
NEW_SCHEMA = DeltaSchemaMode.overwrite


class DayTables(PolarsDeltaIOManager):
    """One Delta table per asset, stored by `day`; a run overwrites just its own partitions, one or many."""

    def get_asset_relative_path(self, context: dg.InputContext | dg.OutputContext) -> UPath:
        return UPath(names.table_path([*context.asset_key.path]).with_suffix(""))

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        if not context.has_asset_partitions:
            return super().handle_output(context, obj)
        frame = obj.collect() if isinstance(obj, pl.LazyFrame) else obj
        self._overwrite(context, frame)
        context.add_output_metadata(self.get_metadata(context, frame))

    def get_metadata(self, context: dg.OutputContext, obj: Any) -> dict[str, dg.MetadataValue]:
        """Columns as the asset or its contract describes them, and the row count. The parent's sample rows and statistics take
        seconds for millions of rows, and the event log would keep personal data for good.
        """
        frame = obj.lazy().collect()
        count = "dagster/partition_row_count" if context.has_partition_key else "dagster/row_count"
        megabytes = dg.MetadataValue.float(frame.estimated_size(unit="mb"))
        schema = dg.MetadataValue.table_schema(_described(context, frame))
        return {SCHEMA: schema, count: dg.MetadataValue.int(len(frame)), "estimated_size_mb": megabytes}

    def load_from_path(self, context: dg.InputContext, path: UPath) -> pl.LazyFrame:
        """Always lazy: the parent reads the asset's annotation, which is not a Polars class here (graph/kernel/tables.py)."""
        if not path.exists():
            raise FileNotFoundError(f"{path} · the table does not exist. Materialize {context.asset_key.path[-1]} first.")
        return self.scan_df_from_path(path, context)

    def scan_df_from_path(self, path: UPath, context: dg.InputContext) -> pl.LazyFrame:
        metadata: Mapping[str, Any] = context.upstream_output.definition_metadata if context.upstream_output else {}
        _require_as_declared(path, metadata)
        frame = _as_declared(pl.scan_delta(str(path)), metadata.get(SCHEMA))
        if not context.has_asset_partitions:
            return frame
        return frame.filter(_span(context, metadata).rows())

    def _overwrite(self, context: dg.OutputContext, frame: pl.DataFrame) -> None:
        path = self._with_extension(self._get_path_without_extension(context))
        metadata = context.definition_metadata
        _require_as_declared(path, metadata, writes=True)
        write_span(Path(str(path)), frame, _span(context, metadata), metadata.get(GRAIN))

    def write_df_to_path(self, context: dg.OutputContext, df: pl.DataFrame, path: UPath) -> None:
        # The parent's own method has no way to set table properties.
        metadata = context.definition_metadata
        require_grain(Path(str(path)), metadata.get(GRAIN), writes=True)
        options = {"schema_mode": "overwrite", "configuration": NO_STATISTICS, "description": metadata.get(GRAIN)}
        df.write_delta(str(path), mode="overwrite", delta_write_options=options)
        context.add_output_metadata({"version": DeltaTable(str(path)).version()})


def _described(context: dg.OutputContext, frame: pl.DataFrame) -> dg.TableSchema:
    own, declared = context.output_metadata.get(SCHEMA), context.definition_metadata.get(SCHEMA)
    if isinstance(own, dg.TableSchemaMetadataValue):
        return own.schema
    columns = {column.name: column for column in declared.columns} if declared else {}
    types = {name: dg.TableColumn(name, sql_of(dtype), ADDED_COLUMNS.get(name)) for name, dtype in frame.schema.items()}
    return dg.TableSchema([columns.get(name, column) for name, column in types.items()])


def _require_as_declared(path: UPath, metadata: Mapping[str, Any], *, writes: bool = False) -> None:
    require_migrated(Path(str(path)), metadata.get(RENAMED, {}))
    require_grain(Path(str(path)), metadata.get(GRAIN), writes=writes)


def _span(context: dg.InputContext | dg.OutputContext, metadata: Mapping[str, Any]) -> Span:
    """What is stored of the partitions of a run."""
    window = context.asset_partitions_time_window
    return Span(metadata[PARTITION_COLUMN], window.start, window.end)


def _as_declared(frame: pl.LazyFrame, schema: dg.TableSchema | None) -> pl.LazyFrame:
    """The rows of a table that was last written before a column was added, which is null, or became a float."""
    declared = {column.name: column.type for column in schema.columns} if schema else {}
    types, stored = {name: type_of_sql(text) for name, text in declared.items()}, frame.collect_schema()
    added = [pl.lit(None, dtype).alias(name) for name, dtype in types.items() if name not in stored]
    floats = [name for name, dtype in types.items() if dtype == pl.Float64() and stored.get(name) == pl.Int64()]
    return frame.with_columns(*added, *(pl.col(name).cast(pl.Float64()) for name in floats)) if added or floats else frame
