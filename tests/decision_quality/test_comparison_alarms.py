"""How often `compare` calls an equal challenger better (false alarms), and how often it sees a real gain (power)."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from mlops_assets.statistics.binary import BinarySample
from mlops_assets.statistics.metrics import compare

TRIALS = 200
CONFIDENCE = 0.95


def _calls(metric: str, champion_noise: float, seed: int) -> int:
    rng = np.random.default_rng(seed)
    return sum(_better(metric, champion_noise, rng) for _ in range(TRIALS))


def _better(metric: str, champion_noise: float, rng: np.random.Generator) -> bool:
    signal = rng.normal(-1, 1, 600)
    truth = (rng.uniform(size=600) < _sigmoid(signal)).astype(int)
    challenger = _sigmoid(signal + 0.5 * rng.normal(size=600))
    champion = _sigmoid(signal + champion_noise * rng.normal(size=600))
    seed = int(rng.integers(2**31))
    return compare(
        metric, BinarySample(truth, challenger), BinarySample(truth, champion), seed=seed, resamples=200, confidence=CONFIDENCE
    ).better


def _sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("metric", ["auc", "brier", "ece"])
def test_an_equal_challenger_is_seldom_called_better(metric: str) -> None:
    allowed = binom.ppf(0.999, TRIALS, 1 - CONFIDENCE)
    assert _calls(metric, champion_noise=0.5, seed=1) <= allowed


def test_a_clearly_better_challenger_is_nearly_always_detected() -> None:
    assert _calls("auc", champion_noise=3.0, seed=2) >= 0.95 * TRIALS
