"""Drift between two samples, computed from their profiles.

A change of a column is drift when it is larger than its declared bound (PSI, Kolmogorov-Smirnov, new values, missing values),
and larger than chance explains in samples of this size.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import false_discovery_control, fisher_exact

from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics.distances import chi_square_p, js, kl, ks, psi, shares, wasserstein
from mlops_assets.statistics.metrics import Array
from mlops_assets.statistics.profile import BUCKETS, CategoricalProfile, ColumnProfile, NumericProfile, in_buckets

MIN_EXPECTED, MAX_GROUPS = 5.0, 50


class ColumnDrift(NamedTuple):
    """How one column moved, from the reference to the current sample. `ks` and `wasserstein` (in standard deviations) are None
    for a categorical column, `kl` is in nats. `chi_square_p` is the probability of such a change of the values by chance.
    `new_share` is the share of values that the reference does not have (numbers: out of its range), less what any sample has;
    `missing_change` is current minus reference share. `changed` says what of it is drift: values, new values, missing values.
    `excess` is the largest change in multiples of its bound, of those that are drift where any is. `psi_excess` is the PSI less
    what is expected of two samples of this size, which is drift above `max_psi`.
    """

    name: str
    psi: float
    ks: float | None
    js: float
    kl: float
    wasserstein: float | None
    chi_square_p: float
    new_share: float
    missing_change: float
    changed: tuple[str, ...] = ()
    excess: float = 0.0
    psi_excess: float = 0.0
    max_psi: float = 0.0

    @property
    def drifted(self) -> bool:
        return bool(self.changed)


class Test(NamedTuple):
    """A change of a column in multiples of its bound, and how probable one at least as large is by chance."""

    subject: str
    excess: float
    p: float


class Bounds(NamedTuple):
    """What a change of one column has to exceed to be drift."""

    psi: float
    new_share: float
    missing_change: float


def bounds_of(spec: Drift) -> Bounds:
    """The declared ones."""
    return Bounds(spec.max_psi, spec.max_new_share, spec.max_missing_change)


def compare_profiles(
    reference: Mapping[str, ColumnProfile],
    current: Mapping[str, ColumnProfile],
    spec: Drift,
    bounds: Mapping[str, Bounds] = MappingProxyType({}),
) -> list[ColumnDrift]:
    """One result per column of `reference`, in its order; none is drifted while a sample has fewer than `spec.min_rows` rows.
    `bounds` are those of columns that have others than the declared ones.

    `current` has the bins of `reference`, as from profile_like. Of the reported changes, at most the share
    `spec.false_discovery_rate` is expected to be chance (Benjamini and Hochberg 1995).
    """
    declared = bounds_of(spec)
    compared = [_compare(name, one, current[name], spec, bounds.get(name, declared)) for name, one in reference.items()]
    if not compared:
        return []
    adjusted = iter(false_discovery_control([test.p for _, tests in compared for test in tests]))
    return [_judged(column, tests, [next(adjusted) <= spec.false_discovery_rate for _ in tests]) for column, tests in compared]


def _judged(column: ColumnDrift, tests: Sequence[Test], is_no_chance: Sequence[bool]) -> ColumnDrift:
    changed = [test for test, counts in zip(tests, is_no_chance, strict=True) if counts and test.excess > 1]
    return column._replace(changed=tuple(test.subject for test in changed), excess=max(test.excess for test in changed or tests))


class Change(NamedTuple):
    """What bounds are about, of one column: as in ColumnDrift."""

    psi: float
    psi_excess: float
    new_share: float
    missing_change: float


def measure_change(reference: ColumnProfile, current: ColumnProfile) -> Change:
    """How large the changes are, not yet whether they are drift."""
    rows = comparable_bins(reference, current)
    p, q = shares(rows)
    by_chance = (np.count_nonzero(rows.any(axis=0)) - 1) * (1 / np.maximum(rows.sum(axis=1), 1)).sum()
    moved = psi(p, q)
    return Change(moved, float(moved - by_chance), _new_share(reference, current), float(q[0] - p[0]))


def measure_column(name: str, reference: ColumnProfile, current: ColumnProfile) -> ColumnDrift:
    """With the distances that are only shown: they take ten times as long."""
    rows = comparable_bins(reference, current)
    p, q = shares(rows)
    numbers = (reference, current) if isinstance(reference, NumericProfile) and isinstance(current, NumericProfile) else None
    return ColumnDrift(
        name,
        **measure_change(reference, current)._asdict(),
        ks=ks(p, q) if numbers else None,
        js=js(p, q),
        kl=kl(p, q),
        wasserstein=wasserstein(*numbers) if numbers else None,
        chi_square_p=_p_of_equal_shares(rows),
    )


def _compare(
    name: str, reference: ColumnProfile, current: ColumnProfile, spec: Drift, bounds: Bounds
) -> tuple[ColumnDrift, list[Test]]:
    rows, column = comparable_bins(reference, current), measure_column(name, reference, current)
    values = _multiple(column.psi_excess, bounds.psi)
    if column.ks is not None:
        values = min(values, _multiple(column.ks, spec.max_ks))
    tests = [
        Test("values", values, column.chi_square_p),
        Test("new values", _multiple(column.new_share, bounds.new_share), _p_of_new_values(reference, current)),
        Test("missing values", _multiple(abs(column.missing_change), bounds.missing_change), _p_of_equal_missing(rows)),
    ]
    enough = rows.sum(axis=1).min() >= spec.min_rows
    return column._replace(max_psi=bounds.psi), tests if enough else [test._replace(excess=0.0) for test in tests]


def _multiple(change: float, bound: float) -> float:
    """Any change is infinitely more than a bound of 0."""
    if change <= 0:
        return 0.0
    return float(change / bound) if bound else np.inf


def comparable_bins(reference: ColumnProfile, current: ColumnProfile) -> Array:
    """Rows per bin, missing first, shape (2, bins). Categories are pooled in the order of their rows in both samples together,
    and those with few rows in buckets: 1,000 categories of one row each are no drift of 1,000 bins, and an order by one sample
    alone would favour it.
    """
    missing = np.array([[reference.missing], [current.missing]])
    if isinstance(reference, NumericProfile) or isinstance(current, NumericProfile):
        return np.column_stack([missing, np.array([[*one.counts] for one in (reference, current)])])
    frequent = _frequent(reference, current)
    rows = np.array([_by_value(one, frequent) for one in (reference, current)])
    return np.column_stack([missing, pooled(rows[:, np.argsort(-rows.sum(axis=0), kind="stable")])])


def _frequent(reference: CategoricalProfile, current: CategoricalProfile) -> list[str]:
    """The values with a bin of their own of which 5 rows are expected in the smaller sample; all others are in buckets."""
    sizes = [sum(one.counts.values()) + sum(one.rest) for one in (reference, current)]
    least = MIN_EXPECTED * sum(sizes) / max(min(sizes), 1)
    return [value for value in sorted(current.counts) if reference.counts.get(value, 0) + current.counts[value] >= least]


def _by_value(profile: CategoricalProfile, frequent: Sequence[str]) -> Array:
    """Rows of each frequent value, then of each bucket."""
    others = {value: rows for value, rows in profile.counts.items() if value not in {*frequent}}
    rest = in_buckets(others) + np.array(profile.rest or [0] * BUCKETS)
    return np.array([*(profile.counts.get(value, 0) for value in frequent), *rest])


def pooled(rows: Array) -> Array:
    """Neighbouring bins together, until each is expected to have 5 rows in the smaller sample, with fewer of which the
    distribution of chi-square is wrong (Cochran 1954), and a fiftieth of it.
    """
    if not rows.any():
        return rows[:, :0]
    expected = rows.sum(axis=0) * rows.sum(axis=1).min() / rows.sum()
    upto, least, starts = np.cumsum(expected), max(MIN_EXPECTED, expected.sum() / MAX_GROUPS), [0]
    while (end := int(np.searchsorted(upto, upto[starts[-1]] - expected[starts[-1]] + least)) + 1) < len(expected):
        starts.append(end)
    if len(starts) > 1 and expected[starts[-1] :].sum() < MIN_EXPECTED:
        starts.pop()
    return np.add.reduceat(rows, starts, axis=1)


def _p_of_equal_shares(rows: Array) -> float:
    """Of Pearson's chi-square test of homogeneity on bins of enough rows, missing left out."""
    return chi_square_p(pooled(rows[:, 1:]))


def _p_of_equal_missing(rows: Array) -> float:
    test: Any = fisher_exact(np.column_stack([rows[:, 0], rows[:, 1:].sum(axis=1)]))
    return float(test.pvalue)


def _new_share(reference: ColumnProfile, current: ColumnProfile) -> float:
    """The excess of rows with a value that the reference does not have, or that is out of its range.

    In a sample of the same distribution, the expected share of such rows is that of the values which the reference has only
    once (Good 1953), and 2 / (rows + 1) out of its range.
    """
    (new, others), (once, more) = _count_new(reference, current)
    return new / max(new + others, 1) - once / max(once + more, 1)


def _p_of_new_values(reference: ColumnProfile, current: ColumnProfile) -> float:
    test: Any = fisher_exact(_count_new(reference, current), alternative="greater")
    return float(test.pvalue)


def _count_new(reference: ColumnProfile, current: ColumnProfile) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows of `current` with new and other values, and rows of `reference` that stand for new ones by chance, and others."""
    if isinstance(reference, CategoricalProfile) and isinstance(current, CategoricalProfile):
        new = current.new + sum(rows for value, rows in current.counts.items() if not reference.counts.get(value))
        once = [*reference.counts.values()].count(1)
    else:
        before, served = comparable_bins(reference, current)[:, 1:]
        new, once = int(served[before == 0].sum()), min(2, int(before.sum()))
    rows, now = (one.rows - one.missing for one in (reference, current))
    return (new, now - new), (once, rows - once)
