"""Drift detectors that people use instead of ours, on one column: whether each alarms."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import ks_2samp, mannwhitneyu  # pyright: ignore[reportUnknownVariableType]
from sklearn.model_selection import cross_val_predict  # pyright: ignore[reportUnknownVariableType]
from sklearn.tree import DecisionTreeClassifier

from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics.distances import psi, shares
from mlops_assets.statistics.drift import Bounds, compare_profiles
from mlops_assets.statistics.profile import profile_like, profile_reference
from mlops_assets.statistics.variation import bounds_from, count_periods
from tests.statistics.column_kinds import COLUMN, DAYS, MOMENT, Kind, is_categorical

Numbers = NDArray[np.float64]
Detector = Callable[[pl.DataFrame, pl.DataFrame], bool]
ALPHA, PERMUTATIONS, MAX_ROWS = 0.05, 100, 300  # of the tests by permutation, and of their samples
MAX_PSI, MAX_KS = 0.25, 0.1  # the usual fixed bounds


def codes(reference: pl.DataFrame, window: pl.DataFrame) -> tuple[Numbers, Numbers]:
    """Numbers in spreads from the median, categories in the order of the alphabet; missing and new ones lie outside."""
    if is_categorical(reference):
        ranks = {value: rank for rank, value in enumerate(reference[COLUMN].unique().sort())}
        return tuple(
            frame[COLUMN].replace_strict(ranks, default=-len(ranks) / 10, return_dtype=pl.Float64).to_numpy()
            for frame in (reference, window)
        )  # type: ignore[return-value]  # pyright: ignore[reportReturnType]
    known = reference[COLUMN].fill_nan(None).drop_nulls().to_numpy()
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    scaled = (np.clip((frame[COLUMN].to_numpy() - middle) / ((high - low) or 1.0), -10, 10) for frame in (reference, window))
    return tuple(np.nan_to_num(values, nan=-20.0) for values in scaled)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def by_psi(reference: pl.DataFrame, window: pl.DataFrame) -> bool:
    """Ten bins of the reference, or each category, above the usual bound."""
    before, now = codes(reference, window)
    edges = np.unique(before) if is_categorical(reference) else np.unique(np.quantile(before, np.linspace(0, 1, 11)[1:-1]))
    rows = [np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1) for values in (before, now)]
    return psi(*shares(np.array(rows))) > MAX_PSI


def by_ks(reference: pl.DataFrame, window: pl.DataFrame) -> bool:
    return bool(ks_2samp(*codes(reference, window)).statistic > MAX_KS)  # type: ignore[attr-defined]  # pyright: ignore


def by_mmd(reference: pl.DataFrame, window: pl.DataFrame) -> bool:
    """Maximum mean discrepancy (Gretton 2012) with a Gaussian kernel of the median distance."""
    both, signs = _drawn(reference, window)
    distances = cdist(both, both)
    kernel = np.exp(-((distances / (np.median(distances[distances > 0]) if distances.any() else 1.0)) ** 2) / 2)
    return _is_rare(((signs @ kernel) * signs).sum(axis=1))


def by_lsdd(reference: pl.DataFrame, window: pl.DataFrame) -> bool:
    """Least-squares density difference (Sugiyama 2012) with 50 Gaussian kernels."""
    both, signs = _drawn(reference, window)
    centres, width = both[:: max(len(both) // 50, 1)], max(float(both.std()) * len(both) ** -0.2, 1e-3)
    features = np.exp(-(cdist(both, centres) ** 2) / (2 * width**2))
    overlap = np.sqrt(np.pi) * width * np.exp(-(cdist(centres, centres) ** 2) / (4 * width**2))
    h = signs @ features
    theta: Any = np.linalg.solve(overlap + 0.1 * width * np.eye(len(centres)), h.T).T
    return _is_rare((2 * theta * h).sum(axis=1) - ((theta @ overlap) * theta).sum(axis=1))


def by_adversary(reference: pl.DataFrame, window: pl.DataFrame) -> bool:
    """Adversarial validation: a tree separates the samples better than chance, on rows that it was not fitted on."""
    before, now = codes(reference, window)
    truth, rng = np.r_[np.zeros(len(before)), np.ones(len(now))], np.random.default_rng(0)
    order = rng.permutation(len(truth))
    rows, truth = np.r_[before, now][order, None], truth[order]
    tree = DecisionTreeClassifier(max_depth=4, min_samples_leaf=20, class_weight="balanced", random_state=0)
    judged: Any = cross_val_predict(tree, rows, truth, cv=2, method="predict_proba")
    scores = judged[:, 1]
    return bool(mannwhitneyu(scores[truth == 1], scores[truth == 0], alternative="greater").pvalue < ALPHA)


def ours(kind: Kind, reference: pl.DataFrame) -> Detector:
    """The monitor Drift with its declared bounds and those of the reference's own days."""
    spec = Drift(window=timedelta(days=DAYS * kind.window_rows // kind.rows), min_rows=kind.window_rows // 2)
    profiles = profile_reference(reference, *([], [COLUMN]) if is_categorical(reference) else ([COLUMN], []))
    bounds: dict[str, Bounds] = bounds_from(count_periods(reference, profiles, MOMENT), profiles, spec)
    return lambda _, window: compare_profiles(profiles, profile_like(profiles, window), spec, bounds)[0].drifted


OTHERS: dict[str, Detector] = {
    "PSI > 0.25": by_psi, "KS > 0.1": by_ks, "MMD": by_mmd, "LSDD": by_lsdd, "adversarial": by_adversary,
}  # fmt: skip


def _drawn(reference: pl.DataFrame, window: pl.DataFrame) -> tuple[Numbers, Numbers]:
    """Rows of both samples, and by how much each counts: as it is first, then permuted."""
    rng = np.random.default_rng(0)
    before, now = (rng.choice(values, min(len(values), MAX_ROWS), replace=False) for values in codes(reference, window))
    signs: Numbers = np.r_[np.full(len(before), 1 / len(before)), np.full(len(now), -1 / len(now))]
    both: Numbers = np.r_[before, now]
    return both[:, None], np.stack([signs, *(rng.permutation(signs) for _ in range(PERMUTATIONS))])


def _is_rare(statistics: Numbers) -> bool:
    """The first is among the largest of all."""
    return bool((statistics >= statistics[0]).mean() < ALPHA)
