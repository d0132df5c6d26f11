"""Since when the values of one column are other ones."""

from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl
from scipy.special import xlogy
from scipy.stats import chi2, ranksums  # pyright: ignore[reportUnknownVariableType]

from mlops_assets.statistics.drift import psi
from mlops_assets.statistics.metrics import Array

CHUNKS, CHUNK_ROWS = 120, 10  # in which the change is looked for: a 120th of a window of 30 days is 6 hours
BINS, MOST_VALUES = 10, 30
MIN_BLOCKS = 6
MIN_PSI, MAX_P, SMALLEST = 0.1, 1e-4, 0.01
FADING, MAX_Z = 0.25, 2.5  # of a change, above which it is not one of a moment: the share that comes later; of a rank sum


class Change(NamedTuple):
    """The rows from `first` on differ from those before and from the reference: by `psi`, less what chance gives. `since` is the
    moment of the first, None where no row before it is known. `is_step`: the rows right after it differ as much as the last.
    `dispersion` is how many times as much as independent rows the counts of single days vary. `is_proven`: it is no chance.
    """

    since: datetime | None
    first: int
    psi: float
    is_step: bool
    dispersion: float
    is_proven: bool = True


def find_change(reference: pl.Series, values: pl.Series, moments: pl.Series, *, is_certain: bool = False) -> Change | None:
    """The split of `values`, which are in the order of their `moments`, with the greatest likelihood ratio of two multinomial
    distributions, the earlier one with the reference. None without one that is large and no chance, unless it
    `is_certain` that there is one. Rows of a day share facts, such as a holiday: the ratio is divided by the dispersion of days
    (McCullagh and Nelder 1989, section 4.5).
    """
    rows, size = len(values), len(reference)
    if rows < 2 * CHUNK_ROWS or size < CHUNK_ROWS:
        return None
    before_codes, codes, bins = _binned(reference, values)
    known = np.bincount(before_codes, minlength=bins)
    first, gain, tried = _split(known * min(1.0, rows / size), codes, bins)
    after = np.bincount(codes[first:], minlength=bins)
    dispersion, used = _dispersion(codes, _blocks(moments), first, bins), max(np.count_nonzero(known + after) - 1, 1)
    moved = _psi(known, after, dispersion)
    is_proven = moved > MIN_PSI and chi2.sf(2 * gain / dispersion, used) * tried < MAX_P
    if not is_proven and not is_certain:
        return None
    since, parts = cast(datetime, moments[first]) if first else None, _parts(first, rows)
    if reference.dtype.is_numeric() and values.dtype.is_numeric():
        is_step = _is_step_of_numbers(reference, values, parts, dispersion)
    else:
        counts = [np.bincount(codes[part], minlength=bins) for part in parts]
        is_step = _is_step_of_counts(known, counts, moved, dispersion)
    return Change(since, first, max(moved, SMALLEST), is_step, dispersion, bool(is_proven))


def _split(known: Array, codes: Array, bins: int) -> tuple[int, float, int]:
    """The first changed row, the logarithm of the likelihood ratio, and how many splits were tried: first between parts of the
    rows, then between the rows of the best two.
    """
    edges = np.linspace(0, len(codes), min(CHUNKS, len(codes) // CHUNK_ROWS) + 1).astype(int)
    place = int(_gains(known, codes, bins, edges).argmax())
    low, high = int(edges[max(place - 1, 0)]), int(edges[min(place + 1, len(edges) - 1)])
    fine: Array = np.unique(np.array([0, *range(low, high + 1), len(codes)]))
    gains = _gains(known, codes, bins, fine)
    return int(fine[gains.argmax()]), float(gains.max()), len(edges)


def _gains(known: Array, codes: Array, bins: int, edges: Array) -> Array:
    counts = np.array([np.bincount(codes[start:end], minlength=bins) for start, end in pairwise(edges)])
    after = counts[::-1].cumsum(axis=0)[::-1]
    before = known + after[0] - after
    return _log_likelihood(before) + _log_likelihood(after) - _log_likelihood(known + after[:1])


def _parts(first: int, rows: int) -> list[slice]:
    """The rows right before `first`, right after it, and the others after it."""
    size = max((rows - first) // 3, CHUNK_ROWS)
    return [slice(max(first - size, 0), first), slice(first, first + size), slice(first + size, rows)]


def _is_step_of_numbers(reference: pl.Series, values: pl.Series, parts: list[slice], dispersion: float) -> bool:
    """Neither do values go on to change after a step, nor did they begin to before it, by Wilcoxon's rank sums."""
    prior, early, late = (values[part].drop_nulls().to_numpy() for part in parts)
    pairs = [pair for pair in ((reference.drop_nulls().to_numpy(), prior), (early, late)) if min(map(len, pair))]
    tests: list[Any] = [ranksums(*pair) for pair in pairs]
    return all(abs(test.statistic) < MAX_Z * np.sqrt(dispersion) for test in tests)


def _is_step_of_counts(known: Array, counts: list[Array], moved: float, dispersion: float) -> bool:
    """As of numbers, by PSI."""
    prior, early, late = counts
    pairs = [pair for pair in ((known, prior), (early, late)) if all(part.any() for part in pair)]
    return all(_psi(*pair, dispersion) < FADING * moved + 2 * _noise(*pair, dispersion) for pair in pairs)


def psi_between(reference: pl.Series, values: pl.Series, dispersion: float) -> float:
    """How far `values` are from the reference, less what chance gives; 0 for too few rows to tell."""
    if min(len(reference), len(values)) < CHUNK_ROWS:
        return 0.0
    *codes, bins = _binned(reference, values)
    before, after = (np.bincount(one, minlength=bins) for one in codes)
    return _psi(before, after, dispersion)


def _psi(before: Array, after: Array, dispersion: float) -> float:
    """Less what two samples of one distribution are expected to give."""
    sizes = np.maximum([before.sum(), after.sum()], 1)
    used = np.count_nonzero(before + after) - 1
    return float(psi(before / sizes[0], after / sizes[1]) - used * dispersion * (1 / sizes).sum())


def _noise(before: Array, after: Array, dispersion: float) -> float:
    """The standard deviation of the PSI of two samples of one distribution, of which it is nearly a multiple of chi-square."""
    return float(
        np.sqrt(2 * np.count_nonzero(before + after)) * dispersion * (1 / np.maximum([before.sum(), after.sum()], 1)).sum()
    )


def _log_likelihood(counts: Array) -> Array:
    """Of multinomial counts, shape (splits, bins), at their own shares."""
    return xlogy(counts, counts).sum(axis=1) - xlogy(total := counts.sum(axis=1), total)


def _blocks(moments: pl.Series) -> Array:
    """The day of each row; twelve parts of the rows where there are fewer than six days."""
    days = moments.dt.date().rank("dense").to_numpy().astype(int) - 1
    return days if days[-1] + 1 >= MIN_BLOCKS else np.arange(len(moments)) * 2 * MIN_BLOCKS // len(moments)


def _dispersion(codes: Array, blocks: Array, first: int, bins: int) -> float:
    """Pearson's statistic of the blocks before and after the split, by its degrees of freedom; at least 1."""
    total, freedom = 0.0, 0
    for part in (slice(0, first), slice(first, None)):
        counts = np.zeros((blocks[-1] + 1, bins))
        np.add.at(counts, (blocks[part], codes[part]), 1)
        counts = counts[counts.any(axis=1)][:, counts.any(axis=0)]
        if counts.shape[0] > 1 and counts.shape[1] > 1:
            expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
            total += float(((counts - expected) ** 2 / expected).sum())
            freedom += (counts.shape[0] - 1) * (counts.shape[1] - 1)
    return max(1.0, total / freedom) if freedom else 1.0


def _binned(reference: pl.Series, values: pl.Series) -> tuple[Array, Array, int]:
    """The bin of each row: 0 for missing, then those of the values."""
    if reference.dtype.is_numeric() and values.dtype.is_numeric():
        before, now = (one.cast(pl.Float64).fill_null(np.nan).to_numpy() for one in (reference, values))
        edges = _edges(before[np.isfinite(before)])
        codes = [np.where(np.isnan(one), 0, np.searchsorted(edges, one) + 1) for one in (before, now)]
        return codes[0], codes[1], len(edges) + 2
    texts = [one.cast(pl.String) for one in (reference, values)]
    common = pl.concat([one.alias("value") for one in texts]).drop_nulls().value_counts(sort=True)["value"].head(MOST_VALUES)
    places = {None: 0} | {value: place for place, value in enumerate(common.sort(), start=2)}
    codes = [one.replace_strict(places, default=1, return_dtype=pl.Int64).to_numpy() for one in texts]
    return codes[0], codes[1], len(places) + 2


def _edges(known: Array) -> Array:
    """Deciles and the range; a value that fills several quantiles has a bin of its own."""
    if not len(known):
        return np.zeros(1)
    quantiles, times = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1), method="inverted_cdf"), return_counts=True)
    return np.unique([*np.nextafter(quantiles[times > 1], -np.inf), *quantiles])
