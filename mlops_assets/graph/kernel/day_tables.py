"""dagster-polars' Delta IO manager, extended to write and read a range of days. Imports polars and deltalake."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import polars as pl
from dagster_polars import PolarsDeltaIOManager
from dagster_polars.io_managers.delta import DeltaSchemaMode, DeltaWriteMode
from deltalake import DeltaTable
from upath import UPath

from mlops_assets.foundation.delta_tables import NO_STATISTICS

# The parent's default is the word's text, which it then takes for the word.
OVERWRITE = DeltaWriteMode.overwrite
# A training set with another feature replaces the old one whole.
NEW_SCHEMA = DeltaSchemaMode.overwrite


class DayTables(PolarsDeltaIOManager):
    """One Delta table per asset, partitioned by `day`; a run overwrites just its own days, one or many."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        if not context.has_asset_partitions:
            return super().handle_output(context, obj)
        frame = obj.collect() if isinstance(obj, pl.LazyFrame) else obj
        self._overwrite(context.asset_partition_keys, frame, self._table(context))
        context.add_output_metadata(self.get_metadata(context, frame))

    def load_from_path(self, context: dg.InputContext, path: UPath) -> pl.LazyFrame:
        """Always lazy: the parent asks the asset's annotation, which does not name Polars' class (graph/kernel/tables.py)."""
        if not path.exists():
            raise FileNotFoundError(f"{path} · there is no such table. Materialize the asset that it belongs to.")
        return self.scan_df_from_path(path, context)

    def scan_df_from_path(self, path: UPath, context: dg.InputContext) -> pl.LazyFrame:
        frame = pl.scan_delta(str(path))
        if not context.has_asset_partitions:
            return frame
        days = sorted(context.asset_partition_keys)
        return frame.filter(pl.col("day").is_between(pl.lit(days[0]).str.to_date(), pl.lit(days[-1]).str.to_date()))

    def _overwrite(self, days: Sequence[str], frame: pl.DataFrame, path: UPath) -> None:
        first, last = min(days), max(days)
        frame.write_delta(
            str(path),
            mode="overwrite",
            delta_write_options={
                "partition_by": "day",
                "predicate": f"day >= DATE '{first}' AND day <= DATE '{last}'",
                "configuration": NO_STATISTICS,
            },
        )

    def write_df_to_path(self, context: dg.OutputContext, df: pl.DataFrame, path: UPath) -> None:
        """As the parent, which takes no properties of a table."""
        options = {"schema_mode": "overwrite", "configuration": NO_STATISTICS}
        df.write_delta(str(path), mode="overwrite", delta_write_options=options)
        context.add_output_metadata({"version": DeltaTable(str(path)).version()})

    def _table(self, context: dg.OutputContext) -> UPath:
        return self._with_extension(self._get_path_without_extension(context))
