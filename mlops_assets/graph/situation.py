"""What the triggers of a use case look at, read from the event log."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import Any

import dagster as dg

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.graph.kernel.check_verdict import CheckVerdict, check_keys
from mlops_assets.graph.kernel.conditions import MADE
from mlops_assets.graph.kernel.dagster_internals import (
    last_cron_time,
    newest_checks,
    newest_events,
    next_cron_time,
    passed_checks,
    until_next_event,
)  # fmt: skip
from mlops_assets.graph.kernel.run_clock import event_time, run_time
from mlops_assets.graph.trainings import Trainings, end_of, training_tables
from mlops_assets.resources import WarehouseResource
from mlops_assets.spec.use_case import UseCase
from mlops_assets.triggers.situation import Reading

PASSED = 20  # results among which the newest healthy one is looked for: others had too little data


@dataclass(frozen=True)
class EventLogSituation:
    """A `Situation`."""

    use_case: UseCase
    instance: dg.DagsterInstance
    trainings: Trainings
    warehouse: WarehouseResource
    now: datetime

    @property
    def trained_from(self) -> datetime | None:
        return run_time(self.trainings.records[0]) if self.trainings.records else None

    @property
    def trained_until(self) -> datetime | None:
        return end_of(self.trainings.records[0]) if self.trainings.records else None

    @cached_property
    def readings(self) -> Mapping[str, Reading]:
        keys = check_keys(self.use_case)
        records = newest_checks(self.instance, [*keys.values()])
        read = {stage: self._reading(stage, records[key]) for stage, key in keys.items() if key in records}
        return {stage: reading for stage, reading in read.items() if reading}

    def healthy_at(self, monitor: str) -> datetime | None:
        records = passed_checks(self.instance, check_keys(self.use_case)[monitor], PASSED)
        passed = (self._reading(monitor, record) for record in records)
        return next((reading.judged_at for reading in passed if reading and reading.verdict is Verdict.HEALTHY), None)

    @property
    def champion(self) -> int | None:
        return self.trainings.state.plan.champion if self.trainings.state.plan else None

    @cached_property
    def champion_record(self) -> Mapping[str, str]:
        from mlops_assets.promotion.blessing import Blessing

        blessing = self.trainings.state.blessings.get(self.champion)
        return Blessing.from_json(blessing.body["blessing"]).training if blessing else {}

    @cached_property
    def code(self) -> Mapping[str, str]:
        from mlops_assets.training.training_record import record_code

        return record_code(self.use_case, self.use_case.trainer)

    @cached_property
    def new_rows(self) -> int | None:
        """Each table is read again only after it was written, or once another version serves."""
        from mlops_assets.features.labelled_rows import count_labelled, count_labelled_then

        tables, record, instance = self.warehouse.open(), self.champion_record, self.instance
        keys, name = training_tables(self.use_case), self.use_case.name
        newest = max(newest_events(instance, key, MADE, partitioned=False).get(None, 0) for key in keys)
        now = until_next_event(instance, f"{name} labelled", newest, partial(count_labelled, self.use_case, tables, now=self.now))
        count_then = partial(count_labelled_then, self.use_case, tables, record, now=self.now)
        then = until_next_event(instance, f"{name} labelled then", self.champion or 0, count_then)
        return None if then is None else now - then

    def last_time(self, cron: str) -> datetime:
        return last_cron_time(cron, self.now)

    def next_time(self, cron: str) -> datetime:
        return next_cron_time(cron, self.now)

    def _reading(self, monitor: str, record: Any) -> Reading | None:
        """Of the record of a check; None before its first result."""
        verdict = CheckVerdict.of_record(record)
        if verdict is None:
            return None
        judged_at = event_time(self.instance, record.event)
        return Reading(monitor, verdict.verdict, verdict.message, judged_at, verdict.reason_to_train, verdict.symptoms)
