"""What `mlops status` shows of a platform's Dagster: a daemon or an automation that is stopped, and trainings."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from mlops_assets.foundation import names
from mlops_assets.foundation.home import Home
from mlops_assets.foundation.moments import to_second
from mlops_assets.graph.failed_runs import find_failed_run, read_failed_runs
from mlops_assets.graph.kernel.asset_metadata import WARNING
from mlops_assets.graph.kernel.check_verdict import check_keys, read_verdicts
from mlops_assets.graph.kernel.dagster_internals import newest_checks, stopped_sensors
from mlops_assets.graph.kernel.switch import why_stopped
from mlops_assets.graph.monitors.investigation import read_top_cause, with_cause
from mlops_assets.graph.training_triggers import TrainingTriggers
from mlops_assets.graph.trainings import read_trainings
from mlops_assets.resources import WarehouseResource
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.promotion.promotion_state import PromotionState

DAEMON = "SENSOR"  # the daemon's thread that evaluates triggers; all threads are one process
SILENCE = timedelta(minutes=2)  # a heartbeat is due every 30 s


def describe_operations(
    use_case: UseCase, home: Home, instance: dg.DagsterInstance | None, *, state: "PromotionState", now: datetime
) -> list[str]:
    """Nothing where there is no event log."""
    if instance is None:
        return []
    try:
        training = _describe_training(use_case, home, instance, state, now)
        stopped = why_stopped(use_case.name, stopped_sensors(instance))
        failed = find_failed_run(use_case.name, instance, read_failed_runs(instance))
        described = {"automation": stopped, "training": training, "warning": _describe_warning(use_case, instance)}
        described["failed"] = failed.message if failed else ""
        lines = (f"{name}: {text}" for name, text in described.items() if text)
        warehouse = WarehouseResource(folder=str(home.tables))
        triggers = TrainingTriggers(use_case, instance, state, warehouse, now).describe()
        return [*describe_daemon(instance, now), *lines, *triggers, *describe_monitors(use_case, instance, now)]
    except (OSError, SQLAlchemyError, dg.DagsterError) as error:
        return [f"runs: {instance.root_directory} cannot be read: {str(error).partition(chr(10))[0]}"]


def newest_heartbeat(instance: dg.DagsterInstance) -> datetime | None:
    """Of the daemon; None before its first."""
    heartbeat = instance.get_daemon_statuses([DAEMON])[DAEMON].last_heartbeat
    return datetime.fromtimestamp(heartbeat.timestamp, UTC) if heartbeat else None


def describe_daemon(instance: dg.DagsterInstance, now: datetime) -> Iterator[str]:
    at = newest_heartbeat(instance)
    if at is None or abs(now - at) > SILENCE:  # a heartbeat to come is that of a clock that was set back since
        since = f"since {to_second(at)}" if at else "yet"
        stopped = "no trigger, monitor or rollout runs, and nothing that lands is read"
        yield f"daemon: no heartbeat {since}: {stopped}. Start it with `mlops up`; its log is logs/daemon.log."


def describe_monitors(use_case: UseCase, instance: dg.DagsterInstance, now: datetime) -> Iterator[str]:
    """A line for each, with its newest verdict."""
    checks, top = newest_checks(instance, [*check_keys(use_case).values()]), read_top_cause(instance, use_case.name)
    for stage, _, verdict in read_verdicts(use_case, checks, now=now):
        yield f"{stage}: {verdict.verdict} · {with_cause(verdict.message, stage, top)}" if verdict else f"{stage}: not judged yet"


def _describe_warning(use_case: UseCase, instance: dg.DagsterInstance) -> str:
    """Of the newest evaluation."""
    event = instance.get_latest_materialization_event(dg.AssetKey(names.stage(use_case.name, "evaluation")))
    made = event.asset_materialization if event else None
    metadata: Mapping[str, dg.MetadataValue[Any]] = made.metadata if made else {}
    return f"version {metadata['model_version'].value} · {metadata[WARNING].value}" if WARNING in metadata else ""


def _describe_training(
    use_case: UseCase, home: Home, instance: dg.DagsterInstance, state: "PromotionState", now: datetime
) -> str:
    """Empty while a version serves or waits and the newest training has not failed."""
    trainings = read_trainings(use_case, instance, state)
    if trainings.failure:
        return f"{trainings.failure} {trainings.outlook}"
    is_due, message = trainings.next(now)
    if not is_due:
        return message if trainings.is_running or not (state.plan or state.waiting) else ""
    from mlops_assets.features.enough_data import describe_missing
    from mlops_assets.foundation.delta_tables import DeltaTables

    missing = describe_missing(use_case, DeltaTables(home.tables), now=now)
    return f"the first one waits: {missing}" if missing else "the first one is due: there is enough data"
