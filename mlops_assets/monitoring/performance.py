"""Realised quality of the served predictions whose labels are known, by month and day. Imports matplotlib."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from mlops_assets.evaluation.evaluate import plain
from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.monitoring.monitor_result import PROBABILITY, MonitorResult, constant_answers, too_few
from mlops_assets.spec.gate import LOWER_IS_BETTER
from mlops_assets.spec.monitor import OnPerformance, Performance
from mlops_assets.statistics import plots
from mlops_assets.statistics.metrics import Interval, intervals, measure

ALL_VERSIONS = "all"
REALISED = ("auc", "brier", "ece")
NUMBERS = ("label_rate", "mean_probability", *REALISED)
SCHEMA = {"period": pl.Date(), "model_version": pl.String(), "rows": pl.Int64(), **dict.fromkeys(NUMBERS, pl.Float64())}
DAY_ROWS = 50  # a day with fewer predictions is too noisy for the plot


def monitor_performance(
    spec: Performance, bounds: Sequence[OnPerformance], *, label: str, known: pl.DataFrame, recent: pl.DataFrame, seed: int
) -> MonitorResult:
    """The metrics of `recent` against `bounds`. Passes while there is too little data."""
    if len(recent) < spec.min_rows:
        return too_few(len(recent), spec.min_rows, "known outcomes")
    if constant := constant_answers(recent):
        return constant
    if (of_one_class := recent[label].drop_nulls()).n_unique() < 2:
        message = f"No verdict: the {len(of_one_class):,} known outcomes of the window are all of one class."
        return MonitorResult(True, message, {"rows": len(known)})
    metrics = window_metrics(recent, label=label, seed=seed)
    breaches: list[str] = []
    for trigger in bounds:
        side, sign = ("above", 1) if trigger.metric in LOWER_IS_BETTER else ("below", -1)
        if sign * (metrics[trigger.metric].value - trigger.bound) > 0:
            breaches.append(f"{trigger.metric} {metrics[trigger.metric]} of the window is {side} {trigger.bound}")
    message = "; ".join(breaches) or f"auc {metrics['auc']} over the last {in_words(spec.window)} is within its bound."
    figures = {"rows": len(known)} | {f"window_{name}": interval.value for name, interval in metrics.items()}
    monthly = realised(known, every="1mo", label=label, min_rows=spec.min_rows)
    daily = realised(known, every="1d", label=label, min_rows=DAY_ROWS)
    tables = {"by_month": monthly.to_dicts(), "by_day": daily.tail(31).to_dicts()}
    days, bound = daily.filter(model_version=ALL_VERSIONS), next((one.bound for one in bounds if one.metric == "auc"), None)
    plot = plots.metric_over_time("auc", days["period"].to_list(), days["auc"].fill_null(float("nan")).to_list(), bound=bound)
    return MonitorResult(not breaches, message, figures, tables, {"auc": plot})


def realised(outcomes: pl.DataFrame, *, every: str, label: str, min_rows: int) -> pl.DataFrame:
    """One row per period and model version, and one for all versions together, in order; columns as in SCHEMA.

    `every` is 1d or 1mo, `period` the first day of the period of event_timestamp (UTC). Metrics are null under `min_rows`
    rows and where undefined (auc of one class). Rows without label or probability are left out.
    """
    period = pl.col(EVENT_TIMESTAMP).dt.truncate(every).dt.date()
    known = _known(outcomes, label).with_columns(pl.col("model_version").cast(pl.String), period=period)
    groups = pl.concat([known, known.with_columns(model_version=pl.lit(ALL_VERSIONS))]).group_by("period", "model_version")
    rows: list[dict[str, Any]] = []
    for (day, version), group in groups:
        truth, probability = group[label].to_numpy(), group[PROBABILITY].to_numpy()
        means = {"label_rate": float(truth.mean()), "mean_probability": float(probability.mean())}
        enough = len(group) >= min_rows
        metrics = {name: plain(measure(name, truth, probability)) if enough else None for name in REALISED}
        rows.append({"period": day, "model_version": version, "rows": len(group), **means, **metrics})
    return pl.DataFrame(rows, schema=SCHEMA).sort("period", pl.col("model_version") == ALL_VERSIONS, "model_version")


def _known(outcomes: pl.DataFrame, label: str) -> pl.DataFrame:
    return outcomes.drop_nulls([label, PROBABILITY]).with_columns(pl.col(label).cast(pl.Int8))


def window_metrics(outcomes: pl.DataFrame, *, label: str, seed: int) -> dict[str, Interval]:
    """Every metric of the rows of one window, with its interval. Rows without label or probability are left out."""
    known = _known(outcomes, label)
    return intervals(known[label].to_numpy(), known[PROBABILITY].to_numpy(), seed=seed)
