"""The training runs of a use case: when the first is due, when a failed one is tried again, and why it failed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.durations import SKEW, is_over
from mlops_assets.foundation.moments import to_minute
from mlops_assets.graph.kernel.conditions import MADE, UNFINISHED
from mlops_assets.graph.kernel.dagster_internals import newest_events
from mlops_assets.graph.kernel.dagster_runs import is_made_by_other_code
from mlops_assets.graph.kernel.run_clock import run_time
from mlops_assets.spec.use_case import Stage, UseCase
from mlops_assets.triggers.memory import PastTraining

if TYPE_CHECKING:
    from mlops_assets.promotion.ledger_chain import Record
    from mlops_assets.promotion.promotion_state import PromotionState

ONE_AT_A_TIME = "mlops/training"  # the tag of every training; its value is the use case
# What a training was requested for, and in which state: tags of its run, which the triggers remember it by.
REASON, SYMPTOMS, DATA, CHAMPION = "mlops/reason", "mlops/symptoms", "mlops/data", "mlops/champion"
REQUEST = "mlops/request"  # the tag of an observation of the training set that requests a training, and of its run
MAX_DOUBLED = 12  # failures: from then on the pause is a day
NEWEST = 50  # trainings that are remembered: the pause after failures or in vain is longest with fewer
# After the first failure; doubled by every further one, unless there is newer data.
PAUSE, LONGEST_PAUSE = timedelta(minutes=5), timedelta(days=1)
STAGES: tuple[Stage, ...] = ("training_set", "candidate", "evaluation")
SHOWN = 300  # characters of an error


class RequestedTraining(NamedTuple):
    """`at` identifies the request."""

    at: str
    reason: str


class NextTraining(NamedTuple):
    """Whether a training is due now, and why or why not."""

    is_due: bool
    message: str


@dataclass(frozen=True)
class Trainings:
    """The newest training runs of one use case in one event log, newest first, and what the ledger has recorded."""

    use_case: UseCase
    instance: dg.DagsterInstance
    state: "PromotionState"
    records: Sequence[dg.RunRecord]

    def next(self, now: datetime) -> NextTraining:
        """A first training is due here once there is enough data, which the caller checks."""
        if self.is_running:
            return NextTraining(False, "A training runs or is queued.")
        if self.failure:
            is_due = self._has_paused(now)
            return NextTraining(is_due, f"again: {self.failure}" if is_due else f"{self.failure} {self.outlook}")
        if self.state.plan:
            return NextTraining(False, f"Version {self.state.plan.champion} serves.")
        if self.state.waiting is not None:
            return NextTraining(False, f"Version {self.state.waiting} is blessed.")
        if self.records and not (self._has_new_data and self._has_paused(now)):
            run = self.records[0].dagster_run.run_id[:8]
            by_hand = f"or by `mlops train {self.use_case.name} --because …` after a change of the declaration"
            problem = f"Run {run} trained no version that may serve"
            return NextTraining(False, f"{problem}; the next starts when new data has come, {by_hand}.")
        return NextTraining(True, "first model: there is enough data, and no version serves or waits")

    def requested(self, now: datetime) -> RequestedTraining | None:
        """What a person requested after the newest training was created, and not while one runs."""
        newest = self.records[0].create_timestamp.timestamp() if self.records else 0.0
        newest = newest if newest < (now + SKEW).timestamp() else 0.0  # by a clock that was set back since
        events = self.instance.fetch_observations(dg.AssetKey(names.stage(self.use_case.name, "training_set")), limit=1).records
        observed = events[0].asset_observation if events and events[0].timestamp > newest and not self.is_running else None
        at = (observed.tags or {}).get(REQUEST) if observed else None
        return RequestedTraining(at, observed.description or "") if observed and at else None

    @property
    def is_running(self) -> bool:
        return bool(self.records) and self.records[0].dagster_run.status in UNFINISHED

    @cached_property
    def failure(self) -> str:
        """Of the newest training, where an error ended it; a candidate that the gates refused has not failed."""
        if not self.records or self.records[0].dagster_run.status is not dg.DagsterRunStatus.FAILURE:
            return ""
        run = self.records[0].dagster_run
        return "" if self.refusal_of(run) else f"Run {run.run_id[:8]} failed: {error_of(self.instance, run.run_id)}"

    def refusal_of(self, run: dg.DagsterRun) -> "Record | None":
        """Of the version that it trained. The same version, refused again for the same reason, adds no record to the ledger."""
        own = [refusal for refusal in self.state.refusals.values() if refusal.by == f"run {run.run_id[:8]}"]
        if own or run.status is not dg.DagsterRunStatus.FAILURE:
            return next(iter(own), None)
        if not is_stopped_by_gate(self.use_case, self.instance, run.run_id):
            return None
        return self.state.refusals.get(version_of(self.use_case, self.instance, run.run_id) or 0)

    @property
    def retry_at(self) -> datetime:
        """After a pause that grows with every failure in a row, unless there is newer data."""
        return end_of(self.records[0]) + self._pause

    def _has_paused(self, now: datetime) -> bool:
        return is_over(now - end_of(self.records[0]), self._pause)

    @property
    def _pause(self) -> timedelta:
        failures = 1 if self._has_new_data else min(self._failures_in_a_row, MAX_DOUBLED)
        return min(LONGEST_PAUSE, PAUSE * 2 ** (failures - 1))

    @property
    def past(self) -> list[PastTraining]:
        """Those that came to a result, oldest first."""
        outcomes = [(record, self._outcome_of(record.dagster_run)) for record in reversed(self.records)]
        return [_past_training(record, outcome) for record, outcome in outcomes if outcome]

    def _outcome_of(self, run: dg.DagsterRun) -> str:
        """In words; empty where it runs, or an error ended it."""
        by = f"run {run.run_id[:8]}"
        if refusal := self.refusal_of(run):
            gates = ", ".join(gate["gate"] for gate in refusal.body["evidence"].get("gates", ()))
            return f"version {refusal.version} was refused by {gates or 'its verification'}"
        for version, blessing in self.state.blessings.items():
            if blessing.by == by:
                return f"version {version} was blessed"
        ends = {dg.DagsterRunStatus.CANCELED: "was canceled", dg.DagsterRunStatus.SUCCESS: "gave a version that was known"}
        return f"{by} {ends[run.status]}" if run.status in ends else ""

    @property
    def why_again(self) -> str:
        """What has changed since the newest training, which ended without a version; empty where nothing has."""
        if not self.records or self.is_running or self.state.plan or self.state.waiting is not None:
            return ""
        run = self.records[0].dagster_run.run_id[:8]
        if self.failure:
            return f"run {run} failed"
        if self._is_of_other_code:
            return f"the declaration has changed since run {run}"
        return f"new data has come since run {run}" if self._has_new_data else ""

    @property
    def _is_of_other_code(self) -> bool:
        codes = ((dg.AssetKey(names.stage(self.use_case.name, stage)), self.use_case.fingerprint(stage)) for stage in STAGES)
        return any(is_made_by_other_code(self.instance, key, code, partitioned=False) for key, code in codes)

    @property
    def outlook(self) -> str:
        """What happens after a failure."""
        champion = f"; version {self.state.plan.champion} serves on" if self.state.plan else ""
        again = f"It is tried again from {to_minute(self.retry_at)}, earlier with newer data"
        return f"{again} or by `mlops train {self.use_case.name} --because …`{champion}."

    @property
    def _failures_in_a_row(self) -> int:
        succeeded = (record.dagster_run.status is dg.DagsterRunStatus.SUCCESS for record in self.records)
        return max(1, next((number for number, success in enumerate(succeeded) if success), len(self.records)))

    @cached_property
    def _has_new_data(self) -> bool:
        """Whether requests or labels were validated since the newest training was requested. Events are compared by their ids, as
        their times are of a clock that may be set back.
        """
        requested = self.instance.get_records_for_run(self.records[0].dagster_run.run_id, limit=1).records
        since = requested[0].storage_id if requested else 0
        newest = (newest_events(self.instance, key, MADE, partitioned=False) for key in training_tables(self.use_case))
        return any(event.get(None, 0) > since for event in newest)


def end_of(record: dg.RunRecord) -> datetime:
    """When a finished run ended; of a run of another time than now, as long after that as it took."""
    ended = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.update_timestamp
    return run_time(record) + (ended - record.create_timestamp)


def _past_training(record: dg.RunRecord, outcome: str) -> PastTraining:
    tags = record.dagster_run.tags
    champion = tags.get(CHAMPION, "")
    return PastTraining(
        frozenset(json.loads(tags.get(SYMPTOMS, "[]"))),
        tags.get(DATA, ""),
        int(champion) if champion else None,
        run_time(record),
        end_of(record),
        outcome,
    )


def read_trainings(use_case: UseCase, instance: dg.DagsterInstance, state: "PromotionState") -> Trainings:
    records = instance.get_run_records(dg.RunsFilter(tags={ONE_AT_A_TIME: use_case.name}), limit=NEWEST)
    return Trainings(use_case, instance, state, records)


def training_tables(use_case: UseCase) -> list[dg.AssetKey]:
    tables = dict.fromkeys((use_case.features.request_table, use_case.label.table))
    return [dg.AssetKey(names.validated(use_case.name, table)) for table in tables]


def is_run_of(use_case: str, run: dg.DagsterRun) -> bool:
    return run.tags.get(ONE_AT_A_TIME) == use_case or any(key.path[0] == use_case for key in run.asset_selection or ())


def error_of(instance: dg.DagsterInstance, run_id: str) -> str:
    """The error of the step that failed, on one line; of a process that died, what Dagster reports."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.ENGINE_EVENT}
    outside = ""  # of the steps: Dagster reports it as an event of its own, and the failure without a reason after it
    for event in (entry.dagster_event for entry in instance.all_logs(run_id, of_type=kinds)):
        if event and event.is_engine_event:
            error = event.engine_event_data.error
            outside = _shorten(_first_cause(error).message) if error else outside
            continue
        if event and event.is_step_failure and (sentence := event.step_failure_data.user_failure_data):
            return _shorten(sentence.description or "")
        if event and event.is_step_failure and (error := event.step_failure_data.error):
            return _shorten((error.cause or error).message)
        if event and not event.is_step_failure and (error := getattr(event.event_specific_data, "error", None)):
            return _shorten(_first_cause(error).message)  # such as that of an event log that does not answer
        if event:
            return outside or _shorten(event.message or "its process ended")
    return outside or _shorten("its process ended")


def _first_cause(error: Any) -> Any:
    """Dagster and SQLAlchemy wrap the error of a driver, each in its own words."""
    while error.cause:
        error = error.cause
    return error


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return f"{line.rstrip('.')}." if len(line) <= SHOWN else f"{line[:SHOWN]}…"


def version_of(use_case: UseCase, instance: dg.DagsterInstance, run_id: str) -> int | None:
    """The candidate that a run has trained."""
    key = dg.AssetKey(names.stage(use_case.name, "candidate"))
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
        made = entry.asset_materialization
        if made and made.asset_key == key:
            version = made.metadata["model_version"].value
            return version if isinstance(version, int) else None
    return None


def is_stopped_by_gate(use_case: UseCase, instance: dg.DagsterInstance, run_id: str) -> bool:
    key = dg.AssetKey(names.stage(use_case.name, "evaluation"))
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    results = [entry.dagster_event.asset_check_evaluation_data for entry in events if entry.dagster_event]
    return any(result.asset_key == key and not result.passed for result in results)
