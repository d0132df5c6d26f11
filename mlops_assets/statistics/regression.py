"""Metrics of predicted numbers, and of their intervals, against the true numbers."""

import math
from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np

from mlops_assets.statistics.metrics import ALL_ROWS, Array

_EPS = float(np.finfo(np.float64).eps)


class Means(NamedTuple):
    """Means over `rows` rows, of which every metric is a formula. A metric is nan where it is undefined."""

    squared_error: float
    absolute_error: float
    distance: float  # of the truth from a fixed number in its middle
    squared_distance: float
    coverage: float
    width: float

    def rmse(self) -> float:
        return math.sqrt(self.squared_error)

    def mae(self) -> float:
        return self.absolute_error

    def r2(self) -> float:
        """1 - squared error / variance of the truth; undefined where all truths are equal."""
        variance = self.squared_distance - self.distance**2
        return 1 - self.squared_error / variance if variance > 8 * _EPS * self.squared_distance else math.nan


class RegressionSample:
    """`output` has the columns prediction, low and high, of shape (n, 3). Each row becomes six numbers once, so that a resample
    takes their means only. `coverage` is the share of truths from low to high, and `width` the mean of high - low.

    Raises ValueError unless both have the same rows, all of them finite.
    """

    def __init__(self, truth: Array, output: Array) -> None:
        if output.shape != (len(truth), 3):
            found = f"truth is {truth.shape}, output {output.shape}"
            raise ValueError(f"metrics · {found}. Pass a prediction with low and high for each truth.")
        for name, numbers in {"truth": truth, "output": output}.items():
            if not np.isfinite(numbers).all():
                raise ValueError(f"metrics · {name} has nan or infinite values. Drop the rows without a label or a prediction.")
        prediction, low, high = np.asarray(output, dtype=np.float64).T
        error, distance = prediction - truth, truth - (np.median(truth) if len(truth) else 0.0)
        inside = (truth >= low) & (truth <= high)
        self.numbers = np.stack([error**2, np.abs(error), distance, distance**2, inside, high - low])

    def __len__(self) -> int:
        return self.numbers.shape[1]

    def measure(self, metrics: Collection[str], rows: Array | slice = ALL_ROWS) -> dict[str, float]:
        """Each metric of the sample, or of the resample that takes `rows`; nan where it is undefined."""
        if not len(self):
            return dict.fromkeys(metrics, math.nan)
        # How often each row counts: three times as fast as to gather six numbers of each.
        times = np.ones(len(self)) if rows is ALL_ROWS else np.bincount(np.arange(len(self))[rows], minlength=len(self))
        means = Means(*(self.numbers @ times / times.sum()).tolist())
        return {name: METRICS[name](means) for name in metrics}


METRICS: dict[str, Callable[[Means], float]] = {
    "rmse": Means.rmse,
    "mae": Means.mae,
    "r2": Means.r2,
    "coverage": lambda means: means.coverage,
    "width": lambda means: means.width,
}
