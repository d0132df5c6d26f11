"""The clock of a run, by which no row counts before its time."""

from datetime import UTC, datetime

import dagster as dg

AS_OF = "mlops/as_of"  # the tag of a run of another time than now, such as one of a backtest


def run_started(context: dg.AssetExecutionContext) -> datetime:
    """When the run was created: the same for every asset of the run, and for a run that is retried."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return run_time(record) if record else datetime.now(UTC)


def run_time(record: dg.RunRecord) -> datetime:
    """When a run was created, or the time in its tag AS_OF."""
    as_of = record.dagster_run.tags.get(AS_OF)
    return datetime.fromisoformat(as_of) if as_of else record.create_timestamp


def event_time(instance: dg.DagsterInstance, entry: dg.EventLogEntry) -> datetime:
    """When an event was logged, or the time of its run's tag."""
    run = instance.get_run_by_id(entry.run_id)
    as_of = run.tags.get(AS_OF) if run else None
    return datetime.fromisoformat(as_of) if as_of else datetime.fromtimestamp(entry.timestamp, UTC)
