"""Realised quality of the served predictions, by month and day. Imports matplotlib."""

from collections.abc import Sequence

import polars as pl

from mlops_assets.monitoring.monitor_result import MonitorResult, too_few
from mlops_assets.monitoring.realised_quality import ALL_VERSIONS, Period, realised, window_metrics
from mlops_assets.spec.gate import LOWER_IS_BETTER
from mlops_assets.spec.monitor import OnPerformance, Performance
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics import plots
from mlops_assets.statistics.metrics import Interval

# A day with fewer predictions is too noisy for the plot.
DAY_ROWS = 50


def monitor_performance(
    use_case: UseCase, spec: Performance, *, known: pl.DataFrame, recent: pl.DataFrame, seed: int
) -> MonitorResult:
    """The metrics of `recent` against the declared bounds. Passes while there is too little data."""
    if len(recent) < spec.min_rows:
        return too_few(len(recent), spec.min_rows, "known outcomes")
    metrics = window_metrics(recent, label=use_case.label.name, probability="probability", seed=seed)
    bounds = [trigger for trigger in use_case.triggers if isinstance(trigger, OnPerformance)]
    worse = [_breach(bound, metrics[bound.metric]) for bound in bounds if _is_worse(bound, metrics[bound.metric])]
    message = "; ".join(worse) or f"auc {metrics['auc']} over the last {spec.window.days} days is within its bound."
    figures = {"rows": len(known)} | {f"window_{name}": interval.value for name, interval in metrics.items()}
    monthly, daily = _realised(use_case, known, "month", spec.min_rows), _realised(use_case, known, "day", DAY_ROWS)
    tables = {"by_month": monthly.to_dicts(), "by_day": daily.tail(31).to_dicts()}
    return MonitorResult(not worse, message, figures, tables, {"auc": _auc_by_day(daily, bounds)})


def _is_worse(bound: OnPerformance, measured: Interval) -> bool:
    return measured.value > bound.bound if bound.metric in LOWER_IS_BETTER else measured.value < bound.bound


def _breach(bound: OnPerformance, measured: Interval) -> str:
    side = "above" if bound.metric in LOWER_IS_BETTER else "below"
    return f"{bound.metric} {measured} of the window is {side} {bound.bound}"


def _realised(use_case: UseCase, known: pl.DataFrame, by: Period, min_rows: int) -> pl.DataFrame:
    return realised(known, by=by, label=use_case.label.name, probability="probability", min_rows=min_rows)


def _auc_by_day(daily: pl.DataFrame, bounds: Sequence[OnPerformance]) -> bytes:
    rows = daily.filter(pl.col("model_version") == ALL_VERSIONS)
    lines = {"auc": [Interval(value, value, value) for value in rows["auc"].fill_null(float("nan"))]}
    bound = next((trigger.bound for trigger in bounds if trigger.metric == "auc"), None)
    return plots.metric_over_time("auc", rows["period"].to_list(), lines, bound=bound)
