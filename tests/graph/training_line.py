"""One use case whose trainings are simulated on a real event log and ledger: alarms, data, trainings and how they end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.home import PROJECT, Home, read_environment
from mlops_assets.graph.training_triggers import Request, TrainingTriggers
from mlops_assets.graph.trainings import ONE_AT_A_TIME, REASON, end_of
from mlops_assets.graph.triggers import build_triggers
from mlops_assets.promotion.promotion_state import PromotionState, promotion_state_of
from mlops_assets.resources import build_resources
from mlops_assets.spec.use_case import UseCase
from tests.graph.line import variables
from tests.promotion.model_line import ModelLine


def is_trained(use_case: UseCase, instance: dg.DagsterInstance, root: Any) -> bool:
    """Whether the sensor starts a training."""
    return not isinstance(tick(use_case, instance, root), str)


def tick(use_case: UseCase, instance: dg.DagsterInstance, root: Any) -> dg.RunRequest | str:
    """What the sensor requests, or why nothing."""
    every: Any = build_resources(read_environment(variables(root), PROJECT))
    resources = {name: every[name] for name in ("home_lock", "ledger", "warehouse")}
    (sensor,) = (one for one in build_triggers(use_case)["sensors"] if one.name == names.job(use_case.name, "triggers"))
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        evaluated = sensor.evaluate_tick(context)
    return evaluated.run_requests[0] if evaluated.run_requests else evaluated.skip_message


class TrainingLine:
    """Version 1 serves. `now` is ahead of the event log by the simulated waiting time."""

    def __init__(self, home: Home, instance: dg.DagsterInstance, use_case: UseCase) -> None:
        self.home, self.instance, self.use_case, self.waited = home, instance, use_case, timedelta(0)
        self.models = ModelLine(home.root, name=use_case.name)
        self.models.bless(1)
        self.models.promote(1)
        self.versions = 1

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) + self.waited

    @property
    def state(self) -> PromotionState:
        return promotion_state_of(self.use_case.name, self.models.ledger.records(self.use_case.name))

    @property
    def ended(self) -> datetime:
        """When the newest training ended."""
        return end_of(self.instance.get_run_records(limit=1)[0])

    def triggers(self) -> TrainingTriggers:
        resources: Any = build_resources(read_environment(variables(self.home.root), PROJECT))
        return TrainingTriggers(self.use_case, self.instance, self.state, resources["warehouse"], self.now)

    def next(self) -> Request | str:
        return self.triggers().next()

    def why_not(self) -> str:
        due = self.next()
        assert isinstance(due, str), due.reason
        return due

    def judge(self, monitor: str, description: str, *, passed: bool = False, **metadata: Any) -> None:
        key = dg.AssetKey(names.stage(self.use_case.name, monitor))
        check = self.use_case.monitor_stages[monitor].CHECK
        result = dg.AssetCheckEvaluation(key, check, passed=passed, description=description, metadata=metadata)
        self.instance.report_runless_asset_event(result)

    def land(self) -> None:
        """Newer data of the table of requests and labels."""
        table = names.validated(self.use_case.name, self.use_case.label.table)
        self.instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(table)))

    def refuse_again(self, *, error: str = "") -> None:
        """A person trains the newest version again, and its gates refuse it for the same reason, or an error ends it first."""
        stages = (dg.AssetKey(names.stage(self.use_case.name, stage)) for stage in ("candidate", "evaluation"))
        job = _refused_again(*stages, self.versions, error)
        job.execute_in_process(instance=self.instance, raise_on_error=False, tags={ONE_AT_A_TIME: self.use_case.name})

    def train(self, *, refused: bool = False, promoted: bool = False, error: str = "") -> Request:
        """The training that is due runs: its version is refused or promoted, or an error ends it."""
        due = self.next()
        assert isinstance(due, Request), due
        tags = {REASON: due.reason, ONE_AT_A_TIME: self.use_case.name, **due.tags}
        _job(error or "a gate" * refused).execute_in_process(instance=self.instance, raise_on_error=False, tags=tags)
        by, at = f"run {self.instance.get_run_records(limit=1)[0].dagster_run.run_id[:8]}", self.models.now()
        self.versions += refused or promoted
        if refused:
            evidence = {"gates": [{"gate": "beats_champion"}]}
            self.models.promotions.refuse(self.versions, reason="too weak", by=by, at=at, evidence=evidence)
        if promoted:
            self.models.bless(self.versions)
            self.models.promote(self.versions)
        return due


def _job(problem: str) -> dg.JobDefinition:
    @dg.op
    def fit() -> None:
        if problem:
            raise ValueError(problem)

    @dg.job
    def training() -> None:
        fit()

    return training


def _refused_again(candidate: dg.AssetKey, evaluation: dg.AssetKey, version: int, error: str) -> dg.JobDefinition:
    @dg.op
    def judge(context: dg.OpExecutionContext) -> None:
        context.log_event(dg.AssetMaterialization(candidate, metadata={"model_version": version}))
        if error:
            raise ValueError(error)
        context.log_event(dg.AssetCheckEvaluation(evaluation, "beats_champion", passed=False))
        raise RuntimeError("1 blocking asset check failed with ERROR severity")

    @dg.job
    def training() -> None:
        judge()

    return training
