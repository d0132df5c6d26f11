"""Metrics of a probability against a 0/1 truth."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlops_assets.statistics.metrics import ALL_ROWS, BINS, Array

_EPS = float(np.finfo(np.float64).eps)  # as sklearn.metrics.log_loss clips


@dataclass(frozen=True)
class Losses:
    """Of one probability each, (n,), where the row is positive and where it is negative; the same for all resamples."""

    probability: Array

    @cached_property
    def brier(self) -> tuple[Array, Array]:
        return (1 - self.probability) ** 2, self.probability**2

    @cached_property
    def log_loss(self) -> tuple[Array, Array]:
        clipped = np.clip(self.probability, _EPS, 1 - _EPS)
        return -np.log(clipped), -np.log1p(-clipped)


# Formulas over counts: 200 resamples of 27,000 rows take under a second; scikit-learn sorts each resample again.
@dataclass(frozen=True)
class Tally:
    """Rows counted by distinct probability, rising, in arrays of one length. A metric is nan where it is undefined."""

    losses: Losses
    positive: Array
    negative: Array

    @property
    def probability(self) -> Array:
        return self.losses.probability

    @cached_property
    def rows(self) -> Array:
        return self.positive + self.negative

    @cached_property
    def positives_to_here(self) -> Array:
        return np.cumsum(self.positive)

    @cached_property
    def rows_to_here(self) -> Array:
        return np.cumsum(self.rows)

    # Sums of counts are whole numbers, exact in whatever order; those of losses keep theirs, and with it their last digits.
    @cached_property
    def positives(self) -> float:
        return float(self.positive.sum())

    @cached_property
    def total(self) -> float:
        return self.positives + float(self.negative.sum())

    def auc(self) -> float:
        """Chance that a positive row ranks above a negative one, ties counting half (Mann-Whitney)."""
        pairs = self.positives * (self.total - self.positives)
        below = np.cumsum(self.negative) - self.negative / 2
        return float(self.positive @ below / pairs) if pairs else math.nan

    def average_precision(self) -> float:
        """Sum over thresholds of (recall step) * precision, as sklearn.metrics.average_precision_score."""
        hits, called = self.positives - self.positives_to_here + self.positive, self.total - self.rows_to_here + self.rows
        precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
        return float(self.positive[::-1] @ precision[::-1] / self.positives) if self.positives else math.nan

    def brier(self) -> float:
        return self._mean_loss(*self.losses.brier)

    def log_loss(self) -> float:
        """In nats, probabilities clipped to [eps, 1 - eps]."""
        return self._mean_loss(*self.losses.log_loss)

    def _mean_loss(self, of_positive: Array, of_negative: Array) -> float:
        return float((self.positive @ of_positive + self.negative @ of_negative) / self.total) if self.total else math.nan

    def ece(self, bins: int = BINS) -> float:
        """Expected calibration error: mean over equal-count bins, by rows, of |mean probability - share of positives|."""
        mean, share, rows = self.calibration(bins)
        return float(np.abs(mean - share) @ rows / rows.sum()) if len(rows) else math.nan

    def calibration(self, bins: int = BINS) -> tuple[Array, Array, Array]:
        """Mean probability, share of positives and rows of each non-empty equal-count bin, rising."""
        if not len(self.probability):
            return np.empty(0), np.empty(0), np.empty(0)
        # Rows of one probability stay in the bin of their middle, so the result does not depend on the rows' order.
        places = bins * (self.rows_to_here - self.rows / 2) / max(self.total, 1)
        ends = np.append(np.searchsorted(places, np.arange(1, bins)), len(places))
        index = np.repeat(np.arange(bins), np.diff(ends, prepend=0))
        expected = np.bincount(index, weights=self.rows * self.probability, minlength=bins)
        counted, positive = (_by_part(sums, ends) for sums in (self.rows_to_here, self.positives_to_here))
        full = counted > 0
        return expected[full] / counted[full], positive[full] / counted[full], counted[full]


def _by_part(sums: Array, ends: Array) -> Array:
    """The sum of each part, up to its end, from the sums up to each place."""
    return np.diff(np.where(ends > 0, sums[ends - 1], 0), prepend=0)


class BinarySample:
    """A sample sorted once, so that every resample of it is counted without sorting again. `bins` are those of ece.

    Raises ValueError unless both arrays have one length, truth is 0 or 1 and probability is in [0, 1].
    """

    def __init__(self, truth: Array, probability: Array, *, bins: int = BINS) -> None:
        if truth.shape != probability.shape or truth.ndim != 1:
            raise ValueError(f"metrics · truth is {truth.shape}, probability {probability.shape}. Pass two equally long vectors.")
        if not np.isin(truth, (0, 1)).all():
            raise ValueError("metrics · truth has values other than 0 and 1. Drop the rows without a label first.")
        if not ((probability >= 0) & (probability <= 1)).all():
            raise ValueError("metrics · probability has nan or values outside [0, 1]. Pass probabilities, not scores.")
        self.bins = bins
        self.probability, rank = np.unique(np.asarray(probability, dtype=np.float64), return_inverse=True)
        self.losses = Losses(self.probability)
        self.code = 2 * rank.astype(np.int64) + np.asarray(truth, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.code)

    def measure(self, metrics: Collection[str], rows: Array | slice = ALL_ROWS) -> dict[str, float]:
        """Each metric of the sample, or of the resample that takes `rows`; nan where it is undefined (auc of one class)."""
        tally = self.tally(rows)
        return {name: tally.ece(self.bins) if name == "ece" else METRICS[name](tally) for name in metrics}

    def tally(self, rows: Array | slice = ALL_ROWS) -> Tally:
        """Counts of the sample, or of the resample that takes `rows` (indices, repeats allowed)."""
        counts = np.bincount(self.code[rows], minlength=2 * len(self.probability)).reshape(-1, 2).astype(np.float64)
        return Tally(self.losses, positive=counts[:, 1], negative=counts[:, 0])


METRICS: dict[str, Callable[[Tally], float]] = {
    metric.__name__: metric for metric in (Tally.auc, Tally.average_precision, Tally.brier, Tally.log_loss, Tally.ece)
}
