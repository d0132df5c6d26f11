"""Realised quality of answered requests whose labels are known: by day or month, and over a recent window."""

from typing import Any, Literal

import polars as pl

from mlops_assets.evaluation.evaluate import plain
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.statistics.metrics import METRICS, Interval, interval, measure

Period = Literal["day", "month"]
ALL_VERSIONS = "all"
REALISED = ("auc", "brier", "ece")
SCHEMA: dict[str, Any] = {
    "period": pl.Date,
    "model_version": pl.String,
    "rows": pl.Int64,
    "label_rate": pl.Float64,
    "mean_probability": pl.Float64,
    **dict.fromkeys(REALISED, pl.Float64),
}


def realised(outcomes: pl.DataFrame, *, by: Period, label: str, probability: str, min_rows: int) -> pl.DataFrame:
    """One row per period and model version, and one for all versions together, in order; columns as in SCHEMA.

    `period` is the first day of the period of event_timestamp (UTC). Metrics are null under `min_rows` rows and where
    undefined (auc of one class). Rows without label or probability are left out.
    """
    period = pl.col(EVENT_TIMESTAMP).dt.truncate("1d" if by == "day" else "1mo").dt.date()
    known = _known(outcomes, label, probability).with_columns(pl.col("model_version").cast(pl.String), period=period)
    groups = pl.concat([known, known.with_columns(model_version=pl.lit(ALL_VERSIONS))]).group_by("period", "model_version")
    rows = [
        {"period": day, "model_version": version, **_row(group[label], group[probability], measured=len(group) >= min_rows)}
        for (day, version), group in groups
    ]
    return pl.DataFrame(rows, schema=SCHEMA).sort("period", pl.col("model_version") == ALL_VERSIONS, "model_version")


def _known(outcomes: pl.DataFrame, label: str, probability: str) -> pl.DataFrame:
    return outcomes.filter(pl.col(label).is_not_null(), pl.col(probability).is_not_null())


def _row(labels: pl.Series, probabilities: pl.Series, *, measured: bool) -> dict[str, Any]:
    truth, probability = labels.cast(pl.Int8).to_numpy(), probabilities.to_numpy()
    return {
        "rows": len(truth),
        "label_rate": float(truth.mean()),
        "mean_probability": float(probability.mean()),
        **{metric: plain(measure(metric, truth, probability)) if measured else None for metric in REALISED},
    }


def window_metrics(outcomes: pl.DataFrame, *, label: str, probability: str, seed: int) -> dict[str, Interval]:
    """Every metric of the rows of one window, with its interval. Rows without label or probability are left out."""
    known = _known(outcomes, label, probability)
    truth, scores = known[label].cast(pl.Int8).to_numpy(), known[probability].to_numpy()
    return {name: interval(name, truth, scores, seed=seed) for name in METRICS}
