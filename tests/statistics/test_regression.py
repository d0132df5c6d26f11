"""The metrics of numbers against scikit-learn, the bootstrap against a slow loop."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as oracle

from mlops_assets.statistics.metrics import compare, interval, intervals, measure
from mlops_assets.statistics.regression import METRICS, RegressionSample

Array = NDArray[Any]
NUMBER = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 0.1]), st.floats(-1e6, 1e6), st.integers(-(2**53), 2**53).map(float))
ROWS = st.lists(st.tuples(NUMBER, NUMBER, st.floats(0, 1e6)), min_size=1, max_size=60)


def split(rows: list[tuple[float, float, float]]) -> tuple[Array, Array]:
    truth, prediction, half = np.array(rows).T
    return truth, np.stack([prediction, prediction - half, prediction + half], axis=1)


def simulated(rows: int, seed: int, noise: float = 1.0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(1e5, 3, rows)
    prediction = truth + rng.normal(0, noise, rows)
    return truth, np.stack([prediction, prediction - 1.5, prediction + 1.5], axis=1)


@given(ROWS)
def test_errors_agree_with_sklearn(rows: list[tuple[float, float, float]]) -> None:
    truth, output = split(rows)
    errors = RegressionSample(truth, output).measure(("rmse", "mae"))
    assert errors["rmse"] == pytest.approx(oracle.root_mean_squared_error(truth, output[:, 0]))
    assert errors["mae"] == pytest.approx(oracle.mean_absolute_error(truth, output[:, 0]))


@given(ROWS)
def test_r2_agrees_with_sklearn(rows: list[tuple[float, float, float]]) -> None:
    truth, output = split(rows)
    assume(np.ptp(truth) > max(1e-6 * np.abs(truth).max(), 1e-100))  # the square of a smaller one is zero
    assert measure("r2", RegressionSample(truth, output)) == pytest.approx(oracle.r2_score(truth, output[:, 0]), rel=1e-6)


@given(NUMBER, st.integers(1, 9))
def test_r2_of_equal_truths_is_undefined(truth: float, count: int) -> None:
    sample = RegressionSample(np.full(count, truth), np.zeros((count, 3)))
    assert np.isnan(measure("r2", sample)) and np.isnan(interval("r2", sample, seed=0).low)
    assert np.isnan(RegressionSample(np.array([truth, truth + 7]), np.zeros((2, 3))).measure(["r2"], np.array([0, 0]))["r2"])


@given(ROWS)
def test_coverage_and_width_are_those_of_a_loop(rows: list[tuple[float, float, float]]) -> None:
    truth, output = split(rows)
    values = RegressionSample(truth, output).measure(("coverage", "width"))
    inside = [low <= number <= high for number, (_, low, high) in zip(truth, output, strict=True)]
    assert values["coverage"] == pytest.approx(np.mean(inside))
    assert values["width"] == pytest.approx(np.mean([high - low for _, low, high in output]))


@given(ROWS, st.integers(0, 9), st.sampled_from(sorted(METRICS)))
def test_a_resample_measures_what_the_repeated_rows_do(rows: list[tuple[float, float, float]], seed: int, metric: str) -> None:
    truth, output = split(rows)
    picked = np.random.default_rng(seed).integers(0, len(rows), len(rows))
    assume(np.ptp(truth[picked]) > 1e-6 * np.abs(truth).max() or metric != "r2")
    quick = RegressionSample(truth, output).measure([metric], picked)[metric]
    assert quick == pytest.approx(measure(metric, RegressionSample(truth[picked], output[picked])), rel=1e-5, nan_ok=True)


def test_the_interval_is_that_of_a_slow_loop() -> None:
    truth, output = simulated(300, seed=2)
    for metric, bounds in intervals(RegressionSample(truth, output), METRICS, seed=7, resamples=100).items():
        rng = np.random.default_rng(7)
        picks = (rng.integers(0, 300, 300) for _ in range(100))
        slow = [measure(metric, RegressionSample(truth[rows], output[rows])) for rows in picks]
        assert (bounds.low, bounds.high) == pytest.approx(tuple(np.quantile(slow, (0.025, 0.975))))


@pytest.mark.parametrize("metric", ["rmse", "mae", "r2", "coverage"])
def test_a_less_noisy_model_is_better_in_either_direction_of_a_metric(metric: str) -> None:
    good, poor = (RegressionSample(*simulated(1000, seed=1, noise=noise)) for noise in (0.5, 2.0))
    assert compare(metric, good, poor, seed=0).better and not compare(metric, poor, good, seed=0).better


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_no_rows_have_no_metric(metric: str) -> None:
    assert np.isnan(measure(metric, RegressionSample(np.empty(0), np.empty((0, 3)))))


@pytest.mark.parametrize(
    ("truth", "output", "message"),
    [
        ([0.0, 1.0], [[0.0, 0.0, 0.0]], r"truth is \(2,\), output \(1, 3\)"),
        ([0.0], [0.0], r"output \(1,\)"),
        ([np.nan], [[0.0, 0.0, 0.0]], "truth has nan or infinite"),
        ([0.0], [[0.0, -np.inf, 0.0]], "output has nan or infinite"),
    ],
)
def test_illegal_values_are_named(truth: list[float], output: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RegressionSample(np.array(truth), np.array(output))


def test_a_month_of_rows_is_resampled_in_seconds() -> None:
    sample, start = RegressionSample(*simulated(27_000, seed=4)), time.process_time()
    intervals(sample, METRICS, seed=0, resamples=200)
    assert time.process_time() - start < 3
