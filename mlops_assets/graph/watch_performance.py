"""Realised quality of the answers, by month and day. Opens matplotlib.

Belongs here: the verdict over the window and its evidence. Not here: the measures (stages/performance.py).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import dagster as dg
import polars as pl

from mlops_assets.graph.asset_metadata import rows_as_table
from mlops_assets.graph.seen import Seen
from mlops_assets.spec.gate import LOWER_IS_BETTER
from mlops_assets.spec.monitor import OnPerformance, Performance
from mlops_assets.spec.use_case import UseCase
from mlops_assets.stages import plots
from mlops_assets.stages.metrics import Interval
from mlops_assets.stages.performance import ALL_VERSIONS, realised, window_metrics

# A day of fewer answers says nothing of its own in the plot.
DAY_ROWS = 50


def watch_performance(
    use_case: UseCase, spec: Performance, bounds: Sequence[OnPerformance], *, known: pl.DataFrame, recent: pl.DataFrame, seed: int
) -> Seen:
    """The metrics of `recent` against the declared bounds. Passes while there is too little to tell."""
    if len(recent) < spec.min_rows:
        said = f"{len(recent)} outcomes known in the window; {spec.min_rows} are needed to tell."
        return Seen(True, said, {"rows": len(recent)})
    end = cast(datetime, recent["event_timestamp"].max()) + timedelta(seconds=1)
    label = use_case.label.name
    metrics = window_metrics(
        recent, end=end, window=spec.window, label=label, probability="probability", min_rows=1, seed=seed
    ).metrics
    worse = [_sentence(bound, metrics[bound.metric]) for bound in bounds if _is_worse(bound, metrics[bound.metric])]
    message = "; ".join(worse) or f"auc {metrics['auc']} over the last {spec.window.days} days is within its bound."
    return Seen(not worse, message, _said(use_case, spec, known, metrics))


def _is_worse(bound: OnPerformance, found: Interval) -> bool:
    return found.value > bound.bound if bound.metric in LOWER_IS_BETTER else found.value < bound.bound


def _sentence(bound: OnPerformance, found: Interval) -> str:
    side = "above" if bound.metric in LOWER_IS_BETTER else "below"
    return f"{bound.metric} {found} of the window is {side} {bound.bound}"


def _said(use_case: UseCase, spec: Performance, known: pl.DataFrame, metrics: dict[str, Interval]) -> dict[str, Any]:
    label = use_case.label.name
    monthly = realised(known, by="month", label=label, probability="probability", min_rows=spec.min_rows)
    daily = realised(known, by="day", label=label, probability="probability", min_rows=DAY_ROWS)
    whole = daily.filter(pl.col("model_version") == ALL_VERSIONS)
    lines = {"auc": [Interval(value, value, value) for value in whole["auc"].fill_null(float("nan"))]}
    picture = plots.metric_over_time("auc", whole["period"].to_list(), lines, bound=_bound(use_case))
    return {f"window_{name}": interval.value for name, interval in metrics.items()} | {
        "rows": len(known),
        "by_month": rows_as_table(monthly.to_dicts()),
        "by_day": rows_as_table(daily.tail(31).to_dicts()),
        "plot_auc": dg.MetadataValue.md(plots.as_markdown(picture, "AUC by day")),
    }


def _bound(use_case: UseCase) -> float | None:
    declared = [trigger for trigger in use_case.triggers if isinstance(trigger, OnPerformance)]
    return next((trigger.bound for trigger in declared if trigger.metric == "auc"), None)
