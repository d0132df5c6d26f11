"""A training that a person requests: recorded for the daemon, or run in this process; and how it ended."""

import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.graph.progress import Progress, training_stages
from mlops_assets.graph.trainings import ONE_AT_A_TIME, REQUEST, read_trainings, version_of
from mlops_assets.resources import LedgerResource, WarehouseResource
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.promotion.promotion_state import PromotionState

POLL_S = 0.5
BLESSED, FAILED, REFUSED = 0, 1, 3  # exit codes of `mlops train`; click exits with 2 where the arguments are wrong
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class CannotTrain(RuntimeError):
    """No training starts: one runs already, there is too little data, or no reason is stated."""


class Outcome(NamedTuple):
    message: str
    exit_code: int


@dataclass(frozen=True)
class ManualTraining:
    """A training of one use case that a person wants, on an event log; `report` gets a line for each stage."""

    use_case: UseCase
    instance: dg.DagsterInstance
    ledger: LedgerResource
    warehouse: WarehouseResource
    by: str
    because: str
    report: Callable[[str], None] = lambda _line: None

    @property
    def reason(self) -> str:
        return f"{self.because} (requested by {self.by})"

    def require_possible(self, now: datetime) -> None:
        """Raises CannotTrain."""
        from mlops_assets.features.enough_data import describe_missing

        name, trainings = self.use_case.name, read_trainings(self.use_case, self.instance, self._state())
        if not self.because.strip():
            raise CannotTrain(f"{name} · because = {self.because!r}; legal: the reason for the training. State it.")
        if trainings.is_running:
            run = trainings.records[0].dagster_run
            problem = (
                f"run {run.run_id[:8]} ({run.tags.get('mlops/reason', 'materialized by hand')}) is {run.status.value.lower()}"
            )
            raise CannotTrain(f"{name} · a training is in progress: {problem}. Wait for its end; `mlops status {name}` shows it.")
        if requested := trainings.requested(now):
            raise CannotTrain(
                f"{name} · a training is requested already: {requested.reason}. The daemon starts it within seconds."
            )
        if missing := describe_missing(self.use_case, self.warehouse.open(), now=now):
            remedy = f"Land more files: `mlops land {name}`, or landing/{name}/TABLE/ of the home"
            raise CannotTrain(f"{name} · not enough data: {missing} {remedy}.")

    def submit(self) -> str:
        """Lets the daemon start it within seconds; returns the value of its run's tag REQUEST."""
        at = f"{datetime.now(UTC).timestamp():.6f}"
        key = dg.AssetKey(names.stage(self.use_case.name, "training_set"))
        event = dg.AssetObservation(key, description=self.reason, tags={REQUEST: at}, metadata={"by": self.by})
        self.instance.report_runless_asset_event(event)
        return at

    def follow(self, at: str, pause: Callable[[float], None]) -> Outcome:
        """The end of what was submitted."""
        progress = self._progress(float(at))
        tags = {REQUEST: at, ONE_AT_A_TIME: self.use_case.name}
        while True:
            records = self.instance.get_run_records(dg.RunsFilter(tags=tags), limit=1)
            progress.update()
            if records and records[0].dagster_run.is_finished:
                return describe_end(self.use_case, records[0], self.instance, self._state())
            pause(POLL_S)

    def run_here(self, job: dg.JobDefinition) -> Outcome:
        """Runs the training job in this process; nothing else may write to the home meanwhile."""
        tags = {"mlops/reason": self.reason, ONE_AT_A_TIME: self.use_case.name}
        quiet = warnings.catch_warnings(action="ignore")  # Dagster's, about its own MLflow resource
        with _updated(self._progress(datetime.now(UTC).timestamp())), quiet:
            result = job.execute_in_process(run_config=QUIET, instance=self.instance, tags=tags, raise_on_error=False)
        record = self.instance.get_run_records(dg.RunsFilter(run_ids=[result.run_id]), limit=1)[0]
        return describe_end(self.use_case, record, self.instance, self._state())

    def _progress(self, since: float) -> Progress:
        return Progress(self.instance, training_stages(self.use_case), self.report, since=since)

    def _state(self) -> "PromotionState":
        return self.ledger.open().state(self.use_case.name)


@contextmanager
def _updated(progress: Progress) -> Generator[None]:
    import_module("sqlalchemy.orm")  # while MLflow imports it in the main thread, a query of another thread fails
    ended = threading.Event()

    def update() -> None:
        while not ended.wait(POLL_S):
            progress.update()

    thread = threading.Thread(target=update, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        progress.update()


def describe_end(use_case: UseCase, record: dg.RunRecord, instance: dg.DagsterInstance, state: "PromotionState") -> Outcome:
    """How the training ended, in one sentence, and what to do next."""
    run = record.dagster_run
    version = version_of(use_case, instance, run.run_id)
    serves_on = f" Version {state.plan.champion} serves on." if state.plan and state.plan.champion != version else ""
    trainings = read_trainings(use_case, instance, state)
    if refusal := trainings.refusal_of(run):
        gates = ", ".join(gate["gate"] for gate in refusal.body["evidence"].get("gates", ())) or "its verification"
        return Outcome(f"Version {refusal.version} is refused by {gates}: {refusal.body['reason']}{serves_on}", REFUSED)
    if run.status is dg.DagsterRunStatus.SUCCESS and version is not None:
        is_known = state.blessings[version].by != f"run {run.run_id[:8]}"
        known = "Same data and declaration as before, and so the same model. " if is_known else ""
        return Outcome(known + describe_version(use_case, state, version), BLESSED)
    if run.status is dg.DagsterRunStatus.CANCELED:
        return Outcome(f"Run {run.run_id[:8]} was canceled.{serves_on}", FAILED)
    failure = trainings.failure
    again = f'`mlops train {use_case.name} --because "…"` tries again.'
    return Outcome(f"{failure or f'Run {run.run_id[:8]} trained no version.'} Remove the cause; {again}{serves_on}", FAILED)


def describe_version(use_case: UseCase, state: "PromotionState", version: int) -> str:
    """What a blessed version does now."""
    plan, blessed = state.plan, f"Version {version} is blessed"
    if plan and plan.champion == version:
        return f"{blessed} and serves."
    if plan and version in plan.versions:
        return f"{blessed}; {plan.rollout}. Version {plan.champion} serves."
    if use_case.risk == "high" and version not in state.approvals:
        command = f'`mlops approve {use_case.name} {version} --why "…"`'
        return f"{blessed} and waits for an approval, as its risk is high. Read its evaluation, then run {command}."
    if state.hold:
        return f"{blessed} and waits. {state.why_held}"
    by_hand = f" The route by hand stays: `mlops route {use_case.name} --hand-over` ends it." if state.by_hand else ""
    return f"{blessed}, and its rollout has not started.{by_hand}"
