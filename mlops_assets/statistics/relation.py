"""Whether labels relate to inputs as they did: labels given the output of a model, and inputs given the label.

Inputs that change alone leave the share of a label among answers with the same output as it was, as the output is all that the
model knows of the inputs. A changed relation does not, even where no input has changed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy.stats import chi2

from mlops_assets.statistics.drift import measure_change
from mlops_assets.statistics.estimation import Labelled
from mlops_assets.statistics.metrics import Array
from mlops_assets.statistics.profile import profile_like, profile_reference

MIN_CHANGE, MAX_P = 0.05, 0.001
MIN_ROWS, LAST_ROWS = 100, 30  # of either sample, and of the shortest one that may have changed
TRIED = 100  # moments of a change, of which the best is tested: neighbouring ones hardly differ


class RelationChange(NamedTuple):
    """By how much the share of a label differs among answers with the same output, less chance (the square root of the mean
    square), how probable that is by chance, and the first row since which it differs most.
    """

    change: float
    p: float
    first: int

    @property
    def is_proven(self) -> bool:
        return self.change > MIN_CHANGE and self.p < MAX_P


def compare_relation(reference: Labelled, current: Labelled, blocks: Array) -> RelationChange | None:
    """Of truths of 0 and 1, and one number of the output; None for too few. The rows of a block, such as a day, are alike: the
    test is divided by how much more blocks vary than independent rows would (McCullagh and Nelder 1989, section 4.5).
    """
    if min(len(reference.truth), len(current.truth)) < MIN_ROWS:
        return None
    profile = profile_reference(pl.DataFrame({"output": reference.output}), ["output"], [])["output"]
    before, now = (profile.places(pl.Series(one.output, dtype=pl.Float64)) for one in (reference, current))
    bins = int(max(before.max(), now.max())) + 1
    known, served = _count(before, reference.truth, bins), _count(now, current.truth, bins)
    share, difference, _variance = _compare_shares(known, served)
    first = _onset((current.truth - share[now]) * difference[now])
    parts = slice(0, first), slice(first, None)
    dispersion = max(1.0, _dispersion([(now[part], current.truth[part], blocks[part]) for part in parts], bins))
    after = _count(now[first:], current.truth[first:], bins)
    _share, difference, variance = _compare_shares(known, after)
    used = variance > 0
    statistic = float((difference[used] ** 2 / variance[used]).sum() / dispersion)
    squares = after[0] @ (difference**2 - dispersion * variance) / after[0].sum()
    p = min(1.0, float(chi2.sf(statistic, max(used.sum(), 1))) * TRIED)
    return RelationChange(float(np.sqrt(max(squares, 0.0))), p, first)


def changes_within(reference: pl.DataFrame, current: pl.DataFrame, truths: tuple[Array, Array]) -> dict[str, float]:
    """The PSI of each input among the rows of one label, less chance: the larger one of the labels 0 and 1 of both samples."""
    numeric = [name for name in reference.columns if reference.schema[name].is_numeric()]
    others = [name for name in reference.columns if name not in numeric]
    changes = dict.fromkeys(reference.columns, 0.0)
    for label in (0, 1):
        before, now = (frame.filter(pl.Series(truth == label)) for frame, truth in zip((reference, current), truths, strict=True))
        if min(len(before), len(now)) >= MIN_ROWS:
            profiles = profile_reference(before, numeric, others)
            served = profile_like(profiles, now)
            changes = {name: max(most, measure_change(profiles[name], served[name]).psi_excess) for name, most in changes.items()}
    return changes


def _count(places: Array, truth: Array, bins: int) -> Array:
    """Rows, and those with the label 1, by bin."""
    return np.array([np.bincount(places, minlength=bins), np.bincount(places, truth, bins)])


def _compare_shares(before: Array, after: Array) -> tuple[Array, Array, Array]:
    """By bin the share of the label before, by how much it differs after, and the variance of that by chance; 0 where a sample
    has no row.
    """
    (rows, hits), (others, other_hits) = (np.maximum(counts, [[1], [0]]) for counts in (before, after))
    both, pooled = (before[0] > 0) & (after[0] > 0), (hits + other_hits) / (rows + others)
    variance = pooled * (1 - pooled) * (1 / rows + 1 / others)
    return hits / rows, np.where(both, other_hits / others - hits / rows, 0.0), np.where(both, variance, 0.0)


def _dispersion(parts: Sequence[tuple[Array, Array, Array]], bins: int) -> float:
    """How many times as much as those of independent rows the labels of blocks vary around the shares of their part."""
    ratios = list[float]()
    for places, truth, blocks in parts:
        rows, hits = _count(places, truth, bins)
        share = (hits / np.maximum(rows, 1))[places]
        expected, residual = np.bincount(blocks, share * (1 - share)), np.bincount(blocks, truth - share)
        ratios += (residual[expected > 0] ** 2 / expected[expected > 0]).tolist()
    return float(np.mean(ratios)) if ratios else 1.0


def _onset(towards: Array) -> int:
    """The first row of the last rows whose sum is the largest by its standard deviation."""
    tails = towards[::-1].cumsum() / np.sqrt(np.arange(1, len(towards) + 1))
    return len(towards) - LAST_ROWS - int(tails[LAST_ROWS - 1 :].argmax())
