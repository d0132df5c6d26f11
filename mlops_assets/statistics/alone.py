"""How well each column by itself answers a question of yes and no, as a sample of truths and scores for each."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from mlops_assets.statistics.binary import BinarySample
from mlops_assets.statistics.metrics import Array, measure

FOLDS = 5
PRIOR_ROWS = 50  # of the overall rate are added to those of a value, so that a rare value has little weight
FEWEST = 30  # rows of each class; with fewer, an input separates them by chance: 2 and 2 rows do so one time in three


def samples_alone(
    rows: pl.DataFrame, truth: Array, *, numeric: Sequence[str], categorical: Sequence[str], seed: int, fewest: int = FEWEST
) -> dict[str, BinarySample]:
    """By column; without rows where there are not `fewest` rows of both classes.

    A number counts by its rank, in whichever direction, over the rows that have it, or by whether it is missing. A
    category counts by the label rate of its value in the other FOLDS - 1 folds of the rows.
    """
    whole = truth.astype(np.int8)
    scores = {name: _numeric_scores(rows[name], whole, fewest) for name in numeric}
    scores |= {name: _categorical_scores(rows[name], whole, seed, fewest) for name in categorical}
    return {name: BinarySample(*score) for name, score in scores.items()}


def _numeric_scores(column: pl.Series, truth: Array, fewest: int) -> tuple[Array, Array]:
    """Truth and scores in [0, 1] of whichever explains more: the rank of the known values, or being missing."""
    values = column.cast(pl.Float64).fill_nan(None)
    known = values.is_not_null().to_numpy()
    rank = values.drop_nulls().rank("dense").to_numpy()
    candidates = ((truth[known], (rank - 1) / max(rank.max(initial=1) - 1, 1)), (truth, (~known).astype(np.float64)))
    scored = [(some, score) for some, scores in candidates if _enough(some, fewest) for score in (scores, 1 - scores)]
    return max(scored, key=lambda candidate: measure("auc", BinarySample(*candidate)), default=(truth[:0], np.empty(0)))


def _categorical_scores(column: pl.Series, truth: Array, seed: int, fewest: int) -> tuple[Array, Array]:
    """Truth and, for each row, the shrunk label rate that its value has in the other folds; a missing value is a value."""
    if not _enough(truth, fewest):
        return truth[:0], np.empty(0)
    fold = np.random.default_rng(seed).permutation(len(truth)) % FOLDS
    frame = pl.DataFrame({"value": column.cast(pl.String), "truth": truth.astype(np.float64), "fold": fold})
    # Sums over all rows minus those of the row's own fold: a value of a single row then has no effect.
    label, same_value, same_fold = pl.col("truth"), ("value",), ("value", "fold")
    positives = label.sum().over(same_value) - label.sum().over(same_fold)
    others = pl.len().over(same_value) - pl.len().over(same_fold)
    overall = (label.sum() - label.sum().over("fold")) / (pl.len() - pl.len().over("fold"))
    rate = frame.select((positives + PRIOR_ROWS * overall) / (others + PRIOR_ROWS)).to_series()
    return truth, rate.to_numpy()


def _enough(truth: Array, fewest: int) -> bool:
    return bool(min(truth.sum(), len(truth) - truth.sum()) >= fewest)
