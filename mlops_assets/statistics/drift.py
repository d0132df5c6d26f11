"""Drift between two samples, computed from their profiles: PSI, Kolmogorov-Smirnov and Jensen-Shannon."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import rel_entr

from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics.metrics import Array
from mlops_assets.statistics.profile import CategoricalProfile, ColumnProfile, NumericProfile

FLOOR = 1e-4  # smallest share of a bin: without it, one unseen category would have infinite weight


@dataclass(frozen=True)
class ColumnDrift:
    """How one input moved. `ks` is None for a categorical input; `missing_change` is current minus reference share."""

    name: str
    psi: float
    ks: float | None
    js: float
    missing_change: float
    drifted: bool


def psi(reference: ColumnProfile, current: ColumnProfile) -> float:
    """Population stability index in nats: sum of (q - p) ln(q / p) over the bins, missing being one of them.

    Two samples of one distribution give about (bins - 1) * (1 / n + 1 / m) by chance alone.
    """
    floored = np.maximum(_shares(reference, current), FLOOR)
    p, q = floored / floored.sum(axis=1, keepdims=True)
    return float((q - p) @ np.log(q / p))


def js(reference: ColumnProfile, current: ColumnProfile) -> float:
    """Jensen-Shannon distance to base 2, from 0 (equal shares) to 1 (no bin in common)."""
    p, q = _shares(reference, current)
    middle = (p + q) / 2
    return float(np.sqrt((rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / np.log(4)))


def ks(reference: ColumnProfile, current: ColumnProfile) -> float | None:
    """Kolmogorov-Smirnov distance at the bins' edges, a missing value ranking below every number; None for categories.

    With p and q the shares of a bin: ks <= exact distance <= ks + max over bins of min(p, q), which is about 0.1
    for ten bins at worst and far less for a smooth shift. A bin of a single value adds no error.
    """
    if isinstance(reference, CategoricalProfile):
        return None
    p, q = _shares(reference, current)
    return float(np.abs(np.cumsum(p) - np.cumsum(q)).max())


def compare_profiles(
    reference: Mapping[str, ColumnProfile], current: Mapping[str, ColumnProfile], spec: Drift
) -> list[ColumnDrift]:
    """One result per column of `reference`, in its order; none is drifted while a sample has fewer than `spec.min_rows` rows.

    Raises ValueError when `current` lacks a column or was counted with other bins.
    """
    if absent := [name for name in reference if name not in current]:
        raise ValueError(f"drift · the current window has no profile of {', '.join(absent)}. Profile it with profile_like.")
    return [_column_drift(name, profile, current[name], spec) for name, profile in reference.items()]


def _column_drift(name: str, reference: ColumnProfile, current: ColumnProfile, spec: Drift) -> ColumnDrift:
    p, q = _shares(reference, current)
    moved, distance = psi(reference, current), ks(reference, current)
    enough = min(reference.rows, current.rows) >= spec.min_rows
    drifted = enough and moved > spec.max_psi and (distance is None or distance > spec.max_ks)
    return ColumnDrift(name, moved, distance, js(reference, current), missing_change=float(q[0] - p[0]), drifted=drifted)


def drift_share(columns: Sequence[ColumnDrift]) -> float:
    """Share of the columns that drifted; 0 without columns."""
    return sum(column.drifted for column in columns) / len(columns) if columns else 0.0


def _shares(reference: ColumnProfile, current: ColumnProfile) -> tuple[Array, Array]:
    """Shares of rows per bin, missing first; both zero-filled over the same bins. An empty sample has zeros."""
    if isinstance(reference, NumericProfile) and isinstance(current, NumericProfile) and reference.edges == current.edges:
        return _share(reference.missing, reference.counts), _share(current.missing, current.counts)
    if isinstance(reference, CategoricalProfile) and isinstance(current, CategoricalProfile):
        values = sorted(reference.counts.keys() | current.counts.keys())
        p, q = ([one.counts.get(value, 0) for value in values] for one in (reference, current))
        return _share(reference.missing, p), _share(current.missing, q)
    raise ValueError("drift · the two profiles have different bins. Count the current one with profile_like(reference, frame).")


def _share(missing: int, counts: Sequence[int]) -> Array:
    rows = np.array([missing, *counts], dtype=np.float64)
    return rows / max(rows.sum(), 1.0)
