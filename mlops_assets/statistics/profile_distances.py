"""How far two windows are apart, from their profiles alone: in under 50 ms, whatever the number of their rows."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import chi2_contingency, entropy, wasserstein_distance

from mlops_assets.statistics.drift import FLOOR, count_bins, js, ks, psi, shares
from mlops_assets.statistics.mergeable_profile import Profile
from mlops_assets.statistics.metrics import Array
from mlops_assets.statistics.profile import CategoricalProfile, ColumnProfile, NumericProfile


class Distances(NamedTuple):
    """Of one column, from the reference to the current window, over its bins; missing is a bin of `psi`, `js`, `kl` and `ks`.
    `kl` is in nats; `wasserstein` in standard deviations of the reference, with each bin at the mean of its rows; these and `ks`
    are None of a categorical column. `missing` is the current share, `new_share` that of values that the reference lacks.
    """

    name: str
    psi: float
    js: float
    kl: float
    ks: float | None
    wasserstein: float | None
    chi_square: float
    chi_square_p: float
    missing: float
    missing_change: float
    new_share: float


class PairChange(NamedTuple):
    """A pair of numeric columns and their correlations."""

    columns: tuple[str, str]
    reference: float
    current: float

    @property
    def change(self) -> float:
        return abs(self.current - self.reference)


def measure_distances(reference: Profile, current: Profile) -> list[Distances]:
    """In the order of the columns. Both have the same bins."""
    before, now = reference.columns(), current.columns()
    return [_measure(name, (reference, current), before[name], now[name]) for name in before]


def _measure(name: str, profiles: tuple[Profile, Profile], before: ColumnProfile, now: ColumnProfile) -> Distances:
    rows = count_bins(before, now)
    p, q = shares(rows)
    is_numeric = isinstance(before, NumericProfile)
    statistic, probability = chi_square(rows[:, 1:])
    return Distances(
        name=name,
        psi=psi(p, q),
        js=js(p, q),
        kl=kl(p, q),
        ks=ks(p, q) if is_numeric else None,
        wasserstein=wasserstein(name, *profiles, rows[:, 1:]) if is_numeric else None,
        chi_square=statistic,
        chi_square_p=probability,
        missing=float(q[0]),
        missing_change=float(q[0] - p[0]),
        new_share=_new_share(before, now),
    )


def kl(p: Array, q: Array) -> float:
    """Relative entropy of the current shares q with respect to p, in nats, with the floor of `psi`."""
    floored = np.maximum((p, q), FLOOR)
    return float(entropy(floored[1], floored[0]))


def wasserstein(name: str, reference: Profile, current: Profile, rows: Array) -> float:
    """The mean way from one distribution to the other; nan without a value."""
    pairs = zip((reference, current), rows, strict=True)
    sides = [(profile.means_by_bin(name)[counts > 0], counts[counts > 0]) for profile, counts in pairs]
    if not all(len(counts) for _, counts in sides):
        return float("nan")
    (before, weights), (now, others) = sides
    distance = float(wasserstein_distance(before, now, weights, others))
    deviation = reference.deviation(name)
    return distance / deviation if deviation else float("inf") if distance else 0.0


def chi_square(rows: Array) -> tuple[float, float]:
    """Pearson's statistic of homogeneity, and its p, of the bins with any row."""
    used = rows[:, rows.sum(axis=0) > 0]
    if used.shape[1] < 2 or not used.sum(axis=1).all():
        return 0.0, 1.0
    test: Any = chi2_contingency(used, correction=False)
    return float(test.statistic), float(test.pvalue)


def _new_share(before: ColumnProfile, now: ColumnProfile) -> float:
    if not (isinstance(before, CategoricalProfile) and isinstance(now, CategoricalProfile)):
        return 0.0
    new = sum(count for value, count in now.counts.items() if value not in before.counts)
    return new / max(sum(now.counts.values()), 1)


def measure_correlations(reference: Profile, current: Profile) -> Sequence[PairChange]:
    """Of every pair whose correlation is defined in both windows, the one that changed most first."""
    before, now, columns = reference.correlations(), current.correlations(), [*reference.bins.numeric]
    pairs = [
        PairChange((columns[one], columns[other]), float(before[one, other]), float(now[one, other]))
        for one, other in combinations(range(len(columns)), 2)
        if np.isfinite([before[one, other], now[one, other]]).all()
    ]
    return sorted(pairs, key=lambda pair: -pair.change)
