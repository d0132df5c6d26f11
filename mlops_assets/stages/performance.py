"""Realised quality of answered requests whose labels are known: by day or month, and over a recent window.

Belongs here: the tables behind the performance asset and its trigger. Not here: joining labels to answers, and the
metrics' formulas (metrics.py).
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal, cast

import polars as pl

from mlops_assets.stages.evaluate import plain
from mlops_assets.stages.metrics import METRICS, Interval, interval, measure

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


@dataclass(frozen=True)
class WindowMetrics:
    """Quality of the rows with `start` <= moment < `end`. `metrics` is empty under the asked number of rows."""

    start: datetime
    end: datetime
    rows: int
    label_rate: float
    metrics: dict[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values; an undefined number is None."""
        metrics = {name: vars(found) for name, found in self.metrics.items()}
        return cast(dict[str, Any], plain({**vars(self), "metrics": metrics}))


def realised(
    outcomes: pl.DataFrame,
    *,
    by: Period,
    label: str,
    probability: str,
    min_rows: int,
    at: str = "event_timestamp",
    version: str = "model_version",
) -> pl.DataFrame:
    """One row per period and model version, and one for all versions together, in order; columns as in SCHEMA.

    `period` is the first day of the period of `at` (UTC). Metrics are null under `min_rows` rows and where undefined
    (auc of one class). Rows without label or probability are left out.
    """
    moment, name = pl.col(at).dt.truncate("1d" if by == "day" else "1mo").dt.date(), pl.col(version).cast(pl.String)
    known = _known(outcomes, label, probability).with_columns(name, period=moment)
    together = known.with_columns(pl.lit(ALL_VERSIONS).alias(version))
    groups = pl.concat([known, together]).group_by("period", version, maintain_order=True)
    rows = [
        {
            "period": cast(date, period),
            "model_version": cast(str, name),
            **_tally(group, label=label, probability=probability, min_rows=min_rows),
        }
        for (period, name), group in groups
    ]
    return pl.DataFrame(rows, schema=SCHEMA).sort("period", pl.col("model_version") == ALL_VERSIONS, "model_version")


def _known(outcomes: pl.DataFrame, label: str, probability: str) -> pl.DataFrame:
    return outcomes.filter(pl.col(label).is_not_null(), pl.col(probability).is_not_null())


def _tally(group: pl.DataFrame, *, label: str, probability: str, min_rows: int) -> dict[str, Any]:
    truth, answered = group[label].cast(pl.Int8).to_numpy(), group[probability].to_numpy()
    enough = len(group) >= min_rows
    return {
        "rows": len(group),
        "label_rate": float(truth.mean()),
        "mean_probability": float(answered.mean()),
        **{metric: plain(measure(metric, truth, answered)) if enough else None for metric in REALISED},
    }


def window_metrics(
    outcomes: pl.DataFrame,
    *,
    end: datetime,
    window: timedelta,
    label: str,
    probability: str,
    min_rows: int,
    seed: int,
    at: str = "event_timestamp",
    resamples: int = 200,
) -> WindowMetrics:
    """Every metric with its interval over the `window` that ends with `end` (exclusive)."""
    inside = pl.col(at).is_between(end - window, end, closed="left")
    rows = _known(outcomes, label, probability).filter(inside)
    truth, answered = rows[label].cast(pl.Int8).to_numpy(), rows[probability].to_numpy()
    asked = METRICS if len(rows) >= min_rows else ()
    return WindowMetrics(
        start=end - window,
        end=end,
        rows=len(rows),
        label_rate=float(truth.mean()) if len(rows) else float("nan"),
        metrics={metric: interval(metric, truth, answered, seed=seed, resamples=resamples) for metric in asked},
    )
