"""What the triggers of a use case look at, read from the event log."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import dagster as dg

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.graph.kernel.check_verdict import CheckVerdict, check_keys
from mlops_assets.graph.kernel.dagster_internals import last_cron_time, newest_checks, next_cron_time, passed_checks
from mlops_assets.graph.trainings import Trainings, end_of
from mlops_assets.spec.use_case import UseCase
from mlops_assets.triggers.situation import Reading

PASSED = 20  # results among which the newest healthy one is looked for: others had too little data


@dataclass(frozen=True)
class EventLogSituation:
    """A `Situation`."""

    use_case: UseCase
    instance: dg.DagsterInstance
    trainings: Trainings
    now: datetime

    @property
    def trained_from(self) -> datetime | None:
        return self.trainings.records[0].create_timestamp if self.trainings.records else None

    @property
    def trained_until(self) -> datetime | None:
        return end_of(self.trainings.records[0]) if self.trainings.records else None

    @cached_property
    def readings(self) -> Mapping[str, Reading]:
        keys = check_keys(self.use_case)
        records = newest_checks(self.instance, [*keys.values()])
        read = {stage: reading_of(stage, records[key]) for stage, key in keys.items() if key in records}
        return {stage: reading for stage, reading in read.items() if reading}

    def healthy_at(self, monitor: str) -> datetime | None:
        records = passed_checks(self.instance, check_keys(self.use_case)[monitor], PASSED)
        passed = (reading_of(monitor, record) for record in records)
        return next((reading.judged_at for reading in passed if reading and reading.verdict is Verdict.HEALTHY), None)

    def last_time(self, cron: str) -> datetime:
        return last_cron_time(cron, self.now)

    def next_time(self, cron: str) -> datetime:
        return next_cron_time(cron, self.now)


def reading_of(monitor: str, record: Any) -> Reading | None:
    """Of the record of a check; None before its first result."""
    verdict = CheckVerdict.of_record(record)
    if verdict is None:
        return None
    judged_at = datetime.fromtimestamp(record.event.timestamp, UTC)
    return Reading(monitor, verdict.verdict, verdict.message, judged_at, verdict.reason_to_train, verdict.symptoms)
