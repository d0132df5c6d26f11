"""What asset definitions say about tables: their types without loading Polars, their daily partitions, their IO managers."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.foundation.durations import ONE_DAY, whole_days
from mlops_assets.resources import HomeLock
from mlops_assets.spec.use_case import UseCase

DAY = {"partition_by": "day"}
RENAMED = "mlops/renamed"  # metadata of a table's asset: the present names of its columns by their former ones
ONE_RUN = dg.BackfillPolicy.single_run()


def _polars_type(name: str) -> dg.DagsterType:
    def is_one(_context: dg.TypeCheckContext, value: object) -> bool:
        import polars as pl

        return isinstance(value, getattr(pl, name))

    return dg.DagsterType(is_one, name=name, description=f"A Polars {name}.")


if TYPE_CHECKING:
    from polars import DataFrame, LazyFrame
else:  # Dagster resolves the annotations of an asset when it is built
    DataFrame, LazyFrame = _polars_type("DataFrame"), _polars_type("LazyFrame")

__all__ = ["DAY", "ONE_RUN", "RENAMED", "DataFrame", "LazyFrame", "build_io_managers", "days_in_run", "days_of", "looking_back"]


def build_io_managers(tables: str, values: str) -> dict[str, Any]:
    """`tables` for Delta tables, written by one platform at a time; `values` for the small frozen values between training assets.
    Both are folders of the home.
    """
    lock = HomeLock(root=str(Path(tables).parent))

    def open_tables(context: dg.InitResourceContext) -> dg.IOManager:
        from mlops_assets.graph.kernel.day_tables import NEW_SCHEMA, OVERWRITE, DayTables

        lock.setup_for_execution(context)
        opened = DayTables(base_dir=tables, mode=OVERWRITE, schema_mode=NEW_SCHEMA)
        opened.setup_for_execution(context)
        return opened

    files = dg.FilesystemIOManager(base_dir=values)
    return {"tables": dg.IOManagerDefinition(open_tables), "values": files, "io_manager": files}


def days_of(use_case: UseCase) -> dg.DailyPartitionsDefinition:
    """One partition per UTC day that can land."""
    end = None if use_case.last_day is None else (use_case.last_day + ONE_DAY).isoformat()
    return dg.DailyPartitionsDefinition(use_case.first_day.isoformat(), end_date=end)


def looking_back(lookback: timedelta) -> dg.PartitionMapping:
    """A day depends on itself and on the existing days that hold the rows of `lookback` before it."""
    if not lookback:
        return dg.IdentityPartitionMapping()
    return dg.TimeWindowPartitionMapping(start_offset=-whole_days(lookback), allow_nonexistent_upstream_partitions=True)


def days_in_run(context: dg.AssetExecutionContext) -> Sequence[date]:
    """The days of this run, in order; several in a backfill."""
    return [date.fromisoformat(key) for key in sorted(context.partition_keys)]
