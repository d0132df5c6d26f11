"""Bounds of the mean loss of all answers from the few whose labels are known, valid however often they are looked at.

What a model is expected to lose is known of every answer. Prediction-powered inference (Angelopoulos et al. 2023,
https://arxiv.org/abs/2301.09633) adds to the mean of that, over all answers, how much more the labelled ones have lost than was
expected. Here both terms are bounded by bets, as risk monitoring does it (https://arxiv.org/abs/2602.02229). Bounds hold for
answers that are alike, and of which the labelled ones are a fair sample; when the expectation is wrong, they are only wide.
"""

from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np

from mlops_assets.statistics.metrics import CONFIDENCE, Array

# Of the probability of error: the bounds from labels alone have one half, so that they are 1.1 times as wide as by themselves;
# a tenth is that of the mean of what is expected, as that of many answers varies little.
LABELS_ALONE, EXCESS, EXPECTED = 0.5, 0.4, 0.1
# What each bettor bets of what it has, where 1 may lose everything: much detects what hardly varies, little a small difference.
STAKES = np.array([0.95, *2.0 ** -np.arange(1, 11)])
STEPS = 16  # of a bisection: bounds to 1 / 65,536
MAX_BINS, BIN_ROWS = 20, 50


class Bounds(NamedTuple):
    """Both are within 0 to 1."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.3g} to {self.high:.3g}"


class ExpectedLoss(NamedTuple):
    """What answers lose by one number of their output, as a line between the bins of rows with labels; their `places` rise."""

    places: Array
    losses: Array

    @classmethod
    def of(cls, output: Array, loss: Array) -> Self:
        place = _place(output)
        order = np.argsort(place, kind="stable")
        parts = np.array_split(order, max(1, min(MAX_BINS, len(order) // BIN_ROWS)))
        return cls(np.array([place[part].mean() for part in parts]), np.array([loss[part].mean() for part in parts]))

    def __call__(self, output: Array) -> Array:
        return np.interp(_place(output), self.places, self.losses)


def mean_bounds(values: Array, error: float = 1 - CONFIDENCE) -> Bounds:
    """Of the mean of values in [0, 1], wrong at any look with probability at most `error`: each bound is where bets that the mean
    is beyond it have won 2 / error times their stake (Waudby-Smith & Ramdas 2023, https://arxiv.org/abs/2010.09686).
    """
    if not len(values):
        return Bounds(0.0, 1.0)
    return Bounds(_low(values, error / 2), 1 - _low(1 - values, error / 2))


def risk_bounds(loss: Array, expected: Array, expected_of_all: Array, error: float = 1 - CONFIDENCE) -> Bounds:
    """Of the mean loss: `loss` and `expected` of the labelled answers, in the same order, and what is expected of all."""
    alone = mean_bounds(loss, error * LABELS_ALONE)
    excess, mean = mean_bounds((loss - expected + 1) / 2, error * EXCESS), mean_bounds(expected_of_all, error * EXPECTED)
    low, high = (max(alone.low, 2 * excess.low - 1 + mean.low), min(alone.high, 2 * excess.high - 1 + mean.high))
    return Bounds(low, high) if low <= high else alone  # the labelled answers are no fair sample of all


def _low(values: Array, error: float) -> float:
    """The largest mean that is refuted."""
    return _bisect(lambda mean: _log_wealth((values - mean) / mean) >= -np.log(error))


def _bisect(holds: Callable[[float], bool]) -> float:
    """The largest number up to which it holds; 0 where it holds for none."""
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _log_wealth(paid: Array) -> float:
    """After payments of at least -1, by bettors of whom each bets another share of what it has."""
    logs = np.array([np.log1p(stake * paid).sum() for stake in STAKES])
    return float(logs.max() + np.log(np.exp(logs - logs.max()).mean()))


def _place(output: Array) -> Array:
    return output if output.ndim == 1 else output.max(axis=1)
