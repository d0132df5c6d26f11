"""How often `compare` calls an equal challenger better (false alarms), and how often it sees a real gain (power)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from mlops_assets.statistics.binary import BinarySample
from mlops_assets.statistics.metrics import Comparison, comparisons

CONFIDENCE = 0.95
METRICS = ("auc", "brier", "ece")


def _calls(trials: int, champion_noise: float, seed: int) -> dict[str, int]:
    """How often the challenger is called better, by metric."""
    rng = np.random.default_rng(seed)
    compared = [_compared(champion_noise, rng) for _ in range(trials)]
    return {metric: sum(comparison[metric].better for comparison in compared) for metric in METRICS}


def _compared(champion_noise: float, rng: np.random.Generator) -> dict[str, Comparison]:
    signal = rng.normal(-1, 1, 600)
    truth = (rng.uniform(size=600) < _sigmoid(signal)).astype(int)
    challenger = _sigmoid(signal + 0.5 * rng.normal(size=600))
    champion = _sigmoid(signal + champion_noise * rng.normal(size=600))
    ours, theirs = BinarySample(truth, challenger), BinarySample(truth, champion)
    return comparisons(ours, theirs, METRICS, seed=int(rng.integers(2**31)), resamples=200, confidence=CONFIDENCE)


def _sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    return 1 / (1 + np.exp(-x))


def test_an_equal_challenger_is_seldom_called_better() -> None:
    calls = _calls(200, champion_noise=0.5, seed=1)
    assert max(calls.values()) <= binom.ppf(0.999, 200, 1 - CONFIDENCE), calls


def test_a_clearly_better_challenger_is_nearly_always_detected() -> None:
    calls = _calls(60, champion_noise=3.0, seed=2)
    assert calls["auc"] >= 57 and calls["brier"] >= 57, calls
