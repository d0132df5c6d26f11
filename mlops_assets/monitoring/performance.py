"""Realised quality of the served predictions whose labels are known. Imports matplotlib."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.monitoring.changed_quality import changed_since
from mlops_assets.monitoring.monitor_result import MonitorResult, constant_answers, too_few
from mlops_assets.monitoring.risk import Risk
from mlops_assets.monitoring.stored_periods import ALL_VERSIONS, Periods, figure_of, known_rows
from mlops_assets.spec.gate import LOWER_IS_BETTER
from mlops_assets.spec.monitor import Performance
from mlops_assets.spec.trigger import OnPerformance
from mlops_assets.statistics import time_plots
from mlops_assets.statistics.metrics import Interval, intervals
from mlops_assets.tasks.task import Task


def monitor_performance(
    spec: Performance,
    bounds: Sequence[OnPerformance],
    *,
    task: Task[Any],
    label: str,
    periods: Periods,
    recent: pl.DataFrame,
    evaluation: Mapping[str, Any] | None,
    risk: Risk | None = None,
    seed: int,
) -> MonitorResult:
    """The metrics of `recent` against `bounds`, and against the `evaluation` of the champion; `periods` are of all outcomes. Of
    too few, its `risk` is the evidence.
    """
    if len(recent) < spec.min_rows:
        result = too_few(len(recent), spec.min_rows, "known outcomes")
        return risk.added_to(result) if risk else result
    if constant := constant_answers(task, recent):
        return constant
    # In an order of its own, as intervals are drawn by row, and the table has the rows as they became known.
    recent = recent.sort(EVENT_TIMESTAMP, *task.SCORES, label)
    metric, metrics = task.main_metric, window_metrics(task, recent, label=label, seed=seed)
    if math.isnan(metrics[metric].value):
        message = f"{metric} is undefined on the {len(recent):,} known outcomes of the window (one class only)."
        return MonitorResult(Verdict.NOT_ENOUGH_DATA, message, {"rows": periods.rows})
    breaches: list[str] = []
    for trigger in bounds:
        side, sign = ("above", 1) if trigger.metric in LOWER_IS_BETTER else ("below", -1)
        if sign * (metrics[trigger.metric].value - trigger.bound) > 0:
            breaches.append(f"{trigger.metric} {metrics[trigger.metric]} of the window is {side} {trigger.bound}")
    message = "; ".join(breaches) or f"{metric} {metrics[metric]} over the last {in_words(spec.window)} is within its bound"
    figures = {"rows": periods.rows} | {f"window_{name}": interval.value for name, interval in metrics.items()}
    known = known_rows(task, recent, label)
    changes = changed_since(evaluation or {}, task, known, label=label, metrics=metrics)
    message += "".join(f". {change.removesuffix('.')}" for change in changes.messages) + "."
    figures |= {f"window_{one.name}": known.select(figure_of(one, known).mean()).item() for one in spec.figures}
    tables = {**changes.tables, "by_month": periods.by_month.to_dicts(), "by_day": periods.by_day.tail(31).to_dicts()}
    days, bound = (
        periods.by_day.filter(model_version=ALL_VERSIONS),
        next((one.bound for one in bounds if one.metric == metric), None),
    )
    values = days[metric].fill_null(float("nan")).to_list()
    plot = time_plots.metric_over_time(metric, days["period"].to_list(), values, bound=bound)
    lines = "Metrics of the window", {name: interval.value for name, interval in metrics.items()}
    return MonitorResult(Verdict.healthy_if(not breaches), message, figures, tables, {metric: plot}, lines=lines)


def window_metrics(task: Task[Any], outcomes: pl.DataFrame, *, label: str, seed: int) -> dict[str, Interval]:
    """Every metric of the rows of one window, with its interval. Rows without label or prediction are left out."""
    known = known_rows(task, outcomes, label)
    return intervals(task.sample(task.truth(known[label]), task.logged(known)), task.metrics, seed=seed)
