"""Drift between two samples, computed from their profiles: PSI, Kolmogorov-Smirnov and Jensen-Shannon."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import rel_entr

from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics.metrics import Array
from mlops_assets.statistics.profile import CategoricalProfile, ColumnProfile, NumericProfile

FLOOR = 1e-4  # smallest share of a bin: without it, one unseen category would have infinite weight


class ColumnDrift(NamedTuple):
    """How one input moved. `ks` is None for a categorical input; `missing_change` is current minus reference share."""

    name: str
    psi: float
    ks: float | None
    js: float
    missing_change: float
    drifted: bool


def psi(p: Array, q: Array) -> float:
    """Population stability index in nats: sum of (q - p) ln(q / p) over the bins, missing being one of them.

    Two samples of one distribution give about (bins - 1) * (1 / n + 1 / m) by chance alone.
    """
    floored = np.maximum((p, q), FLOOR)
    p, q = floored / floored.sum(axis=1, keepdims=True)
    return float((q - p) @ np.log(q / p))


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


def compare_profiles(
    reference: Mapping[str, ColumnProfile], current: Mapping[str, ColumnProfile], spec: Drift
) -> list[ColumnDrift]:
    """One result per column of `reference`, in its order; none is drifted while a sample has fewer than `spec.min_rows` rows.

    `current` has the bins of `reference`, as from profile_like.
    """
    return [_column_drift(name, profile, current[name], spec) for name, profile in reference.items()]


def _column_drift(name: str, reference: ColumnProfile, current: ColumnProfile, spec: Drift) -> ColumnDrift:
    rows = count_bins(reference, current)
    p, q = shares(rows)
    moved, distance = psi(p, q), None if isinstance(reference, CategoricalProfile) else ks(p, q)
    enough = rows.sum(axis=1).min() >= spec.min_rows
    drifted = bool(enough and moved > spec.max_psi and (distance is None or distance > spec.max_ks))
    return ColumnDrift(name, moved, distance, js(p, q), missing_change=float(q[0] - p[0]), drifted=drifted)


def count_bins(*profiles: ColumnProfile) -> Array:
    """Rows per bin, missing first, shape (profiles, bins); zero for a category that only another profile has."""
    values = sorted({value for one in profiles if isinstance(one, CategoricalProfile) for value in one.counts})
    return np.array([
        [one.missing, *(one.counts if isinstance(one, NumericProfile) else (one.counts.get(value, 0) for value in values))]
        for one in profiles
    ])  # fmt: skip


def shares(rows: Array) -> Array:
    """Of the rows per bin, shape (profiles, bins); an empty sample has zeros."""
    return rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)
