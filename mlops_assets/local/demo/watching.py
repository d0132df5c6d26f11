"""What the demo reads from the platform: its runs, its tables, its newest metadata and check results."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg
import polars as pl
import typer

from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.promotion_state import PromotionState
from mlops_assets.spec.monitor import Drift, Monitor, Performance
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics.binary import BinarySample
from mlops_assets.statistics.metrics import measure
from mlops_assets.training.onnx_model import OnnxModel

ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
UNFINISHED = [status for status in dg.DagsterRunStatus if status not in ENDED]
# The check of each monitor that triggers a training, and the asset that the monitor reads.
CHECKS: dict[type[Monitor], tuple[str, str]] = {Drift: (Drift.CHECK, "predictions"), Performance: (Performance.CHECK, "outcomes")}
PATIENCE_S = 600
LOOKS_WITHIN_S = 12  # the sensor that starts trainings, which ticks every 5 s


class StillWaiting(TimeoutError):
    """The platform did not reach a state in time."""


@dataclass
class Watcher:
    """One use case on one instance. Prints a line when a run starts or ends."""

    use_case: UseCase
    instance: dg.DagsterInstance
    tables: DeltaTables
    deployment: Deployment
    ledger: Ledger
    reported: dict[str, str] = field(default_factory=dict[str, str])

    def wait_until(self, state: str, is_reached: Callable[[], bool]) -> None:
        """Checks every second and reports runs meanwhile. Raises StillWaiting."""
        deadline = time.monotonic() + PATIENCE_S
        while not is_reached():
            if time.monotonic() > deadline:
                raise StillWaiting(f"{state} · not reached in {PATIENCE_S} s. Look at the runs and at logs/ in the home folder.")
            self._report_runs()
            time.sleep(1)
        self._report_runs()

    def state(self) -> PromotionState:
        return self.ledger.state(self.use_case.name)

    def features_reach(self, day: date) -> bool:
        """Every daily feature view is online up to `day`, and nothing runs."""
        if self.is_running():  # first: it is one query, and the platform needs the cores
            return False
        for view in self.use_case.features.views:
            feature, online = names.feature(self.use_case.name, view.name), names.online(self.use_case.name, view.name)
            filled = self.instance.get_materialized_partitions(dg.AssetKey(feature))
            is_online = day.isoformat() in filled and self._materialized_at(feature) < self._materialized_at(online)
            if self.use_case.is_due(*view.tables) and not is_online:
                return False
        return True

    def monitors_reach(self, last: date) -> bool:
        """The monitors have evaluated the predictions of `last`, and any training that they caused has ended."""
        if self.is_running():
            return False
        reads = {"outcomes": "predictions"} | {stage: read for stage, (_, read) in self._monitors().items()}
        at = {stage: self._materialized_at(names.stage(self.use_case.name, stage)) for stage in ("predictions", *reads)}
        in_order = all(at[read] < at[stage] for stage, read in reads.items())
        trained_at = max((record.end_time or 0.0 for record in self.trainings()), default=0.0)
        # An alarm since the last training ended may be due to cause one, where the sensor has not looked yet.
        since = max(trained_at, time.time() - LOOKS_WITHIN_S)
        alarms = (at for _, at, result in self._check_results() if not result.passed and _word(result, "reason_to_train"))
        is_due = any(at > since for at in alarms)
        return in_order and not is_due and self.predicted_until() >= last

    def predicted_until(self) -> date:
        """The day of the newest prediction in the table; date.min without one."""
        path = names.stage(self.use_case.name, "predictions")
        if not self.tables.exists(path):
            return date.min
        newest = self.tables.scan(path).select(pl.col(names.EVENT_TIMESTAMP).max()).collect().item()
        return newest.date() if newest else date.min

    def count_rows(self, path: names.AssetPath) -> str:
        return f"{self.tables.scan(path).select(pl.len()).collect().item():,}"

    def is_running(self) -> bool:
        return bool(self.instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)))

    def trainings(self) -> list[dg.RunRecord]:
        """The training runs, oldest first."""
        return [*reversed(self.instance.get_run_records(dg.RunsFilter(tags={"mlops/training": self.use_case.name})))]

    def verdicts(self) -> dict[str, str]:
        """The newest result of each monitor's check."""
        results = {name: f"{_word(result, 'verdict')} · {result.description}" for name, _, result in self._check_results()}
        return {name: results.get(name, "not evaluated yet") for name in self._monitors()}

    def months(self) -> Iterator[tuple[str, ...]]:
        """Month, rows, versions, AUC served, and AUC of the first model on the same inputs, formatted."""
        outcomes = self.tables.scan(names.stage(self.use_case.name, "outcomes")).collect()
        first_model = OnnxModel.from_bytes(self.deployment.load(self.deployment.versions()[0])[0])
        month = pl.col(names.EVENT_TIMESTAMP).dt.strftime("%Y-%m")
        scored = outcomes.with_columns(month=month, first_model=pl.Series(first_model.predict(outcomes))).sort("month")
        for (name,), rows in scored.group_by("month", maintain_order=True):
            labels = rows[self.use_case.label.name].to_numpy()
            versions = "+".join(str(version) for version in sorted(rows["model_version"].unique()))
            aucs = (measure("auc", BinarySample(labels, rows[column].to_numpy())) for column in ("probability", "first_model"))
            yield str(name), f"{len(rows):,}", f"version {versions}", *(f"{auc:.4f}" for auc in aucs)

    def metadata(self, stage: str) -> dict[str, Any]:
        """The newest materialization's metadata, as plain values."""
        event = self.instance.get_latest_materialization_event(dg.AssetKey(names.stage(self.use_case.name, stage)))
        materialization = event.asset_materialization if event else None
        return {name: value.value for name, value in materialization.metadata.items()} if materialization else {}

    def _materialized_at(self, path: names.AssetPath) -> float:
        event = self.instance.get_latest_materialization_event(dg.AssetKey(path))
        return event.timestamp if event else 0.0

    def _monitors(self) -> dict[str, tuple[str, str]]:
        """The monitors that trigger a training, by name."""
        declared = self.use_case.monitor_stages.items()
        return {stage: CHECKS[type(monitor)] for stage, monitor in declared if type(monitor) in CHECKS}

    def _check_results(self) -> Iterator[tuple[str, float, dg.AssetCheckEvaluation]]:
        """Name, time and result of each monitor's newest check."""
        for name, (check, _) in self._monitors().items():
            key = dg.AssetCheckKey(dg.AssetKey(names.stage(self.use_case.name, name)), check)
            record = self.instance.event_log_storage.get_latest_asset_check_execution_by_key([key]).get(key)
            if record and record.event and (result := record.event.asset_check_evaluation):
                yield name, record.create_timestamp, result

    def _report_runs(self) -> None:
        for record in reversed(self.instance.get_run_records(limit=20)):
            run = record.dagster_run
            status = run.status.value.lower() if run.status in ENDED else "started"
            if run.status is dg.DagsterRunStatus.QUEUED or self.reported.get(run.run_id) == status:
                continue
            self.reported[run.run_id] = status
            first, last = (run.tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
            days = f", {first} to {last}" if first else ""
            took = f" in {record.end_time - record.start_time:.0f} s" if record.end_time and record.start_time else ""
            target = f"{len(run.asset_selection)} assets" if run.asset_selection else run.job_name
            typer.echo(f"    run {run.run_id[:8]} {status}{took}: {target}{days} · {run.tags.get('mlops/reason', '')}")


def _word(result: dg.AssetCheckEvaluation, name: str) -> Any:
    """An entry of what a monitor stores with the result of its check."""
    return result.metadata[name].value if name in result.metadata else None
