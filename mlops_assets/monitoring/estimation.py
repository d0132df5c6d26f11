"""Quality of served predictions before their labels are known, and how good earlier estimates were. Imports matplotlib."""

import json
import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple, Self

import polars as pl

from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.monitoring.monitor_result import MonitorResult, constant_answers, too_few
from mlops_assets.spec.gate import LOWER_IS_BETTER
from mlops_assets.spec.monitor import Estimation
from mlops_assets.statistics import time_plots
from mlops_assets.statistics.estimation import Labelled, estimate
from mlops_assets.statistics.metrics import Array, Interval
from mlops_assets.tasks.task import Task

PERIODS = ("1d", "1w", "1mo")
MIN_ROWS, MAX_PERIODS = 50, 60  # of a period in the record, and how many of them
MIN_PERIODS, MIN_COVERAGE = 5, 0.5  # an estimate that missed more of so many periods is no evidence


class Evaluated(NamedTuple):
    """The rows on which the champion was evaluated, and its metrics there, by name."""

    version: int
    rows: Labelled
    metrics: Mapping[str, Interval]

    @classmethod
    def from_artifacts(cls, version: int, scored: bytes, evaluation: bytes) -> Self:
        table, metrics = pl.read_parquet(BytesIO(scored)), json.loads(evaluation)["metrics"]
        output = table.drop("truth").to_numpy()
        rows = Labelled(table["truth"].to_numpy(), output if output.shape[1] > 1 else output[:, 0])
        return cls(version, rows, {name: Interval(**fields) for name, fields in metrics.items() if None not in fields.values()})


def monitor_estimation(
    spec: Estimation,
    evaluated: Evaluated | None,
    *,
    task: Task[Any],
    label: str,
    recent: pl.DataFrame,
    outcomes: pl.DataFrame,
    seed: int,
) -> MonitorResult:
    """The estimated metric of `recent` against its bound. `outcomes` are those of the champion, for the record."""
    if evaluated is None or len(recent) < spec.min_rows:
        return too_few(len(recent), spec.min_rows, "served requests")
    if constant := constant_answers(task, recent):
        return constant
    estimator = _Estimator(task, evaluated.rows, seed)
    metric, record = spec.metric or task.main_metric, estimator.record(outcomes, label, spec.metric or task.main_metric)
    estimates = estimator.estimate(task.logged(recent.drop_nulls(task.SCORES)), task.metrics)
    reference = evaluated.metrics.get(metric, Interval())
    verdict, message = _judge(spec, metric, estimates[metric], reference, record)
    figures = {"rows": len(recent)} | {f"estimated_{name}": one.value for name, one in estimates.items()}
    rows = [
        {"metric": name, "estimated": str(one), "evaluated": str(evaluated.metrics.get(name, ""))}
        for name, one in estimates.items()
    ]
    return MonitorResult(
        verdict,
        message,
        {"record": _describe(record), **figures},
        {"track_record": record[::-1], "estimates": rows},
        {"track_record": time_plots.estimated_and_realised(metric, record, estimates[metric])},
        lines=("Estimated metrics", {name: one.value for name, one in estimates.items()}),
    )


class _Estimator(NamedTuple):
    task: Task[Any]
    labelled: Labelled
    seed: int

    def estimate(self, output: Array, metrics: Sequence[str], draws: int = 100) -> dict[str, Interval]:
        learn, sample = self.task.likely_labels, self.task.sample
        return estimate(
            self.labelled, output, learn=learn, sample=sample, metrics=metrics, seed=self.seed, draws=draws
        )  # fmt: skip

    def record(self, outcomes: pl.DataFrame, label: str, metric: str) -> list[dict[str, Any]]:
        """The estimate of each period's rows with a label, made from their outputs alone, next to what the labels say."""
        known = outcomes.drop_nulls([label, *self.task.SCORES])
        moment = pl.col(EVENT_TIMESTAMP)
        for every in PERIODS:
            parts = known.with_columns(period=moment.dt.truncate(every).dt.date()).sort("period").partition_by("period")
            parts = [part for part in parts if len(part) >= MIN_ROWS][-MAX_PERIODS:]
            if sum(map(len, parts)) * 2 > len(known) or every == PERIODS[-1]:
                compared = (self._compare(part, label, metric) for part in parts)
                return [row for row in compared if math.isfinite(row["estimated"]) and math.isfinite(row["realised"])]
        return []

    def _compare(self, rows: pl.DataFrame, label: str, metric: str) -> dict[str, Any]:
        output = self.task.logged(rows)
        estimate = self.estimate(output, [metric], draws=50)[metric]
        realised = self.task.sample(self.task.truth(rows[label]), output).measure([metric])[metric]
        numbers = {"estimated": estimate.value, "low": estimate.low, "high": estimate.high, "realised": realised}
        return {"period": rows["period"][0], "rows": len(rows), **numbers, "held": estimate.low <= realised <= estimate.high}


def _judge(
    spec: Estimation, metric: str, interval: Interval, evaluated: Interval, record: Sequence[Mapping[str, Any]]
) -> tuple[Verdict, str]:
    """An alarm where the whole interval is worse than the bound."""
    is_lower_better = metric in LOWER_IS_BETTER
    bound = spec.bound if spec.bound is not None else evaluated.high if is_lower_better else evaluated.low
    estimate = f"{metric} is estimated at {interval} over the last {in_words(spec.window)}. {_describe(record)}"
    if math.isnan(interval.value) or math.isnan(bound):
        return Verdict.NOT_ENOUGH_DATA, f"{metric} cannot be estimated: it is undefined on these answers or in the evaluation."
    held = [row["held"] for row in record]
    if len(held) >= MIN_PERIODS and sum(held) < MIN_COVERAGE * len(held):
        return Verdict.NOT_ENOUGH_DATA, f"{estimate} So it is no evidence: labels no longer follow outputs as they did."
    is_worse = interval.low > bound if is_lower_better else interval.high < bound
    side = f"{'above' if is_lower_better else 'below'} {bound:.4g}" if is_worse else f"not worse than {bound:.4g}"
    whose = "the declared bound" if spec.bound is not None else "the end of its interval in the evaluation"
    return Verdict.healthy_if(not is_worse), f"{estimate} That is {side}, {whose}."


def _describe(record: Sequence[Mapping[str, Any]]) -> str:
    if not record:
        return "No label has come yet that would show how good the estimate is."
    error = sum(abs(row["realised"] - row["estimated"]) for row in record) / len(record)
    held = sum(row["held"] for row in record)
    return f"Earlier intervals held {held} of {len(record)} realised values (95% is meant), with a mean error of {error:.3g}."
