"""How far two windows are apart, from their rows by bin alone: scipy's statistics, at a cost that no number of rows changes."""
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import warnings
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr, rel_entr
from scipy.stats import chi2_contingency, entropy, wasserstein_distance

from mlops_assets.statistics.mergeable_profile import Profile
from mlops_assets.statistics.metrics import Array
from mlops_assets.statistics.profile import NumericProfile

FLOOR = 1e-4  # smallest share of a bin: without it, one unseen category would have infinite weight


def shares(rows: Array) -> Array:
    """Of the rows per bin, shape (profiles, bins); an empty sample has zeros."""
    return rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)


def psi(p: Array, q: Array) -> float:
    """Population stability index in nats: sum of (q - p) ln(q / p) over the bins, missing being one of them.

    Two samples of one distribution give about (bins - 1) * (1 / n + 1 / m) by chance alone.
    """
    p, q = _floored(p, q)
    return float((q - p) @ np.log(q / p))


def kl(p: Array, q: Array) -> float:
    """Relative entropy of the current shares q with respect to p, in nats, with the floor of `psi`."""
    p, q = _floored(p, q)
    return float(entropy(q, p))


def js(p: Array, q: Array) -> float:
    """Jensen-Shannon distance to base 2, from 0 (equal shares) to 1 (no bin in common)."""
    middle = (p + q) / 2
    return float(np.sqrt((rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / np.log(4)))


def ks(p: Array, q: Array) -> float:
    """Kolmogorov-Smirnov distance at the bins' edges, a missing value ranking below every number.

    With p and q the shares of a bin: ks <= exact distance <= ks + max over bins of min(p, q), which is about 0.1
    for ten bins at worst and far less for a smooth shift. A bin of a single value adds no error.
    """
    return float(np.abs(np.cumsum(p) - np.cumsum(q)).max())


def wasserstein(reference: NumericProfile, current: NumericProfile) -> float | None:
    """The mean way from one distribution to the other in standard deviations of the reference, with the rows of a bin at their
    mean; None without a value, and for profiles of earlier releases, which have no means.
    """
    if not (sum(reference.counts) and sum(current.counts) and reference.sums and current.sums):
        return None
    (before, weights), (now, others) = ((one.means()[filled], np.array(one.counts)[filled])
                                        for one in (reference, current) for filled in [np.array(one.counts) > 0])  # fmt: skip
    distance, deviation = float(wasserstein_distance(before, now, weights, others)), reference.deviation()
    return distance / deviation if deviation else float("inf") if distance else 0.0


def chi_square_p(rows: Array) -> float:
    """Of Pearson's test of homogeneity on rows per bin, (2, bins); 1 where there is nothing to compare."""
    used = rows[:, rows.any(axis=0)]
    if used.shape[1] < 2 or not used.sum(axis=1).all():
        return 1.0
    test: Any = chi2_contingency(used, correction=False)
    return float(test.pvalue)


class PairChange(NamedTuple):
    """A pair of numeric columns and their correlations. `p` is the probability of such a change by chance in any of all pairs."""

    columns: tuple[str, str]
    reference: float
    current: float
    p: float

    @property
    def change(self) -> float:
        return abs(self.current - self.reference)


def compare_correlations(reference: Profile, current: Profile, rows: Array) -> Sequence[PairChange]:
    """Of every pair whose correlation is defined in both windows, the one that changed most first. `current` has the numeric
    columns of `reference` first. `rows` are those of the reference, (n, columns), from which the spread of a sample's correlation
    is estimated.
    """
    columns, before = [*reference.bins.numeric], reference.correlations()
    now, counts = (of[: len(columns), : len(columns)] for of in (current.correlations(), current.pair_rows()))
    with np.errstate(divide="ignore"):
        error = _spread(rows, before) * np.sqrt(1 / reference.pair_rows() + 1 / counts)
    pairs = [pair for pair in combinations(range(len(columns)), 2) if np.isfinite([before[pair], now[pair], error[pair]]).all()]
    with np.errstate(divide="ignore", invalid="ignore"):
        by_chance = np.nan_to_num(2 * ndtr(-np.abs(now - before) / error), nan=1.0) * len(pairs)
    changes = (
        PairChange((columns[one], columns[other]), *(float(of[one, other]) for of in (before, now, np.minimum(by_chance, 1))))
        for one, other in pairs
    )
    return sorted(changes, key=lambda one: -one.change)


def _spread(rows: Array, correlations: Array) -> Array:
    """The standard deviation of sqrt(n) times the correlation of n such rows, whatever their distribution: that of its influence
    function (Devlin, Gnanadesikan and Kettenring 1975). Fisher's z holds for normal columns only.
    """
    is_there = np.isfinite(rows)
    with warnings.catch_warnings():  # of columns without two values
        warnings.simplefilter("ignore", RuntimeWarning)
        finite = np.where(is_there, rows, np.nan)
        z = np.where(is_there, (finite - np.nanmean(finite, axis=0)) / np.nanstd(finite, axis=0), 0.0)
    present = is_there.astype(float)
    powers = [present, z, z * z, z * z * z, z * z * z * z]
    both = present.T @ present
    weight = np.divide(1.0, both, out=np.full_like(both, np.nan), where=both > 0)

    def mean(one: int, other: int) -> Array:
        """Of the product of these powers of both columns, over the rows that have both; (k, k)."""
        return powers[one].T @ powers[other] * weight

    # Of z_x z_y - r (z_x^2 + z_y^2) / 2.
    r, expected = correlations, mean(1, 1) - correlations / 2 * (mean(2, 0) + mean(0, 2))
    squared = mean(2, 2) - r * (mean(3, 1) + mean(1, 3)) + r**2 / 4 * (mean(4, 0) + 2 * mean(2, 2) + mean(0, 4))
    return np.sqrt(np.maximum(squared - expected**2, 0.0))


def _floored(p: Array, q: Array) -> Array:
    floored = np.maximum((p, q), FLOOR)
    return floored / floored.sum(axis=1, keepdims=True)
