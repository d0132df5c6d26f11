"""Signs of a leak in a training set: one input predicts the label alone, a random split scores far better, newer features."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from mlops_assets.foundation.names import EVENT_TIMESTAMP, KNOWN_AT
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.statistics.metrics import Array, compare, interval, measure
from mlops_assets.training.fitted import TEST, TRAIN, VALIDATION
from mlops_assets.training.signature import Signature

FOLDS = 5
PRIOR_ROWS = 50  # of the overall rate are added to those of a value, so that a rare value has little weight
FEWEST = 30  # rows of each class; with fewer, an input separates them by chance: 2 and 2 rows do so one time in three
MOST_ROWS = 20_000
QUICK = HistGradientBoosting(max_iter=60, learning_rate=0.1, min_samples_leaf=50)


@dataclass(frozen=True)
class SingleInput:
    """The auc of one input alone against the label, from 0.5 (no information), with its bootstrap interval."""

    name: str
    auc: float
    low: float
    high: float


@dataclass(frozen=True)
class SplitGap:
    """auc on the same rows after learning from rows drawn at random and from earlier rows, and the paired difference."""

    random: float
    by_time: float
    gap: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class NewerFeatures:
    """The share of `rows` in which something is newer than it may be; `features` names the moments of features read."""

    share: float
    rows: int
    features: tuple[str, ...]

    def sentence(self) -> str:
        share = f"{self.share:.2%} of {self.rows:,} rows have" if self.share else "no row has"
        newer = f"{share} a feature newer than the prediction or the label"
        if self.features:
            return f"{newer} (by {', '.join(self.features)})"
        return f"{newer} by known_at; the rows hold no event times of single features, so these were not checked"


def explain_alone(rows: pl.DataFrame, signature: Signature, label: str, *, seed: int) -> list[SingleInput]:
    """The auc of each input by itself, largest first; nan where the rows do not hold FEWEST of both classes.

    A number counts by its rank, in whichever direction, over the rows that have it, or by whether it is missing. A
    category counts by the label rate of its value in the other FOLDS - 1 folds of the rows, so that a value of one row
    has no effect.
    """
    truth = rows[label].cast(pl.Int8).to_numpy()
    scores = [_numeric_scores(rows[name], truth) for name in signature.numeric]
    scores += [_categorical_scores(rows[name], truth, seed) for name in signature.categories]
    aucs = [interval("auc", *score, seed=seed, resamples=100) for score in scores]
    inputs = [SingleInput(name, auc.value, auc.low, auc.high) for name, auc in zip(signature.inputs, aucs, strict=True)]
    return sorted(inputs, key=lambda one: (-np.nan_to_num(one.auc), one.name))


def _numeric_scores(column: pl.Series, truth: Array) -> tuple[Array, Array]:
    """Truth and scores in [0, 1] of whichever explains more: the rank of the known values, or being missing."""
    values = column.cast(pl.Float64).fill_nan(None)
    known = values.is_not_null().to_numpy()
    missing = (truth, (~known).astype(np.float64))
    ranked = (truth[known], _in_unit(values.drop_nulls().rank("dense").to_numpy()))
    ways = [_ascending(*way) for way in (ranked, missing) if _enough(way[0])]
    return max(ways, key=lambda way: measure("auc", *way)) if ways else (truth[:0], np.empty(0))


def _categorical_scores(column: pl.Series, truth: Array, seed: int) -> tuple[Array, Array]:
    if not _enough(truth):
        return truth[:0], np.empty(0)
    fold = np.random.default_rng(seed).permutation(len(truth)) % FOLDS
    frame = pl.DataFrame({"value": column.cast(pl.String), "truth": truth, "fold": fold})
    rates = [_rates(frame.filter(pl.col("fold") != k), frame.filter(pl.col("fold") == k)) for k in range(FOLDS)]
    scored = pl.concat(rates)
    return scored["truth"].to_numpy(), scored["rate"].to_numpy()


def _rates(others: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """`own` with the shrunk label rate that each value has among the others; a missing value is a value."""
    overall = others["truth"].mean()
    shrunk = (pl.col("truth").sum() + PRIOR_ROWS * pl.lit(overall)) / (pl.len() + PRIOR_ROWS)
    by_value = others.group_by("value").agg(rate=shrunk)
    return own.join(by_value, on="value", how="left", nulls_equal=True, maintain_order="left").select(
        "truth", pl.col("rate").fill_null(overall)
    )


def _enough(truth: Array) -> bool:
    return bool(min(truth.sum(), len(truth) - truth.sum()) >= FEWEST)


def _in_unit(rank: Array) -> Array:
    return (rank - 1) / max(rank.max(initial=1) - 1, 1)


def _ascending(truth: Array, score: Array) -> tuple[Array, Array]:
    return (truth, score) if measure("auc", truth, score) >= 0.5 else (truth, 1 - score)


def split_gap(rows: pl.DataFrame, signature: Signature, label: str, *, seed: int) -> SplitGap:
    """How much better a quick model is when it also learns from the test window, on the same rows and from as many.

    Half of the test rows are scored. One model learns from the rows before the test window, the other from as many drawn
    at random from these and the other half; together at most MOST_ROWS. nan where a part does not hold FEWEST
    of both classes.
    """
    shuffled = rows.sample(fraction=1, shuffle=True, seed=seed)
    earlier, test = shuffled.filter(pl.col("split") != TEST), shuffled.filter(pl.col("split") == TEST)
    size = min(len(earlier), MOST_ROWS * 3 // 4)
    scored, other = test[: len(test) // 2][: MOST_ROWS // 4], test[len(test) // 2 :]
    at_random = pl.concat([earlier, other]).sample(size, shuffle=True, seed=seed)
    training = (at_random, earlier[:size])
    if not all(_enough(part[label].cast(pl.Int8).to_numpy()) for part in (*training, scored)):
        return SplitGap(*[float("nan")] * 5, rows=len(scored))
    truth = scored[label].cast(pl.Int8).to_numpy()
    random, by_time = (_scores(part, scored, signature, label) for part in training)
    gap = compare("auc", truth, random, by_time, seed=seed, resamples=200, confidence=0.975)
    aucs = measure("auc", truth, random), measure("auc", truth, by_time)
    return SplitGap(*aucs, gap=gap.difference, low=gap.low, high=gap.high, rows=len(scored))


def _scores(training: pl.DataFrame, scored: pl.DataFrame, signature: Signature, label: str) -> Array:
    from mlops_assets.training.train import fit_in_library

    # The trainer learns from train and validation rows together and needs both.
    parts = training.with_columns(
        split=pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit(TRAIN)).otherwise(pl.lit(VALIDATION))
    )
    inputs = {"numeric": signature.numeric, "categorical": tuple(signature.categories)}
    model, learned = fit_in_library(QUICK, parts, **inputs, label=label, progress=lambda _message: None)
    return model.probability(learned.encode(scored))


def newer_features(rows: pl.DataFrame) -> NewerFeatures:
    """Compares every other column `*_timestamp`, the event times of features, with prediction and label.

    The row's own `event_timestamp` is the prediction's moment, as of which features are joined, and `known_at` (where the
    rows have it) that of the label. A label known before its prediction may have been in any feature.
    """
    features = tuple(name for name in rows.columns if name.endswith("_timestamp") and name != EVENT_TIMESTAMP)
    known = [KNOWN_AT] if KNOWN_AT in rows.columns else []
    newer = [pl.col(name) > pl.min_horizontal(EVENT_TIMESTAMP, *known) for name in features]
    newer += [pl.col(EVENT_TIMESTAMP) > pl.col(name) for name in known]
    hit = rows.select(pl.any_horizontal(pl.lit(False), *newer).fill_null(False)).to_series()
    return NewerFeatures(float(hit.to_numpy().mean()) if newer else 0.0, len(rows), features)
