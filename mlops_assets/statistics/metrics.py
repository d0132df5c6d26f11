"""Metrics of a probability against a 0/1 truth, with bootstrap intervals and paired comparisons."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mlops_assets.spec.gate import LOWER_IS_BETTER

Array = NDArray[Any]
BINS = 10
_EPS = float(np.finfo(np.float64).eps)  # as sklearn.metrics.log_loss clips


@dataclass(frozen=True)
class Interval:
    """A metric and its two-sided percentile bootstrap bounds; nan where undefined."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Comparison:
    """How much better the challenger is, positive whatever the metric's direction.

    `low` and `high` are one-sided bounds, each with the comparison's confidence; `better` iff `low` > 0.
    """

    difference: float
    low: float
    high: float
    better: bool

    def __str__(self) -> str:
        return f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


# Formulas over counts: 200 resamples of 27,000 rows take under 3 s; scikit-learn sorts each resample again.
@dataclass(frozen=True)
class Tally:
    """Rows counted by distinct probability, rising. Three arrays of one length."""

    probability: Array
    positive: Array
    negative: Array

    @property
    def rows(self) -> Array:
        return self.positive + self.negative


@dataclass(frozen=True)
class Ranked:
    """A sample sorted once, so that every resample of it is counted without sorting again.

    `code` is, per row, 2 * (rank of its probability) + truth.
    """

    probability: Array
    code: Array

    @classmethod
    def of(cls, truth: Array, probability: Array) -> Self:
        """Raises ValueError unless both have one length, truth is 0 or 1 and probability is in [0, 1]."""
        _check(truth, probability)
        distinct, rank = np.unique(np.asarray(probability, dtype=np.float64), return_inverse=True)
        return cls(probability=distinct, code=2 * rank.astype(np.int64) + np.asarray(truth, dtype=np.int64))

    def tally(self, rows: Array | None = None) -> Tally:
        """Counts of the sample, or of the resample that takes `rows` (indices, repeats allowed)."""
        code = self.code if rows is None else self.code[rows]
        counts = np.bincount(code, minlength=2 * len(self.probability)).reshape(-1, 2).astype(np.float64)
        return Tally(probability=self.probability, positive=counts[:, 1], negative=counts[:, 0])


def _check(truth: Array, probability: Array) -> None:
    if truth.shape != probability.shape or truth.ndim != 1:
        shapes = f"truth has shape {truth.shape}, probability {probability.shape}"
        raise ValueError(f"metrics · {shapes}. Pass two equally long vectors.")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("metrics · truth has values other than 0 and 1. Drop the rows without a label first.")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("metrics · probability has nan or values outside [0, 1]. Pass probabilities, not scores.")


def _auc(tally: Tally) -> float:
    """Chance that a positive row ranks above a negative one, ties counting half (Mann-Whitney)."""
    pairs = tally.positive.sum() * tally.negative.sum()
    below = np.cumsum(tally.negative) - tally.negative / 2
    return float(tally.positive @ below / pairs) if pairs else math.nan


def _average_precision(tally: Tally) -> float:
    """Sum over thresholds of (recall step) * precision, as sklearn.metrics.average_precision_score; nan without positives."""
    hits, called = np.cumsum(tally.positive[::-1]), np.cumsum(tally.rows[::-1])
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    positives = tally.positive.sum()
    return float(tally.positive[::-1] @ precision / positives) if positives else math.nan


def _brier(tally: Tally) -> float:
    return _mean_loss(tally, (1 - tally.probability) ** 2, tally.probability**2)


def _log_loss(tally: Tally) -> float:
    """In nats, probabilities clipped to [eps, 1 - eps]."""
    clipped = np.clip(tally.probability, _EPS, 1 - _EPS)
    return _mean_loss(tally, -np.log(clipped), -np.log1p(-clipped))


def _mean_loss(tally: Tally, of_positive: Array, of_negative: Array) -> float:
    total = tally.rows.sum()
    return float((tally.positive @ of_positive + tally.negative @ of_negative) / total) if total else math.nan


def _ece(tally: Tally, bins: int = BINS) -> float:
    """Expected calibration error: mean over equal-count bins, by rows, of |mean probability - share of positives|."""
    mean, share, rows = calibration(tally, bins)
    return float(np.abs(mean - share) @ rows / rows.sum()) if len(rows) else math.nan


def calibration(tally: Tally, bins: int = BINS) -> tuple[Array, Array, Array]:
    """Mean probability, share of positives and rows of each non-empty equal-count bin, rising."""
    rows = tally.rows
    # Rows of one probability stay in the bin of their middle, so the result does not depend on the rows' order.
    middle = np.cumsum(rows) - rows / 2
    index = np.minimum((bins * middle / max(rows.sum(), 1)).astype(np.int64), bins - 1)
    counted, expected, positive = (
        np.bincount(index, weights=part, minlength=bins) for part in (rows, rows * tally.probability, tally.positive)
    )
    full = counted > 0
    return expected[full] / counted[full], positive[full] / counted[full], counted[full]


METRICS: dict[str, Callable[[Tally], float]] = {
    "auc": _auc,
    "average_precision": _average_precision,
    "brier": _brier,
    "log_loss": _log_loss,
    "ece": _ece,
}


def _formula(metric: str, bins: int) -> Callable[[Tally], float]:
    if metric not in METRICS:
        raise ValueError(f"metrics · {metric!r} is unknown; legal: {', '.join(METRICS)}. Use one of these.")
    return partial(_ece, bins=bins) if metric == "ece" else METRICS[metric]


def measure(metric: str, truth: Array, probability: Array, *, bins: int = BINS) -> float:
    """One metric of (n,) truth and (n,) probability; nan where undefined (auc of one class, anything of no rows)."""
    return _formula(metric, bins)(Ranked.of(truth, probability).tally())


def interval(
    metric: str, truth: Array, probability: Array, *, seed: int, resamples: int = 200, confidence: float = 0.95, bins: int = BINS
) -> Interval:
    """Percentile bootstrap (Efron and Tibshirani 1993, ch. 13). Resamples in which the metric is undefined are left out."""
    formula, ranked = _formula(metric, bins), Ranked.of(truth, probability)
    value = formula(ranked.tally())
    if np.isnan(value):
        return Interval(value, value, value)
    draws = np.array([formula(ranked.tally(rows)) for rows in _resamples(len(truth), resamples, seed)])
    if metric == "ece":  # resampling adds noise to every bin, which raises the ECE: recentre the draws
        draws = np.clip(draws - draws.mean() + value, 0, 1)
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(draws, (tail, 1 - tail))
    return Interval(value, float(low), float(high))


def compare(
    metric: str, truth: Array, challenger: Array, champion: Array, *, seed: int, resamples: int = 500, confidence: float = 0.95
) -> Comparison:
    """Paired bootstrap: both probabilities are measured on each resample of the rows. An undefined metric is never better."""
    formula, sign = _formula(metric, BINS), -1.0 if metric in LOWER_IS_BETTER else 1.0
    ours, theirs = Ranked.of(truth, challenger), Ranked.of(truth, champion)

    def difference(rows: Array | None = None) -> float:
        return sign * (formula(ours.tally(rows)) - formula(theirs.tally(rows)))

    value = difference()
    if np.isnan(value):
        return Comparison(value, value, value, better=False)
    draws = [difference(rows) for rows in _resamples(len(truth), resamples, seed)]
    low, high = np.nanquantile(draws, (1 - confidence, confidence))
    return Comparison(value, float(low), float(high), better=bool(low > 0))


def _resamples(rows: int, times: int, seed: int) -> Iterator[Array]:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, rows, rows) for _ in range(times))
