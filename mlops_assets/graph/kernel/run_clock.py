"""The clock of a run, by which no row counts before its time."""

from datetime import UTC, datetime

import dagster as dg


def run_started(context: dg.AssetExecutionContext) -> datetime:
    """When the run was created: the same for every asset of the run, and for a run that is retried."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return record.create_timestamp if record else datetime.now(UTC)
