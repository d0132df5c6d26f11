"""How tables travel between assets: dagster-polars' Delta IO manager, taught to write and read a range of days.

Belongs here: the IO manager and what it says of a table. Not here: where the tables lie (resources.py).
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import polars as pl
from dagster_polars import PolarsDeltaIOManager
from upath import UPath

DAY = {"partition_by": "day"}
LAZY = dg.PythonObjectDagsterType(pl.LazyFrame, name="Table")


class DayTables(PolarsDeltaIOManager):
    """One Delta table per asset, partitioned by `day`; a run overwrites just its own days, one or many."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        if not context.has_asset_partitions:
            return super().handle_output(context, obj)
        frame = obj.collect() if isinstance(obj, pl.LazyFrame) else obj
        self._overwrite(context.asset_partition_keys, frame, self._table(context))
        context.add_output_metadata(self.get_metadata(context, frame))

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
            delta_write_options={"partition_by": "day", "predicate": f"day >= DATE '{first}' AND day <= DATE '{last}'"},
        )

    def _table(self, context: dg.OutputContext) -> UPath:
        return self._with_extension(self._get_path_without_extension(context))


def build_io_managers(tables: str, values: str) -> dict[str, Any]:
    """`tables` for Delta tables; `values` for the small frozen values between training assets."""
    files = dg.FilesystemIOManager(base_dir=values)
    return {"tables": DayTables(base_dir=tables), "values": files, "io_manager": files}
