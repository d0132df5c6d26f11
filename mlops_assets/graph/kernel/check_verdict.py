"""How the verdict of a monitor is stored in the result of its check, and read from it."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self, cast

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.moments import to_minute
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.spec.monitor import Monitor, Watching
from mlops_assets.spec.use_case import UseCase

VERDICT, REASON_TO_TRAIN, SYMPTOMS, SINCE = "verdict", "reason_to_train", "symptoms", "not_enough_data_since"
REMEDY = "Look whether requests and labels arrive; declare a wider window or fewer rows where there will never be more."


class CheckVerdict(NamedTuple):
    """`reason_to_train` is from 0, as for a lack of data, to 1; `symptoms` name what an alarm is about. `since` is when the first
    of the results without a verdict that follow one another was written.
    """

    verdict: Verdict
    message: str
    reason_to_train: float
    symptoms: tuple[str, ...] = ()
    since: datetime | None = None

    @classmethod
    def of_record(cls, record: Any) -> "CheckVerdict | None":
        """Of the record of a check's newest execution; None before the first has ended."""
        evaluation = record.event.asset_check_evaluation if record and record.event else None
        return cls.of(evaluation) if evaluation else None

    @classmethod
    def of(cls, evaluation: dg.AssetCheckEvaluation) -> Self:
        """A result without these entries is reported by somebody else, or older than they are."""
        stored = {name: entry.value for name, entry in evaluation.metadata.items()}
        verdict = Verdict(cast(str, stored.get(VERDICT, Verdict.healthy_if(evaluation.passed))))
        reason = cast(float, stored.get(REASON_TO_TRAIN, float(verdict is Verdict.ALARM)))
        since = datetime.fromtimestamp(cast(float, stored[SINCE]), UTC) if SINCE in stored else None
        symptoms = tuple(cast(list[str], stored.get(SYMPTOMS, [])))
        return cls(verdict, evaluation.description or "", reason, symptoms, since)

    def at(self, now: datetime, *, judged_at: datetime, spec: Watching) -> Self:
        """Health that nothing has confirmed for a whole window is over: nothing was served or known in it."""
        if self.verdict is not Verdict.HEALTHY or now - judged_at <= spec.window:
            return self
        message = f"nothing has been judged since {to_minute(judged_at)}. {REMEDY}"
        return self._replace(
            verdict=Verdict.NOT_ENOUGH_DATA, message=f"Not enough data: {message}", since=judged_at + spec.window
        )

    def is_failure(self, spec: Watching, *, now: datetime) -> bool:
        """An alarm, or a lack of data for longer than is declared."""
        return self.verdict is Verdict.ALARM or (self.since is not None and now - self.since > spec.longest_silence)

    def result(self, spec: Watching, *, now: datetime, key: dg.AssetCheckKey) -> dg.AssetCheckResult:
        """A warning where it fails: an alarm is for people and sensors; the run itself has not failed."""
        metadata: dict[str, Any] = {VERDICT: str(self.verdict), REASON_TO_TRAIN: self.reason_to_train}
        metadata |= {SYMPTOMS: dg.MetadataValue.json([*self.symptoms])} if self.symptoms else {}
        failed, message = self.is_failure(spec, now=now), self.message
        if self.since:
            metadata[SINCE] = dg.MetadataValue.timestamp(self.since)
            remedy = f" That is longer than {in_words(spec.longest_silence)}. {REMEDY}" if failed else ""
            message = f"Not enough data since {to_minute(self.since)}: {message}{remedy}"
        return dg.AssetCheckResult(
            passed=not failed, severity=dg.AssetCheckSeverity.WARN, description=message, metadata=metadata,
            asset_key=key.asset_key, check_name=key.name,
        )  # fmt: skip


class Judged(NamedTuple):
    """The newest verdict of the monitor whose asset is `stage`; None before the first."""

    stage: str
    monitor: Monitor
    verdict: CheckVerdict | None


def check_keys(use_case: UseCase) -> dict[str, dg.AssetCheckKey]:
    """Of the checks of its monitors, by the names of their assets."""
    return {
        stage: dg.AssetCheckKey(dg.AssetKey(names.stage(use_case.name, stage)), monitor.CHECK)
        for stage, monitor in use_case.monitor_stages.items()
    }


def read_verdicts(use_case: UseCase, checks: Mapping[dg.AssetCheckKey, Any], *, now: datetime) -> Iterator[Judged]:
    """`checks` are the newest records of checks."""
    for stage, key in check_keys(use_case).items():
        record, monitor = checks.get(key), use_case.monitor_stages[stage]
        at = datetime.fromtimestamp(record.create_timestamp, UTC) if record else now
        verdict = CheckVerdict.of_record(record)
        yield Judged(stage, monitor, verdict and verdict.at(now, judged_at=at, spec=monitor))
