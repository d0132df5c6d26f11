"""The sensor that starts trainings: requested ones, the first, failed ones again, and those of the declared triggers."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.grains import calendar_of, view_calendar
from mlops_assets.foundation.implementation import call
from mlops_assets.foundation.wording import some
from mlops_assets.graph.kernel.conditions import MADE, UNFINISHED
from mlops_assets.graph.kernel.dagster_internals import newest_events, until_next_event
from mlops_assets.graph.kernel.dagster_runs import assets_of, is_made_by_other_code
from mlops_assets.graph.kernel.shared_sensors import shared_sensor
from mlops_assets.graph.situation import EventLogSituation
from mlops_assets.graph.training_requests import describe_version
from mlops_assets.graph.trainings import (  # fmt: skip
    CHAMPION,
    DATA,
    ONE_AT_A_TIME,
    REASON,
    REQUEST,
    SYMPTOMS,
    Trainings,
    read_trainings,
    training_tables,
)
from mlops_assets.home_claim import HomeLock
from mlops_assets.resources import LedgerResource, WarehouseResource
from mlops_assets.spec.code_version import feature_code, raw_code, validated_code
from mlops_assets.spec.trigger import Trigger, trigger_names
from mlops_assets.spec.use_case import UseCase
from mlops_assets.triggers.cause import Cause
from mlops_assets.triggers.memory import Memory, Outlook

if TYPE_CHECKING:
    from mlops_assets.promotion.promotion_state import PromotionState

FIRST_MODEL = "first_model"
SHOWN = 3  # tables that a message names


class Request(NamedTuple):
    """A training that is due: `key` is that of its run."""

    reason: str
    key: str
    tags: Mapping[str, str] = {}

    def run_tags(self, use_case: UseCase) -> dict[str, str]:
        """Of its run."""
        return {REASON: self.reason, ONE_AT_A_TIME: use_case.name, **self.tags}


@dataclass(frozen=True)
class TrainingTriggers:
    """What would train one use case now, and what holds the rest up."""

    use_case: UseCase
    instance: dg.DagsterInstance
    state: "PromotionState"
    warehouse: WarehouseResource
    now: datetime

    def next(self) -> Request | str:
        """The training that is due, or why none is."""
        trainings = self.trainings
        if requested := trainings.requested(self.now):
            return Request(requested.reason, f"request {requested.at}", {REQUEST: requested.at})
        if held_up := self.state.held_up(self.now):
            return held_up
        is_due, message = trainings.next(self.now)
        if is_due and not self.state.plan and (missing := self.missing):
            return f"The first training waits: {missing}"
        if is_due:
            return self._request(message, self._repeated_symptoms or [FIRST_MODEL])
        has_version = self.state.plan is not None or self.state.waiting is not None
        return self._of_triggers(message) if has_version and not (trainings.is_running or trainings.failure) else message

    def _of_triggers(self, message: str) -> Request | str:
        outlooks = self.outlooks()
        due = next((name for name, outlook in outlooks.items() if outlook.is_due), None)
        if due is None:
            return " ".join([message, *(f"{name}: {outlook.message}" for name, outlook in outlooks.items())])
        cause = f"{due}: {outlooks[due].message.rstrip('.')}."
        if self._is_being_written():
            return f"{cause} A run writes the tables that a training reads."
        if behind := [*self._made_by_other_code()]:
            return f"{cause} Their code has changed, and they are made again first: {some(behind, SHOWN)}."
        return self._request(outlooks[due].message, sorted(self.causes[due].symptoms))

    def describe(self) -> list[str]:
        """A line for each trigger that has found a cause."""
        if self.state.plan is None or self.trainings.is_running:
            return []
        return [f"{name}: {outlook.message}" for name, outlook in self.outlooks().items() if self.causes[name].exists]

    def outlooks(self) -> dict[str, Outlook]:
        """Of each declared trigger, by name: whether a training is due, and why or why not."""
        memory = Memory(self.trainings.past, self.data, self._champion, self.situation.trained_until)
        return {name: self._outlook(memory, trigger, self.causes[name]) for name, trigger in self._triggers.items()}

    def _outlook(self, memory: Memory, trigger: Trigger, cause: Cause) -> Outlook:
        outlook, upcoming = memory.outlook(cause, trigger.cool_down, self.now), self.state.upcoming
        if not outlook.is_due or upcoming is None or not trigger.JUDGES_CHAMPION:
            return outlook
        waits = (
            f"{describe_version(self.use_case, self.state, upcoming)} Another training starts if the cause is still there then."
        )
        return Outlook(False, f"{outlook.message.rstrip('.')}. {waits}")

    @cached_property
    def causes(self) -> dict[str, Cause]:
        return {name: call(trigger, Cause, self.situation) for name, trigger in self._triggers.items()}

    @cached_property
    def trainings(self) -> Trainings:
        return read_trainings(self.use_case, self.instance, self.state)

    @cached_property
    def situation(self) -> EventLogSituation:
        return EventLogSituation(self.use_case, self.instance, self.trainings, self.warehouse, self.now)

    @cached_property
    def data(self) -> str:
        """Of the tables that a training reads: it changes with every run that writes any of them."""
        return hashlib.sha256(json.dumps(self._newest_events).encode()).hexdigest()[:12]

    @cached_property
    def missing(self) -> str:
        """What the first training waits for; empty when nothing. The tables are read again only after they were written."""
        online = {view.name: names.online(self.use_case.name, view.name) for view in self.use_case.features.views}
        made = self.instance.get_latest_materialization_event
        if unfilled := [name for name, path in online.items() if not made(dg.AssetKey(path))]:
            return f"not every feature view has been filled yet: {', '.join(unfilled)}."
        if self._is_being_written():
            return "a run writes the tables that it reads."
        newest, name = max(self._newest_events), names.job(self.use_case.name, FIRST_MODEL)
        return until_next_event(self.instance, name, newest, self._read_missing)

    def _read_missing(self) -> str:
        from mlops_assets.features.enough_data import describe_missing

        return describe_missing(self.use_case, self.warehouse.open(), now=self.now)

    @property
    def _triggers(self) -> dict[str, Trigger]:
        return dict(zip(trigger_names(self.use_case.triggers), self.use_case.triggers, strict=True))

    @property
    def _champion(self) -> int | None:
        return self.state.plan.champion if self.state.plan else None

    @property
    def _tables(self) -> list[dg.AssetKey]:
        views = (names.feature(self.use_case.name, view.name) for view in self.use_case.features.views)
        return [*training_tables(self.use_case), *map(dg.AssetKey, views)]

    @cached_property
    def _newest_events(self) -> list[int]:
        return [newest_events(self.instance, key, MADE, partitioned=False).get(None, 0) for key in self._tables]

    def _is_being_written(self) -> bool:
        unfinished = self.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        return not assets_of(self.instance, unfinished).isdisjoint(self._tables)

    def _made_by_other_code(self) -> Iterator[str]:
        """The tables that a training reads, directly or not, of which any partition is."""
        name, views = self.use_case.name, self.use_case.features.views
        codes = [(names.feature(name, view.name), feature_code(view), view_calendar(self.use_case, view)) for view in views]
        for source in self.use_case.sources:
            contract, calendar = self.use_case.contract(source.table), calendar_of(source.grain)
            codes.append((names.raw(name, source.table), raw_code(source, contract), calendar))
            codes.append((names.validated(name, source.table), validated_code(source, contract), calendar))
        for path, code, calendar in codes:
            if is_made_by_other_code(self.instance, dg.AssetKey(path), code, partitioned=bool(calendar.cron)):
                yield path[-1]

    @property
    def _repeated_symptoms(self) -> list[str]:
        """Those of the failed training that is to be repeated."""
        return json.loads(self.trainings.records[0].dagster_run.tags.get(SYMPTOMS, "[]")) if self.trainings.failure else []

    def _request(self, reason: str, symptoms: list[str]) -> Request:
        tags = {SYMPTOMS: json.dumps(symptoms), DATA: self.data, CHAMPION: str(self._champion or "")}
        newest = self.trainings.records[0].dagster_run.run_id if self.trainings.records else ""
        return Request(reason, f"after {newest}" if newest else FIRST_MODEL, tags)


def build_training_sensor(use_case: UseCase, training: Any) -> dg.SensorDefinition:
    @shared_sensor(
        use_case,
        "triggers",
        job=training,
        by_event=True,
        description="Starts trainings: the first once there is enough data, those of the declared triggers, once for a cause,"
        " failed ones again after a pause that grows, and requested ones.",
    )
    def triggers(
        context: dg.SensorEvaluationContext, ledger: LedgerResource, warehouse: WarehouseResource, home_lock: HomeLock
    ) -> dg.SensorResult | dg.SkipReason:
        state = ledger.open().state(use_case.name)
        due = TrainingTriggers(use_case, context.instance, state, warehouse, ledger.now()).next()
        if isinstance(due, str):
            return dg.SkipReason(due)
        return dg.SensorResult(run_requests=[dg.RunRequest(due.key, tags=due.run_tags(use_case))])

    return triggers
