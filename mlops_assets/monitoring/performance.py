"""Realised quality of the served predictions whose labels are known, by month and day. Imports matplotlib."""

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from mlops_assets.evaluation.evaluate import plain
from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.monitoring.monitor_result import MonitorResult, constant_answers, too_few
from mlops_assets.spec.gate import LOWER_IS_BETTER
from mlops_assets.spec.monitor import Performance
from mlops_assets.spec.trigger import OnPerformance
from mlops_assets.statistics import plots
from mlops_assets.statistics.metrics import Interval, intervals
from mlops_assets.tasks.task import Task

ALL_VERSIONS = "all"
DAY_ROWS = 50  # a day with fewer predictions is too noisy for the plot


def monitor_performance(
    spec: Performance,
    bounds: Sequence[OnPerformance],
    *,
    task: Task[Any],
    label: str,
    known: pl.DataFrame,
    recent: pl.DataFrame,
    seed: int,
) -> MonitorResult:
    """The metrics of `recent` against `bounds`."""
    if len(recent) < spec.min_rows:
        return too_few(len(recent), spec.min_rows, "known outcomes")
    if constant := constant_answers(task, recent):
        return constant
    metric, metrics = task.main_metric, window_metrics(task, recent, label=label, seed=seed)
    if math.isnan(metrics[metric].value):
        message = f"{metric} is undefined on the {len(recent):,} known outcomes of the window (one class only)."
        return MonitorResult(Verdict.NOT_ENOUGH_DATA, message, {"rows": len(known)})
    breaches: list[str] = []
    for trigger in bounds:
        side, sign = ("above", 1) if trigger.metric in LOWER_IS_BETTER else ("below", -1)
        if sign * (metrics[trigger.metric].value - trigger.bound) > 0:
            breaches.append(f"{trigger.metric} {metrics[trigger.metric]} of the window is {side} {trigger.bound}")
    message = "; ".join(breaches) or f"{metric} {metrics[metric]} over the last {in_words(spec.window)} is within its bound."
    figures = {"rows": len(known)} | {f"window_{name}": interval.value for name, interval in metrics.items()}
    monthly = realised(task, known, every="1mo", label=label, min_rows=spec.min_rows)
    daily = realised(task, known, every="1d", label=label, min_rows=DAY_ROWS)
    tables = {"by_month": monthly.to_dicts(), "by_day": daily.tail(31).to_dicts()}
    days, bound = daily.filter(model_version=ALL_VERSIONS), next((one.bound for one in bounds if one.metric == metric), None)
    values = days[metric].fill_null(float("nan")).to_list()
    plot = plots.metric_over_time(metric, days["period"].to_list(), values, bound=bound)
    lines = "Metrics of the window", {name: interval.value for name, interval in metrics.items()}
    return MonitorResult(Verdict.healthy_if(not breaches), message, figures, tables, {metric: plot}, lines=lines)


def realised(task: Task[Any], outcomes: pl.DataFrame, *, every: str, label: str, min_rows: int) -> pl.DataFrame:
    """One row per period (its first day by event_timestamp, UTC; `every` is 1d or 1mo) and model version, and one for all
    versions: `rows`, the means of the task and its metrics, which are null under `min_rows` rows and where undefined. Rows
    without label or prediction are left out.
    """
    period = pl.col(EVENT_TIMESTAMP).dt.truncate(every).dt.date()
    known = _known(task, outcomes, label).with_columns(pl.col("model_version").cast(pl.String), period=period)
    groups = pl.concat([known, known.with_columns(model_version=pl.lit(ALL_VERSIONS))]).group_by("period", "model_version")
    rows: list[dict[str, Any]] = []
    for (day, version), group in groups:
        truth, output = task.truth(group[label]), task.logged(group)
        enough = len(group) >= min_rows
        metrics = plain(task.sample(truth, output).measure(task.metrics)) if enough else dict.fromkeys(task.metrics)
        rows.append({"period": day, "model_version": version, "rows": len(group), **task.means(truth, output), **metrics})
    numbers = [*task.MEANS, *task.metrics]
    schema = {"period": pl.Date(), "model_version": pl.String(), "rows": pl.Int64(), **dict.fromkeys(numbers, pl.Float64())}
    return pl.DataFrame(rows, schema=schema).sort("period", pl.col("model_version") == ALL_VERSIONS, "model_version")


def _known(task: Task[Any], outcomes: pl.DataFrame, label: str) -> pl.DataFrame:
    return outcomes.drop_nulls([label, *task.SCORES])


def window_metrics(task: Task[Any], outcomes: pl.DataFrame, *, label: str, seed: int) -> dict[str, Interval]:
    """Every metric of the rows of one window, with its interval. Rows without label or prediction are left out."""
    known = _known(task, outcomes, label)
    return intervals(task.sample(task.truth(known[label]), task.logged(known)), task.metrics, seed=seed)
