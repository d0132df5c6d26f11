"""How often the bootstrap interval of a metric has the metric of the whole population, which is known here: near 95%."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from mlops_assets.statistics.binary import BinarySample
from mlops_assets.statistics.metrics import Sample, intervals
from mlops_assets.statistics.multiclass import MulticlassSample
from mlops_assets.statistics.regression import RegressionSample

TRIALS, ROWS, POPULATION = 150, 400, 200_000


def binary(rng: np.random.Generator, rows: int) -> Sample:
    signal = rng.normal(-1, 1, rows)
    truth = (rng.uniform(size=rows) < 1 / (1 + np.exp(-signal))).astype(int)
    return BinarySample(truth, 1 / (1 + np.exp(-signal - 0.5 * rng.normal(size=rows))))


def multiclass(rng: np.random.Generator, rows: int) -> Sample:
    hidden = rng.normal(size=(rows, 3))
    odds: Any = np.exp(hidden + 0.5 * rng.normal(size=(rows, 3)))
    truth = (hidden + rng.gumbel(size=(rows, 3))).argmax(axis=1)
    return MulticlassSample(truth, odds / odds.sum(axis=1, keepdims=True))


def regression(rng: np.random.Generator, rows: int) -> Sample:
    prediction = rng.gamma(2, 50, rows)
    truth = prediction + rng.normal(0, 5 + 0.2 * prediction)
    return RegressionSample(truth, np.stack([prediction, prediction - 40, prediction + 40], axis=1))


@pytest.mark.parametrize(
    ("sampled", "metrics"),
    [
        (binary, ("auc", "average_precision", "brier", "log_loss")),
        (multiclass, ("accuracy", "macro_f1", "auc", "brier", "log_loss")),
        (regression, ("rmse", "mae", "r2", "coverage")),
    ],
)
def test_the_interval_has_the_metric_of_the_population(
    sampled: Callable[[np.random.Generator, int], Sample], metrics: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(0)
    population, hits = sampled(rng, POPULATION).measure(metrics), dict.fromkeys(metrics, 0)
    for trial in range(TRIALS):
        for name, interval in intervals(sampled(rng, ROWS), metrics, seed=trial, resamples=100).items():
            hits[name] += interval.low <= population[name] <= interval.high
    # A percentile interval of 100 resamples holds some 93% of 400 rows.
    assert all(binom.ppf(0.001, TRIALS, 0.92) <= count for count in hits.values()), hits
