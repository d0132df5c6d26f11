"""Runs that have failed and that nothing has made good."""

from collections.abc import Sequence
from typing import NamedTuple

import dagster as dg

from mlops_assets.graph.kernel.lasting_failures import has_mistake
from mlops_assets.graph.trainings import error_of, is_run_of

PASSES = "Remove the cause: it is tried again after half an hour, then after pauses that double, up to a day."
RETRIED = "It is tried again at once."
LASTS = "Correct the file, the code or the declaration: what has failed is tried again then, and not before."
WILL_RETRY = "dagster/will_retry"  # the tag of a failed run that the daemon starts again
NEWEST = 200  # runs, of all use cases, that are looked at


class FailedRun(NamedTuple):
    tables: str  # a few that it was to make
    message: str


def is_retried(run: dg.DagsterRun) -> bool:
    """Whether the daemon starts it again, as its process ended before the run was over."""
    return run.tags.get(WILL_RETRY) == "true"


def read_failed_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Of the newest runs, newest first."""
    runs = (record.dagster_run for record in instance.get_run_records(limit=NEWEST))
    return [run for run in runs if run.status is dg.DagsterRunStatus.FAILURE]


def find_failed_run(use_case: str, instance: dg.DagsterInstance, failed: Sequence[dg.DagsterRun]) -> FailedRun | None:
    """The newest one whose failed assets no later run has made again; trainings are reported elsewhere."""
    for run in failed:
        keys = run.asset_selection or set()
        if not is_run_of(use_case, run) or not keys or any("mlops/training" in tag for tag in run.tags):
            continue
        failures = _failed_assets(instance, run.run_id) or keys
        if all(record.asset_entry.last_run_id == run.run_id for record in instance.get_asset_records([*failures])):
            tables = ", ".join(sorted(key.path[-1] for key in failures)[:2])
            remedy = LASTS if has_mistake(run.tags) else RETRIED if is_retried(run) else PASSES
            return FailedRun(tables, f"Run {run.run_id[:8]} of {tables} failed: {error_of(instance, run.run_id)} {remedy}")
    return None


def _failed_assets(instance: dg.DagsterInstance, run_id: str) -> set[dg.AssetKey]:
    """Those of the steps that failed; none where the run ended outside of its steps."""
    planned, failure = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, dg.DagsterEventType.STEP_FAILURE
    events = [entry.dagster_event for entry in instance.all_logs(run_id, of_type={planned, failure}) if entry.dagster_event]
    steps = {event.step_key for event in events if event.is_step_failure}
    return {event.asset_key for event in events if event.asset_key and not event.is_step_failure and event.step_key in steps}
