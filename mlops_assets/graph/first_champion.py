"""A use case on its way from landed files to a served champion: what the platform has done, and what stops it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import dagster as dg

from mlops_assets.foundation.home import Environment
from mlops_assets.graph.failed_runs import is_retried
from mlops_assets.graph.kernel.changes import read_changes
from mlops_assets.graph.kernel.conditions import UNFINISHED
from mlops_assets.graph.kernel.dagster_internals import oldest_tick
from mlops_assets.graph.kernel.dagster_storage import share_engines
from mlops_assets.graph.kernel.shared_sensors import MAX_IDLE_S
from mlops_assets.graph.landing import describe_unread, is_raw_behind
from mlops_assets.graph.operations import describe_daemon
from mlops_assets.graph.progress import Progress, all_stages, training_stages
from mlops_assets.graph.training_requests import (
    BLESSED,
    FAILED,
    CannotTrain,
    ManualTraining,
    Outcome,
    describe_end,
    describe_version,
)
from mlops_assets.graph.trainings import Trainings, error_of, is_run_of, read_trainings
from mlops_assets.ingestion.refusals import Refusals, UnreadableRefusals
from mlops_assets.promotion.promotion_state import PromotionState
from mlops_assets.resources import Resources, build_resources
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.promotion.deployment import Plan

# Without an event: conditions wait for 8 s without a file, sensors tick every 5 s, and look at what is unchanged once a minute.
QUIET_S = 90.0
SETTLED_S = 20.0  # in which what has landed or was declared anew has started a run
POLL_S = 1.0
TAKE_OVER_S = 60.0  # until a server loads the first version


@dataclass
class FirstChampion:
    """`began` is the time of the epoch since which the platform has worked on it, as `by` wants it."""

    use_case: UseCase
    instance: dg.DagsterInstance
    resources: Resources
    progress: Progress
    began: float
    by: str
    has_requested: bool = False
    quiet_since: float = field(default_factory=monotonic)
    planned_at: float | None = None
    newest_event: int = 0

    def find_end(self) -> Outcome | None:
        """What serves, or what stops it and what to do; None while the platform goes on."""
        name, before = self.use_case.name, len(self.progress.stages)
        newest, self.newest_event = self.newest_event, read_changes(self.instance).newest(name).event
        if newest != self.newest_event:  # a dozen queries
            self.progress.update()
        state = self.resources["ledger"].open().state(name)
        if state.plan:
            return None if self._must_read() else self._served(state.plan)
        if len(self.progress.stages) < before or self._is_busy():
            self.quiet_since = monotonic()
            return None
        if newest != self.newest_event:  # such as files that are reported, some at each tick of the sensor
            self.quiet_since = monotonic()
        trainings = read_trainings(self.use_case, self.instance, state)
        is_new = bool(trainings.records) and trainings.records[0].create_timestamp.timestamp() > self.began
        if state.waiting is not None and self.use_case.risk == "high" and state.waiting not in state.approvals:
            return Outcome(describe_version(self.use_case, state, state.waiting), BLESSED)
        if is_new and is_retried(trainings.records[0].dagster_run):  # such as one whose process was killed
            return None
        if is_new:
            return describe_end(self.use_case, trainings.records[0], self.instance, state)
        quiet_s = monotonic() - self.quiet_since
        goes_on = (quiet_s > SETTLED_S and self._request_again(trainings)) or quiet_s <= QUIET_S or self._is_behind()
        return None if goes_on else self._stopped(state)

    def _request_again(self, trainings: Trainings) -> bool:
        """Whether it requests a training, once: the daemon repeats one only after a pause, or with new data."""
        if self.has_requested or not (why := trainings.why_again):
            return False
        because = f"`mlops run`, as {why}"
        training = ManualTraining(
            self.use_case, self.instance, self.resources["ledger"], self.resources["warehouse"], self.by, because
        )
        try:
            training.require_possible(datetime.now(UTC))
        except CannotTrain:  # the outcome has the reason
            return False
        at, self.has_requested, self.quiet_since = training.submit(), True, monotonic()
        self.progress.report(f"  A training is requested: {why}.")
        self.progress = replace(self.progress, stages=training_stages(self.use_case), since=float(at))
        return True

    def _served(self, plan: "Plan") -> Outcome | None:
        """None while the servers load it."""
        self.planned_at = self.planned_at or monotonic()
        name, problems = self.use_case.name, list[str]()
        for service in self.resources["live_services"].open(name):
            with service:
                served = service.follows(name, lambda: plan, 0)
            if served.in_force:
                ask = f"Ask it: `mlops predict {name} --sample 3`"
                return Outcome(f"Version {plan.champion} serves at {service.url}/{name}. {ask}", BLESSED)
            problems.append(served.problem)
        if monotonic() - self.planned_at < TAKE_OVER_S:
            return None
        return Outcome(f"Version {plan.champion} is the champion, and no server follows: {' '.join(problems)}", FAILED)

    def _must_read(self) -> bool:
        """Whether the tables of a champion do not have all that has landed yet, and the platform works on it."""
        landing, tables = self.resources["landing"].open(), self.resources["warehouse"].open()
        if monotonic() - self.quiet_since > QUIET_S:
            return False
        is_unread = any(describe_unread(self.use_case, self.instance, landing, tables, fetches=True))
        return is_unread or is_raw_behind(self.use_case, self.instance) or self._is_busy()

    def _is_busy(self) -> bool:
        runs = self.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        return any(is_run_of(self.use_case.name, run) for run in runs)

    def _is_behind(self) -> bool:
        """Whether the daemon works, and has not evaluated every sensor since then on a busy machine."""
        now = datetime.now(UTC)
        due = now.timestamp() - (monotonic() - self.quiet_since) + MAX_IDLE_S
        return oldest_tick(self.instance, MAX_IDLE_S) < due and not [*describe_daemon(self.instance, now)]

    def _stopped(self, state: PromotionState) -> Outcome:
        trainings = read_trainings(self.use_case, self.instance, state)
        if trainings.records:
            return describe_end(self.use_case, trainings.records[0], self.instance, state)
        return Outcome(next(self._obstacles()), FAILED)

    def _obstacles(self) -> Iterator[str]:
        """The first is what stops it."""
        from mlops_assets.features.enough_data import describe_missing

        name = self.use_case.name
        for run in self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), limit=20):
            if is_run_of(name, run):
                yield f"Run {run.run_id[:8]} failed: {error_of(self.instance, run.run_id)} Remove the cause; it is tried again."
        yield from refused_files(self.use_case, self.resources)
        if missing := describe_missing(self.use_case, self.resources["warehouse"].open(), now=datetime.now(UTC)):
            yield f"Not enough data: {missing} Land more: `mlops land {name}`, or files in landing/{name}/TABLE/ of the home."
        yield from describe_daemon(self.instance, datetime.now(UTC))
        yield f"Nothing has run for {QUIET_S:g} s. Look at logs/daemon.log of the home, and at `mlops status {name}`."


def await_champions(
    use_cases: Sequence[UseCase],
    environment: Environment,
    *,
    report: Callable[[str, str], None],
    began: float,
    by: str,
    is_new: bool,
    pause: Callable[[float], None],
) -> list[Outcome]:
    """How each use case ends; `report` gets its name and a line for each stage, and for the end. The platform is running, and
    where it `is_new`, its daemon has no heartbeat yet.
    """
    share_engines()
    resources, outcomes = build_resources(environment), list[Outcome]()
    with dg.DagsterInstance.from_config(str(environment.home.dagster)) as instance:
        for line in () if is_new else describe_daemon(instance, datetime.now(UTC)):
            report("", line)
        ways = [
            FirstChampion(one, instance, resources, Progress(instance, all_stages(one), partial(report, one.name)), began, by)
            for one in use_cases
        ]
        while ways:
            for way, outcome in [(way, way.find_end()) for way in ways]:
                if outcome:
                    report(way.use_case.name, f"  {outcome.message}")
                    outcomes.append(outcome)
                    ways.remove(way)
            pause(POLL_S if ways else 0)
    return outcomes


def refused_files(use_case: UseCase, resources: Resources, *, waived: bool = False) -> Iterator[str]:
    """A line for each landed file that failed a check, with what to do; `waived`: also those that are used nevertheless."""
    landing = Path(resources["landing"].folder)
    for table in (source.table for source in use_case.sources):
        try:
            refusals = Refusals.of(landing, use_case.name, table).read()
        except UnreadableRefusals as error:
            yield f"{table} · {error}"
            continue
        for key, refusal in refusals.items():
            if refusal.waiver and not waived:
                continue
            can_waive = refusal.file and not refusal.waiver
            remedy = f" Or `mlops waive {use_case.name} {table} {key} --why …`." if can_waive else ""
            yield f"{table} {key}{'' if refusal.is_gap else ' failed'}. {refusal.message}{remedy}"
