"""How the days of a use case become Dagster partitions, and which days a run covers.

Belongs here: partitions, their mappings and their windows. Not here: which asset uses which.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg

from mlops_assets.spec.use_case import UseCase

ONE_RUN = dg.BackfillPolicy.single_run()


def days_of(use_case: UseCase) -> dg.DailyPartitionsDefinition:
    """One partition per UTC day that can land."""
    end = None if use_case.last_day is None else (use_case.last_day + timedelta(days=1)).isoformat()
    return dg.DailyPartitionsDefinition(use_case.first_day.isoformat(), end_date=end)


def looking_back(lookback: timedelta) -> dg.PartitionMapping:
    """A day needs itself and the days that its transform looks back on, as far as they can exist."""
    if not lookback:
        return dg.IdentityPartitionMapping()
    return dg.TimeWindowPartitionMapping(start_offset=-lookback.days, allow_nonexistent_upstream_partitions=True)


def days_in_run(context: dg.AssetExecutionContext) -> Sequence[date]:
    """The days of this run, in order; several in a backfill."""
    return [date.fromisoformat(key) for key in sorted(context.partition_keys)]
