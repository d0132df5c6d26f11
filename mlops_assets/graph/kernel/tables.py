"""What asset definitions say about tables: their types without loading Polars, their partitions, their IO managers."""

from collections.abc import Generator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from mlops_assets.foundation.calendars import Calendar, Partition
from mlops_assets.foundation.grains import declared_partitions
from mlops_assets.graph.kernel.dagster_partitions import remember_partitions
from mlops_assets.graph.kernel.dagster_storage import share_engines
from mlops_assets.graph.kernel.lasting_failures import FailingByRule
from mlops_assets.home_claim import HomeLock
from mlops_assets.spec.use_case import UseCase

# Metadata of a partitioned table, by the name of dagster-polars: the column by which a run overwrites its partitions.
PARTITION_COLUMN = "partition_by"
RENAMED = "mlops/renamed"  # metadata of a table's asset: the present names of its columns by their former ones
GRAIN = "mlops/grain"  # metadata of a table's asset: by which partitions its rows are stored
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

__all__ = [
    "GRAIN", "ONE_RUN", "PARTITION_COLUMN", "RENAMED", "DataFrame", "LazyFrame", "build_io_managers", "keys_in_run",
    "looking_back", "partitions_in_run", "partitions_of",
]  # fmt: skip


def build_io_managers(tables: str, values: str) -> dict[str, Any]:
    """`tables` for Delta tables, written by one platform at a time; `values` for the small frozen values between training assets.
    Both are folders of the home.
    """
    lock = HomeLock(root=str(Path(tables).parent))

    def open_tables(context: dg.InitResourceContext) -> Generator[dg.IOManager]:
        from mlops_assets.graph.kernel.day_tables import NEW_SCHEMA, OVERWRITE, DayTables

        share_engines()  # a landed day has 45 events
        with lock.yield_for_execution(context):
            opened = DayTables(base_dir=tables, mode=OVERWRITE, schema_mode=NEW_SCHEMA)
            opened.setup_for_execution(context)
            yield FailingByRule(opened)

    def open_values(context: dg.InitResourceContext) -> dg.IOManager:
        return FailingByRule(dg.FilesystemIOManager(base_dir=values).create_io_manager(context))

    files = dg.IOManagerDefinition(cast(Any, open_values))
    return {"tables": dg.IOManagerDefinition(cast(Any, open_tables)), "values": files, "io_manager": files}


def partitions_of(use_case: UseCase, calendar: Calendar) -> dg.TimeWindowPartitionsDefinition | None:
    """Those of the declared days; None for a calendar without a time."""
    first, last = declared_partitions(use_case, calendar)
    if not calendar.cron or first is None:
        return None
    remember_partitions()
    return dg.TimeWindowPartitionsDefinition(
        start=calendar.key(first),
        end=None if last is None else calendar.key(calendar.next(last)),
        fmt=calendar.format,
        cron_schedule=calendar.cron,
        timezone=calendar.tz,
    )


def looking_back(lookback: timedelta, calendar: Calendar, upstream: Calendar) -> dg.PartitionMapping | None:
    """A partition depends on those of `upstream` that it overlaps, and on the existing ones that hold the rows of `lookback`
    before it. None where that is the whole table.
    """
    if not upstream.cron:
        return None
    if not lookback and calendar == upstream:
        return dg.IdentityPartitionMapping()
    offset = -calendar.count_back(lookback)  # Dagster counts in the partitions of the reader
    return dg.TimeWindowPartitionMapping(start_offset=offset, allow_nonexistent_upstream_partitions=True)


def keys_in_run(context: dg.AssetExecutionContext, calendar: Calendar) -> Sequence[str]:
    """Of the partitions of this run, in order; several in a backfill, none for a calendar without a time."""
    return [*map(calendar.key, calendar.in_run(context.partition_keys))] if calendar.cron else []


def partitions_in_run(context: dg.AssetExecutionContext, calendar: Calendar) -> Sequence[Partition]:
    """As `keys_in_run`; the whole table for a calendar without a time."""
    return calendar.in_run(context.partition_keys if calendar.cron else [])
