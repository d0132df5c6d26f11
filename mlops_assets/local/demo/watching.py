"""What the demo reads from the platform: its runs, its tables, its newest metadata and check results."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.names import GOOD_ENOUGH, NO_DRIFT
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.promotion_state import PromotionState, promotion_state_of
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics.metrics import measure
from mlops_assets.training.onnx_model import OnnxModel

ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
UNFINISHED = [status for status in dg.DagsterRunStatus if status not in ENDED]
TRAINING = "mlops/training"
CHECKS = {"drift": NO_DRIFT, "performance": GOOD_ENOUGH}
PATIENCE_S = 600


class StillWaiting(TimeoutError):
    """The platform did not reach a state in time."""


@dataclass
class Watcher:
    """One use case on one instance. `say` is called with a line when a run starts or ends."""

    use_case: UseCase
    instance: dg.DagsterInstance
    tables: DeltaTables
    deployment: Deployment
    ledger: Ledger
    say: Callable[[str], None]
    reported: dict[str, str] = field(default_factory=dict[str, str])

    def wait_until(self, state: str, is_reached: Callable[[], bool]) -> None:
        """Checks twice a second and reports runs meanwhile. Raises StillWaiting."""
        deadline = time.monotonic() + PATIENCE_S
        while not is_reached():
            if time.monotonic() > deadline:
                raise StillWaiting(f"{state} · not reached in {PATIENCE_S} s. Look at the runs and at logs/ in the home folder.")
            self._report_runs()
            time.sleep(0.5)
        self._report_runs()

    def state(self) -> PromotionState:
        return promotion_state_of(self.use_case.name, self.ledger.records(self.use_case.name))

    def changes(self, *, after: int) -> list[str]:
        """The decisions in the ledger since record `after`, one line per record."""
        records = self.ledger.records(self.use_case.name, after=after)
        return [f"{row.kind} of version {row.body['version']}: {row.body['reason']}" for row in records if "reason" in row.body]

    def features_reach(self, day: date) -> bool:
        """Every daily feature view is online up to `day`, and nothing runs."""
        daily = [view.name for view in self.use_case.features.views if self.use_case.is_daily(*view.tables)]
        return all(self._is_online(view, day) for view in daily) and not self.is_running()

    def monitors_reach(self, last: date) -> bool:
        """The monitors have evaluated the predictions of `last`, and any training that they caused has ended."""
        stages = ("predictions", "outcomes", "performance", "drift")
        predictions, outcomes, performance, drift = (
            self._materialized_at(names.stage(self.use_case.name, stage)) for stage in stages
        )
        in_order = predictions < outcomes < performance and predictions < drift
        return in_order and self.predicted_until() >= last and not self.is_running() and not self._is_training_due()

    def predicted_until(self) -> date:
        """The day of the newest prediction in the table; date.min without one."""
        path = names.stage(self.use_case.name, "predictions")
        if not self.tables.exists(path):
            return date.min
        newest = self.tables.scan(path).select(pl.col("event_timestamp").max()).collect().item()
        return newest.date() if newest else date.min

    def is_running(self) -> bool:
        return bool(self.instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)))

    def trainings(self) -> list[dg.RunRecord]:
        """The training runs, oldest first."""
        tags = {TRAINING: self.use_case.name}
        return [*reversed(self.instance.get_run_records(dg.RunsFilter(tags=tags)))]

    def verdict(self, monitor: str) -> str:
        """The newest result of a monitor's check."""
        _, result = self._check_results().get(monitor, (0.0, None))
        return f"{'within bounds' if result.passed else 'ALARM'} · {result.description}" if result else "not evaluated yet"

    def months(self) -> Iterator[tuple[str, ...]]:
        """Month, rows, versions, AUC served, and AUC of the first model on the same inputs, formatted."""
        outcomes = self.tables.scan(names.stage(self.use_case.name, "outcomes")).collect()
        first_model = OnnxModel.from_bytes(self.deployment.load(self.deployment.versions()[0])[0])
        month = pl.col("event_timestamp").dt.strftime("%Y-%m")
        scored = outcomes.with_columns(month=month, first_model=pl.Series(first_model.predict(outcomes))).sort("month")
        for (name,), rows in scored.group_by("month", maintain_order=True):
            labels = rows[self.use_case.label.name].to_numpy()
            versions = "+".join(str(version) for version in sorted(rows["model_version"].unique()))
            aucs = (measure("auc", labels, rows[column].to_numpy()) for column in ("probability", "first_model"))
            yield str(name), f"{len(rows):,}", f"version {versions}", *(f"{auc:.4f}" for auc in aucs)

    def metadata(self, stage: str) -> dict[str, Any]:
        """The newest materialization's metadata, as plain values."""
        event = self.instance.get_latest_materialization_event(dg.AssetKey(names.stage(self.use_case.name, stage)))
        materialization = event.asset_materialization if event else None
        return {name: value.value for name, value in materialization.metadata.items()} if materialization else {}

    def _is_online(self, view: str, day: date) -> bool:
        feature, online = names.feature(self.use_case.name, view), names.online(self.use_case.name, view)
        is_filled = day.isoformat() in self.instance.get_materialized_partitions(dg.AssetKey(feature))
        return is_filled and self._materialized_at(feature) < self._materialized_at(online)

    def _materialized_at(self, path: names.AssetPath) -> float:
        event = self.instance.get_latest_materialization_event(dg.AssetKey(path))
        return event.timestamp if event else 0.0

    def _is_training_due(self) -> bool:
        """A check has failed since the last training ended: its sensor has not looked yet."""
        runs = self.trainings()
        trained_at = (runs[-1].end_time or 0.0) if runs else 0.0
        return any(at > trained_at for at, result in self._check_results().values() if not result.passed)

    def _check_results(self) -> dict[str, tuple[float, dg.AssetCheckEvaluation]]:
        """Time and result of each monitor's newest check, by monitor."""
        keys = {
            dg.AssetCheckKey(dg.AssetKey(names.stage(self.use_case.name, name)), check): name for name, check in CHECKS.items()
        }
        records = self.instance.event_log_storage.get_latest_asset_check_execution_by_key([*keys])
        events = [(keys[key], record.create_timestamp, record.event) for key, record in records.items() if record.event]
        return {name: (at, result) for name, at, event in events if (result := event.asset_check_evaluation)}

    def _report_runs(self) -> None:
        for record in reversed(self.instance.get_run_records(limit=20)):
            run = record.dagster_run
            status = run.status.value.lower() if run.status in ENDED else "started"
            if run.status is not dg.DagsterRunStatus.QUEUED and self.reported.get(run.run_id) != status:
                self.reported[run.run_id] = status
                self.say(_run_line(record, status))


def _run_line(record: dg.RunRecord, status: str) -> str:
    run = record.dagster_run
    first, last = (run.tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    days = f", {first} to {last}" if first else ""
    took = f" in {record.end_time - record.start_time:.0f} s" if record.end_time and record.start_time else ""
    target = f"{len(run.asset_selection)} assets" if run.asset_selection else run.job_name
    return f"    run {run.run_id[:8]} {status}{took}: {target}{days} · {run.tags.get('mlops/reason', '')}"
