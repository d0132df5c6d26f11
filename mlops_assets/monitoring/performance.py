"""Realised quality of the served predictions whose labels are known, by month and day. Imports matplotlib."""

from collections.abc import Sequence
from typing import Any, Literal

import polars as pl

from mlops_assets.evaluation.evaluate import plain
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.monitoring.monitor_result import MonitorResult, too_few
from mlops_assets.spec.gate import LOWER_IS_BETTER
from mlops_assets.spec.monitor import OnPerformance, Performance
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics import plots
from mlops_assets.statistics.metrics import METRICS, Interval, interval, measure

Period = Literal["day", "month"]
ALL_VERSIONS, PROBABILITY = "all", "probability"
REALISED = ("auc", "brier", "ece")
SCHEMA: dict[str, Any] = {
    "period": pl.Date,
    "model_version": pl.String,
    "rows": pl.Int64,
    "label_rate": pl.Float64,
    "mean_probability": pl.Float64,
    **dict.fromkeys(REALISED, pl.Float64),
}
DAY_ROWS = 50  # a day with fewer predictions is too noisy for the plot


def monitor_performance(
    use_case: UseCase, spec: Performance, *, known: pl.DataFrame, recent: pl.DataFrame, seed: int
) -> MonitorResult:
    """The metrics of `recent` against the declared bounds. Passes while there is too little data."""
    if len(recent) < spec.min_rows:
        return too_few(len(recent), spec.min_rows, "known outcomes")
    label = use_case.label.name
    metrics = window_metrics(recent, label=label, seed=seed)
    bounds = [trigger for trigger in use_case.triggers if isinstance(trigger, OnPerformance)]
    breaches = "; ".join(filter(None, (_breach(bound, metrics[bound.metric]) for bound in bounds)))
    message = breaches or f"auc {metrics['auc']} over the last {spec.window.days} days is within its bound."
    figures = {"rows": len(known)} | {f"window_{name}": interval.value for name, interval in metrics.items()}
    monthly = realised(known, by="month", label=label, min_rows=spec.min_rows)
    daily = realised(known, by="day", label=label, min_rows=DAY_ROWS)
    tables = {"by_month": monthly.to_dicts(), "by_day": daily.tail(31).to_dicts()}
    return MonitorResult(not breaches, message, figures, tables, {"auc": _auc_by_day(daily, bounds)})


def _breach(bound: OnPerformance, measured: Interval) -> str | None:
    if bound.metric in LOWER_IS_BETTER:
        side = "above" if measured.value > bound.bound else None
    else:
        side = "below" if measured.value < bound.bound else None
    return f"{bound.metric} {measured} of the window is {side} {bound.bound}" if side else None


def _auc_by_day(daily: pl.DataFrame, bounds: Sequence[OnPerformance]) -> bytes:
    rows = daily.filter(pl.col("model_version") == ALL_VERSIONS)
    bound = next((trigger.bound for trigger in bounds if trigger.metric == "auc"), None)
    return plots.metric_over_time("auc", rows["period"].to_list(), rows["auc"].fill_null(float("nan")).to_list(), bound=bound)


def realised(outcomes: pl.DataFrame, *, by: Period, label: str, min_rows: int) -> pl.DataFrame:
    """One row per period and model version, and one for all versions together, in order; columns as in SCHEMA.

    `period` is the first day of the period of event_timestamp (UTC). Metrics are null under `min_rows` rows and where
    undefined (auc of one class). Rows without label or probability are left out.
    """
    period = pl.col(EVENT_TIMESTAMP).dt.truncate("1d" if by == "day" else "1mo").dt.date()
    known = _known(outcomes, label).with_columns(pl.col("model_version").cast(pl.String), period=period)
    groups = pl.concat([known, known.with_columns(model_version=pl.lit(ALL_VERSIONS))]).group_by("period", "model_version")
    rows = [
        {"period": day, "model_version": version, **_row(group, label, measured=len(group) >= min_rows)}
        for (day, version), group in groups
    ]
    return pl.DataFrame(rows, schema=SCHEMA).sort("period", pl.col("model_version") == ALL_VERSIONS, "model_version")


def _known(outcomes: pl.DataFrame, label: str) -> pl.DataFrame:
    return outcomes.drop_nulls([label, PROBABILITY]).with_columns(pl.col(label).cast(pl.Int8))


def _row(known: pl.DataFrame, label: str, *, measured: bool) -> dict[str, Any]:
    truth, probability = known[label].to_numpy(), known[PROBABILITY].to_numpy()
    return {
        "rows": len(truth),
        "label_rate": float(truth.mean()),
        "mean_probability": float(probability.mean()),
        **{metric: plain(measure(metric, truth, probability)) if measured else None for metric in REALISED},
    }


def window_metrics(outcomes: pl.DataFrame, *, label: str, seed: int) -> dict[str, Interval]:
    """Every metric of the rows of one window, with its interval. Rows without label or probability are left out."""
    known = _known(outcomes, label)
    return {name: interval(name, known[label].to_numpy(), known[PROBABILITY].to_numpy(), seed=seed) for name in METRICS}
