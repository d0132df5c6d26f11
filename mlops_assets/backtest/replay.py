"""Replays history step by step: files land, requests are answered, monitors, triggers, gates and rollouts act."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from mlops_assets.backtest.history import History
from mlops_assets.backtest.ingestion import plan_ingestion
from mlops_assets.backtest.record import Alarm, Gate, Replay, Step, Training
from mlops_assets.backtest.retrained import Retrained
from mlops_assets.backtest.server import Server
from mlops_assets.backtest.settings import IllegalBacktest, Settings
from mlops_assets.foundation import names
from mlops_assets.foundation.home import Environment
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.graph.in_process import Check, InProcess, Ran
from mlops_assets.graph.monitors.investigation import STAGE as INVESTIGATION
from mlops_assets.graph.monitors.investigation import read_top_cause
from mlops_assets.graph.rollout import open_rollouts
from mlops_assets.graph.training_triggers import Request
from mlops_assets.ingestion.landing import Landing
from mlops_assets.spec.monitor import JudgedByRows

RECORD = "backtest.json"  # in the home of the backtest
BY = "the backtest"
Report = Callable[[str, float], None]  # what is done now, and how many steps are done, in parts


class ReplayFailed(RuntimeError):
    """A run of the graph failed in a way that no declaration allows for."""


@dataclass
class Replayer:
    """One backtest in the home of `environment`, which nothing else uses."""

    settings: Settings
    environment: Environment
    history: History
    platform: InProcess
    report: Report

    @property
    def retrained(self) -> Retrained:
        return Retrained(self.platform, self.environment.home.root / "retrained")

    def begin(self) -> Replay:
        """Everything before the first step lands, and the first model is trained. Raises IllegalBacktest, ReplayFailed."""
        at, use_case = self.settings.start, self.settings.use_case
        self.report(f"the history before {self.settings.first} lands", 0.0)
        self._ingest(None, at)
        due = self.platform.due_training(at=at)
        if isinstance(due, str):
            problem = f"the history before --from {self.settings.first} is too short for a first model"
            raise IllegalBacktest(f"{use_case.name} · {problem}. {due} Choose a later day.")
        self.report("the first model is trained", 0.0)
        first = self._train(due, at)
        if first.outcome != "blessed":
            why = first.error or " ".join(gate.message for gate in first.gates if not gate.passed)
            problem = f"the first model, trained at --from {self.settings.first}, was {first.outcome}"
            raise IllegalBacktest(f"{use_case.name} · {problem}, so that nothing would serve: {why} Choose a later day.")
        assert first.version is not None
        self.retrained.keep(0, first.version, at=at)
        return Replay(self.settings.fingerprint, first)

    def step(self, replay: Replay, requests: pl.DataFrame) -> Step:
        """The next step. `requests` are all of the backtest. Raises ReplayFailed."""
        number = len(replay.steps)
        start, end = self.settings.steps[number]
        self.report(f"files of {start:%d %b} to {end:%d %b} land", number)
        self._ingest(start, end)
        moment = pl.col(EVENT_TIMESTAMP)
        own = requests.filter((moment >= start) & (moment < end))
        self._answer(own, number)
        self.report("the monitors look", number + 0.5)
        alarms = self._monitor(end)
        self.platform.advance_rollout(at=end)
        training = None if number + 1 == len(self.settings.steps) else self._retrain(number, end)
        return Step(start, end, len(own), alarms, training)

    def _retrain(self, number: int, at: datetime) -> Training | None:
        """The training that triggers ask for, and the model of a retraining in every step."""
        self.report("models are trained", number + 0.6)
        due = self.platform.due_training(at=at)
        training = None if isinstance(due, str) else self._train(due, at)
        if training and training.version is not None:
            self.retrained.keep(number + 1, training.version, at=at)
        elif problem := self.retrained.train(number + 1, at=at):
            raise ReplayFailed(f"{self.settings.use_case.name} · no model can be trained at {at:%Y-%m-%d}: {problem}")
        return training

    def _ingest(self, after: datetime | None, until: datetime) -> None:
        use_case, landing = self.settings.use_case, Landing(self.environment.home.landing)
        delivered = self.history.deliver(landing, after=after, until=until)
        landed = History(use_case, landing).partitions
        for paths, keys in plan_ingestion(use_case, delivered, landed, after=after, until=until):
            self._require(self.platform.materialize(paths, at=until, keys=keys))

    def _answer(self, requests: pl.DataFrame, number: int) -> None:
        server = Server(self.settings.use_case, self.environment, self.platform.resources(self.settings.start))
        for at, batch in server.batches(requests):
            self.report(f"requests of {at:%d %b}", number + 0.4)
            server.answer(batch, at=at)
            self.platform.advance_rollout(at=at)

    def _monitor(self, at: datetime) -> list[Alarm]:
        use_case = self.settings.use_case
        investigated = [INVESTIGATION] if any(isinstance(one, JudgedByRows) for one in use_case.monitors) else []
        watched = ("predictions", "outcomes", *use_case.monitor_stages, *investigated)
        ran = self._require(self.platform.materialize([names.stage(use_case.name, name) for name in watched], at=at))
        failed = [check for check in ran.checks if not check.passed and check.asset in use_case.monitor_stages]
        explained = read_top_cause(self.platform.instance, use_case.name).monitors
        return [_alarm(ran, check, at, is_explained=check.asset in explained) for check in failed]

    def _train(self, due: Request, at: datetime) -> Training:
        ran = self.platform.train(due, at=at)
        version = ran.metadata.get("candidate", {}).get("model_version")
        gates = [Gate(one.name, one.passed, one.message, one.figures.get("measured"), one.figures.get("bound"))
                 for one in ran.checks if one.asset == "evaluation"]  # fmt: skip
        refused = any(not gate.passed for gate in gates)
        error = "" if ran.succeeded or refused else ran.error
        if ran.succeeded:
            self._approve(at)
        return Training(at, due.reason, version, ran.succeeded, gates, error)

    def _approve(self, at: datetime) -> None:
        """Where a person has to approve a version, the backtest does, at once."""
        rollouts = open_rollouts(self.settings.use_case, self.platform.resources(at)["rollout_stores"])
        state = rollouts.promotions.state()
        if self.settings.use_case.risk == "high" and state.waiting is not None and state.waiting not in state.approvals:
            rollouts.promotions.approve(state.waiting, why="a backtest approves at once", by=BY, at=at)
            self.platform.advance_rollout(at=at)

    def _require(self, ran: Ran) -> Ran:
        if not ran.succeeded and ran.error:
            raise ReplayFailed(f"{self.settings.use_case.name} · run {ran.run_id[:8]} failed: {ran.error}")
        return ran


def _alarm(ran: Ran, check: Check, at: datetime, *, is_explained: bool) -> Alarm:
    """With what the investigation of the same run says about it."""
    tables = _tables(ran, check.asset)
    if not is_explained:
        return Alarm(at, check.asset, check.message, tables)
    causes = {f"{INVESTIGATION}: causes": _tables(ran, INVESTIGATION).get("causes", [])}
    return Alarm(at, check.asset, f"{check.message} {ran.metadata[INVESTIGATION]['verdict']}", tables | causes)


def _tables(ran: Ran, asset: str) -> dict[str, list[dict[str, Any]]]:
    """The tables that an asset showed."""
    return {name: value for name, value in ran.metadata.get(asset, {}).items() if isinstance(value, list)}
