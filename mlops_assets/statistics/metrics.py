"""Bootstrap intervals and paired comparisons of the metrics of any sample of truths and predictions."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlops_assets.spec.gate import LOWER_IS_BETTER

Array = NDArray[Any]
BINS, CONFIDENCE = 10, 0.95
ALL_ROWS = slice(None)
BIASED = ("ece",)  # resampling adds noise to every bin, which raises the ECE


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


class Sample(Protocol):
    """Truths and predictions of the same rows, prepared once so that each resample is cheap to measure."""

    def __len__(self) -> int: ...

    def measure(self, metrics: Collection[str], rows: Array | slice = ALL_ROWS) -> dict[str, float]:
        """Each metric of the sample, or of the resample that takes `rows` (indices, repeats allowed); nan where undefined."""
        ...


def _resamples(rows: int, times: int, seed: int) -> Iterator[Array]:
    """Indices of the same rows for the same seed, whatever the predictions."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, rows, rows) for _ in range(times))


def measure(metric: str, sample: Sample) -> float:
    """One metric; nan where undefined (auc of one class, anything of no rows)."""
    return sample.measure((metric,))[metric]


def interval(metric: str, sample: Sample, *, seed: int, resamples: int = 200) -> Interval:
    """As `intervals`, of one metric."""
    return intervals(sample, (metric,), seed=seed, resamples=resamples)[metric]


def intervals(sample: Sample, metrics: Collection[str], *, seed: int, resamples: int = 200) -> dict[str, Interval]:
    """Percentile bootstrap (Efron and Tibshirani 1993, ch. 13). Resamples in which a metric is undefined are left out.

    Each resample is prepared once for all metrics.
    """
    values = sample.measure(metrics)
    measured = [name for name, value in values.items() if not np.isnan(value)]
    draws = [sample.measure(measured, rows) for rows in _resamples(len(sample), resamples if measured else 0, seed)]
    return {
        name: _interval(name, value, np.array([draw[name] for draw in draws])) if name in measured else Interval()
        for name, value in values.items()
    }


def _interval(metric: str, value: float, draws: Array) -> Interval:
    if metric in BIASED:  # recentre the draws
        draws = np.clip(draws - draws.mean() + value, 0, 1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(draws, (tail, 1 - tail))
    return Interval(value, float(low), float(high))


def compare(
    metric: str, challenger: Sample, champion: Sample, *, seed: int, resamples: int = 500, confidence: float = CONFIDENCE
) -> Comparison:
    """As `comparisons`, of one metric."""
    return comparisons(challenger, champion, (metric,), seed=seed, resamples=resamples, confidence=confidence)[metric]


def comparisons(
    challenger: Sample, champion: Sample, metrics: Collection[str], *, seed: int, resamples: int = 500,
    confidence: float = CONFIDENCE,
) -> dict[str, Comparison]:  # fmt: skip
    """Paired bootstrap: both samples, of the same rows, are measured on each resample. An undefined metric is never better."""
    values = _gains(challenger, champion, metrics)
    measured = [name for name, value in values.items() if not np.isnan(value)]
    resampled = _resamples(len(challenger), resamples if measured else 0, seed)
    draws = [_gains(challenger, champion, measured, rows) for rows in resampled]
    return {
        name: _comparison(value, [draw[name] for draw in draws] if name in measured else [value], confidence)
        for name, value in values.items()
    }


def _gains(challenger: Sample, champion: Sample, metrics: Collection[str], rows: Array | slice = ALL_ROWS) -> dict[str, float]:
    ours, theirs = challenger.measure(metrics, rows), champion.measure(metrics, rows)
    return {name: (-1.0 if name in LOWER_IS_BETTER else 1.0) * (ours[name] - theirs[name]) for name in metrics}


def _comparison(value: float, draws: Sequence[float], confidence: float) -> Comparison:
    if np.isnan(value):
        return Comparison(value, value, value, better=False)
    low, high = np.nanquantile(draws, (1 - confidence, confidence))
    return Comparison(value, float(low), float(high), better=bool(low > 0))
