"""What the demo sees of the platform: its runs, its tables, its newest evidence.

Belongs here: reading and waiting. Not here: starting anything, and the report's layout (report.py).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.names import GOOD_ENOUGH, NO_DRIFT
from mlops_assets.promotion.deployment import Deployment, Plan
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.promotion_state import PromotionState, promotion_state_of
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics.metrics import measure
from mlops_assets.training.onnx_model import OnnxModel

Say = Callable[[str], None]
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
TRAINING = "mlops/training"


class StillWaiting(TimeoutError):
    """The platform did not reach a state in time; the message says which, and where to look."""


@dataclass
class Watcher:
    """One use case on one instance. `say` gets a line when a run starts or ends."""

    use_case: UseCase
    instance: dg.DagsterInstance
    tables: DeltaTables
    deployment: Deployment
    ledger: Ledger
    say: Say
    seen: dict[str, str] = field(default_factory=dict[str, str])

    def wait_until(self, what: str, holds: Callable[[], bool], *, timeout_s: float) -> None:
        """Looks twice a second, telling of runs meanwhile. Raises StillWaiting."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                raise StillWaiting(
                    f"{what} · not reached in {timeout_s:.0f} s. Look at the runs and at logs/ in the home folder."
                )
            self._tell()
            time.sleep(0.5)
        self._tell()

    def state(self) -> PromotionState:
        return promotion_state_of(self.use_case.name, self.ledger.records(self.use_case.name))

    def on_trial(self) -> int | None:
        return self.state().challenger_version

    def changes(self, *, after: int) -> list[str]:
        """What the ledger says has changed since record `after`, a line each."""
        records = self.ledger.records(self.use_case.name, after=after)
        return [
            f"{each.kind} of version {each.body['version']}: {each.body['reason']}" for each in records if "reason" in each.body
        ]

    def features_reach(self, day: date) -> bool:
        """Every daily feature view has been carried online up to `day`, and nothing runs."""
        daily = [view for view in self.use_case.features.views if self.use_case.is_daily(*view.tables)]
        return all(self._has(names.online(self.use_case.name, view.name), day) for view in daily) and not self.running()

    def monitors_saw(self, last: date) -> bool:
        """The monitors have judged the answers of `last`, and any training that they asked for has ended."""
        newest = [self._newest(name) for name in ("predictions", "outcomes", "performance", "drift")]
        in_order = newest[0] < newest[1] < newest[2] and newest[0] < newest[3]
        return in_order and self.answered_until() >= last and not self.running() and not self._training_due()

    def answered_until(self) -> date:
        path = names.stage(self.use_case.name, "predictions")
        if not self.tables.exists(path):
            return date.min
        found = self.tables.scan(path).select(pl.col("event_timestamp").max()).collect().item()
        return found.date() if found else date.min

    def running(self) -> bool:
        unfinished = [status for status in dg.DagsterRunStatus if status not in ENDED]
        return bool(self.instance.get_run_records(dg.RunsFilter(statuses=unfinished)))

    def trainings(self) -> list[dg.RunRecord]:
        """The training runs, oldest first."""
        tags = {TRAINING: self.use_case.name}
        return [*reversed(self.instance.get_run_records(dg.RunsFilter(tags=tags)))]

    def plan(self) -> Plan | None:
        return self.deployment.plan()

    def verdict(self, monitor: str) -> str:
        """What the newest check of a monitor said."""
        key = _check_keys(self.use_case)[monitor]
        record = self.instance.event_log_storage.get_latest_asset_check_execution_by_key([key]).get(key)
        evaluation = record.event.asset_check_evaluation if record and record.event else None
        return (
            f"{'within bounds' if evaluation.passed else 'ALARM'} · {evaluation.description}"
            if evaluation
            else "nothing judged yet"
        )

    def months(self) -> list[dict[str, Any]]:
        """By month of prediction: what served and how well, beside the first model, frozen, on the same logged inputs."""
        outcomes = self.tables.scan(names.stage(self.use_case.name, "outcomes")).collect()
        frozen = OnnxModel.from_bytes(self.deployment.load(self.deployment.versions()[0])[0])
        month = pl.col("event_timestamp").dt.strftime("%Y-%m")
        scored = outcomes.with_columns(month=month, frozen=pl.Series(frozen.predict(outcomes))).sort("month")
        return [self._month(str(month), rows) for (month,), rows in scored.group_by("month", maintain_order=True)]

    def _month(self, month: str, rows: pl.DataFrame) -> dict[str, Any]:
        truth = rows[self.use_case.label.name].to_numpy()
        versions = "+".join(str(version) for version in sorted(rows["model_version"].unique()))
        served, frozen = (measure("auc", truth, rows[column].to_numpy()) for column in ("probability", "frozen"))
        return {"month": month, "rows": len(rows), "versions": versions, "served": served, "frozen": frozen}

    def metadata(self, stage: str) -> dict[str, Any]:
        """The newest materialization's metadata, as plain values."""
        event = self.instance.get_latest_materialization_event(dg.AssetKey(names.stage(self.use_case.name, stage)))
        found = event.asset_materialization if event else None
        return {name: value.value for name, value in found.metadata.items()} if found else {}

    def _has(self, key: names.AssetPath, day: date) -> bool:
        return day.isoformat() in self.instance.get_materialized_partitions(dg.AssetKey(key))

    def _newest(self, stage: str) -> float:
        event = self.instance.get_latest_materialization_event(dg.AssetKey(names.stage(self.use_case.name, stage)))
        return event.timestamp if event else 0.0

    def _training_due(self) -> bool:
        """A monitor's check has failed since the last training ended: its sensor has yet to look."""
        return any(failed > self._last_training() for failed in self._failed_checks())

    def _failed_checks(self) -> list[float]:
        keys = list(_check_keys(self.use_case).values())
        records = self.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys).values()
        evaluations = [(record, record.event.asset_check_evaluation) for record in records if record.event]
        return [record.create_timestamp for record, evaluation in evaluations if evaluation and not evaluation.passed]

    def _last_training(self) -> float:
        runs = self.trainings()
        return (runs[-1].end_time or 0.0) if runs else 0.0

    def _tell(self) -> None:
        for record in reversed(self.instance.get_run_records(limit=20)):
            run = record.dagster_run
            state = "started" if run.status not in ENDED else run.status.value.lower()
            if run.status is not dg.DagsterRunStatus.QUEUED and self.seen.get(run.run_id) != state:
                self.seen[run.run_id] = state
                self.say(_line(record, state))


def _line(record: dg.RunRecord, state: str) -> str:
    run = record.dagster_run
    first, last = (run.tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    days = f", {first} to {last}" if first else ""
    took = f" in {record.end_time - record.start_time:.0f} s" if record.end_time and record.start_time else ""
    what = f"{len(run.asset_selection)} assets" if run.asset_selection else run.job_name
    return f"    run {run.run_id[:8]} {state}{took}: {what}{days} · {run.tags.get('mlops/reason', '')}"


def _check_keys(use_case: UseCase) -> dict[str, dg.AssetCheckKey]:
    asked = {"drift": NO_DRIFT, "performance": GOOD_ENOUGH}
    return {stage: dg.AssetCheckKey(dg.AssetKey(names.stage(use_case.name, stage)), check) for stage, check in asked.items()}
