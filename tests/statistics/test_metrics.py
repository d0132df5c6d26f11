"""The metrics against scikit-learn, the bootstrap against a slow loop, and the odds that `compare` is fooled."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as oracle

from mlops_assets.spec.gate import LOWER_IS_BETTER
from mlops_assets.statistics.binary import METRICS, BinarySample
from mlops_assets.statistics.metrics import Comparison, Interval, compare, comparisons, interval, intervals, measure

Array = NDArray[Any]
PROBABILITY = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))
ROWS = st.lists(st.tuples(st.integers(0, 1), PROBABILITY), min_size=1, max_size=60)


def split(rows: list[tuple[int, float]]) -> tuple[Array, Array]:
    return np.array([truth for truth, _ in rows]), np.array([probability for _, probability in rows])


def simulated(rows: int, seed: int, noise: float = 1.0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    signal = rng.normal(-1, 1, rows)
    truth = (rng.uniform(size=rows) < 1 / (1 + np.exp(-signal))).astype(int)
    return truth, 1 / (1 + np.exp(-signal - noise * rng.normal(size=rows)))


@given(ROWS)
def test_ranked_metrics_agree_with_sklearn(rows: list[tuple[int, float]]) -> None:
    truth, probability = split(rows)
    assume(0 < truth.sum() < len(truth))
    assert measure("auc", BinarySample(truth, probability)) == pytest.approx(oracle.roc_auc_score(truth, probability))
    assert measure("average_precision", BinarySample(truth, probability)) == pytest.approx(
        oracle.average_precision_score(truth, probability)
    )


@given(ROWS)
def test_losses_agree_with_sklearn_also_for_one_class(rows: list[tuple[int, float]]) -> None:
    truth, probability = split(rows)
    assert measure("brier", BinarySample(truth, probability)) == pytest.approx(
        oracle.brier_score_loss(truth, probability, labels=[0, 1])
    )
    assert measure("log_loss", BinarySample(truth, probability)) == pytest.approx(
        oracle.log_loss(truth, probability, labels=[0, 1])
    )


@given(st.integers(1, 20), st.integers(2, 8), st.integers(0, 99))
def test_ece_of_distinct_probabilities_is_the_mean_gap_of_equal_parts(per_bin: int, bins: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probability = np.sort(rng.permutation(np.linspace(0.01, 0.99, per_bin * bins)))
    truth = rng.integers(0, 2, per_bin * bins)
    gaps = [abs(p.mean() - t.mean()) for p, t in zip(np.split(probability, bins), np.split(truth, bins), strict=True)]
    assert interval("ece", BinarySample(truth, probability, bins=bins), seed=0, resamples=2).value == pytest.approx(np.mean(gaps))


@given(ROWS, st.integers(0, 9), st.sampled_from(sorted(METRICS)))
def test_no_metric_depends_on_the_order_of_the_rows(rows: list[tuple[int, float]], seed: int, metric: str) -> None:
    truth, probability = split(rows)
    order = np.random.default_rng(seed).permutation(len(rows))
    assert measure(metric, BinarySample(truth, probability)) == pytest.approx(
        measure(metric, BinarySample(truth[order], probability[order])), nan_ok=True
    )


@given(ROWS, st.integers(0, 9), st.sampled_from(sorted(METRICS)))
def test_a_tally_of_repeated_rows_measures_what_the_repeated_rows_do(
    rows: list[tuple[int, float]], seed: int, metric: str
) -> None:
    truth, probability = split(rows)
    picked = np.random.default_rng(seed).integers(0, len(rows), len(rows))
    quick = METRICS[metric](BinarySample(truth, probability).tally(picked))
    assert quick == pytest.approx(measure(metric, BinarySample(truth[picked], probability[picked])), nan_ok=True)


@given(st.integers(0, 400), st.integers(1, 3), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_calibration_is_to_the_last_bit_that_of_a_count_for_each_bin(rows: int, digits: int, bins: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probability, truth = rng.random(rows).round(digits), rng.integers(0, 2, rows)
    tally = BinarySample(truth, probability).tally(rng.integers(0, rows, rows) if rows else slice(None))
    middle = np.cumsum(tally.rows) - tally.rows / 2
    place = np.minimum((bins * middle / max(tally.rows.sum(), 1)).astype(int), bins - 1)
    parts = (tally.rows, tally.rows * tally.probability, tally.positive)
    counted, expected, positive = (np.bincount(place, weights=part, minlength=bins) for part in parts)
    full = counted > 0
    for values, count in zip(
        tally.calibration(bins), (expected[full] / counted[full], positive[full] / counted[full], counted[full]), strict=True
    ):
        np.testing.assert_array_equal(values, count)


def test_the_losses_of_a_sample_are_computed_once_for_all_resamples() -> None:
    sample = BinarySample(np.array([0, 1, 1]), np.array([0.2, 0.7, 0.9]))
    first, second = sample.tally(np.array([0, 1, 1])), sample.tally(np.array([2, 2, 0]))
    assert first.losses.log_loss is second.losses.log_loss
    assert first.log_loss() != second.log_loss()


def test_calibration_keeps_every_row_once() -> None:
    truth, probability = simulated(1003, seed=1)
    mean, share, rows = BinarySample(truth, probability).tally().calibration(bins=10)
    assert rows.sum() == 1003
    assert rows.max() - rows.min() <= 1
    assert (np.diff(mean) > 0).all()
    assert share @ rows == pytest.approx(truth.sum())


@pytest.mark.parametrize("metric", ["auc", "average_precision", "brier", "log_loss"])
def test_the_interval_is_that_of_a_slow_loop(metric: str) -> None:
    truth, probability = simulated(300, seed=2)
    rng = np.random.default_rng(7)
    slow = [
        measure(metric, BinarySample(truth[rows], probability[rows])) for rows in (rng.integers(0, 300, 300) for _ in range(100))
    ]
    bounds = interval(metric, BinarySample(truth, probability), seed=7, resamples=100)
    assert (bounds.low, bounds.high) == pytest.approx(tuple(np.quantile(slow, (0.025, 0.975))))
    assert bounds.low < bounds.value < bounds.high


def test_the_comparison_is_that_of_a_slow_loop() -> None:
    truth, good = simulated(300, seed=2, noise=0.5)
    poor = np.random.default_rng(3).uniform(size=300)
    rng, slow = np.random.default_rng(5), []
    for _ in range(100):
        rows = rng.integers(0, 300, 300)
        slow.append(
            measure("brier", BinarySample(truth[rows], poor[rows])) - measure("brier", BinarySample(truth[rows], good[rows]))
        )
    comparison = compare("brier", BinarySample(truth, good), BinarySample(truth, poor), seed=5, resamples=100)
    assert (comparison.low, comparison.high) == pytest.approx(tuple(np.quantile(slow, (0.05, 0.95))))
    assert comparison.better


SAMPLES = {"ties": 0.1, "distinct": None, "one class": -1.0}


def sampled(kind: str) -> tuple[Array, Array, Array]:
    truth, probability = simulated(200, seed=8)
    _, other = simulated(200, seed=8, noise=2.0)
    step = SAMPLES[kind]
    if step == -1.0:
        return np.zeros_like(truth), probability, other
    return truth, *((np.round(scores / step) * step if step else scores) for scores in (probability, other))


@pytest.mark.parametrize("kind", SAMPLES)
def test_all_intervals_at_once_are_to_the_last_bit_those_of_a_loop_per_metric(kind: str) -> None:
    truth, probability, _ = sampled(kind)
    ranked, at_once = BinarySample(truth, probability), intervals(BinarySample(truth, probability), METRICS, seed=3, resamples=40)
    assert [*at_once] == [*METRICS]
    for name, metric in METRICS.items():
        rng, value = np.random.default_rng(3), metric(ranked.tally())
        draws = np.array([metric(ranked.tally(rng.integers(0, 200, 200))) for _ in range(40)])
        if name == "ece":
            draws = np.clip(draws - draws.mean() + value, 0, 1)
        expected = (np.nan, np.nan) if np.isnan(value) else np.nanquantile(draws, ((1 - 0.95) / 2, 1 - (1 - 0.95) / 2))
        assert repr(at_once[name]) == repr(Interval(value, *map(float, expected)))
        assert str(interval(name, BinarySample(truth, probability), seed=3, resamples=40)) == str(at_once[name])


@pytest.mark.parametrize("kind", SAMPLES)
def test_all_comparisons_at_once_are_to_the_last_bit_those_of_a_loop_per_metric(kind: str) -> None:
    truth, probability, other = sampled(kind)
    ours, theirs = BinarySample(truth, probability), BinarySample(truth, other)
    at_once = comparisons(
        BinarySample(truth, probability), BinarySample(truth, other), METRICS, seed=3, resamples=40, confidence=0.99
    )
    for name, metric in METRICS.items():
        rng, sign = np.random.default_rng(3), -1.0 if name in LOWER_IS_BETTER else 1.0
        draws: list[float] = []
        for _ in range(40):
            rows = rng.integers(0, 200, 200)
            draws.append(sign * (metric(ours.tally(rows)) - metric(theirs.tally(rows))))
        value = sign * (metric(ours.tally()) - metric(theirs.tally()))
        low, high = (value, value) if np.isnan(value) else map(float, np.nanquantile(draws, (1 - 0.99, 0.99)))
        assert repr(at_once[name]) == repr(Comparison(value, low, high, better=bool(low > 0)))


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_better_is_positive_in_both_directions_of_a_metric(metric: str) -> None:
    rng = np.random.default_rng(11)
    good = rng.uniform(size=3000)
    truth = (rng.uniform(size=3000) < good).astype(int)
    poor = rng.permutation(good)
    assert compare(metric, BinarySample(truth, good), BinarySample(truth, poor), seed=0, resamples=100).better
    assert compare(metric, BinarySample(truth, poor), BinarySample(truth, good), seed=0, resamples=100).high < 0
    assert not compare(metric, BinarySample(truth, good), BinarySample(truth, good), seed=0, resamples=100).better


def test_the_interval_of_ece_surrounds_its_value_although_resampling_alone_raises_the_ece() -> None:
    rng = np.random.default_rng(0)
    for seed in range(10):
        probability = rng.uniform(size=500)
        truth = (rng.uniform(size=500) < probability).astype(int)
        bounds = interval("ece", BinarySample(truth, probability), seed=seed)
        assert abs((bounds.low + bounds.high) / 2 - bounds.value) < 0.25 * (bounds.high - bounds.low)


@pytest.mark.parametrize("metric", ["auc", "average_precision"])
def test_one_class_has_no_ranking(metric: str) -> None:
    truth, probability = np.zeros(5, dtype=int), np.linspace(0, 1, 5)
    assert np.isnan(measure(metric, BinarySample(truth, probability)))
    assert np.isnan(interval(metric, BinarySample(truth, probability), seed=0).low)
    assert not compare(metric, BinarySample(truth, probability), BinarySample(truth, probability[::-1]), seed=0).better


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_no_rows_have_no_metric(metric: str) -> None:
    assert np.isnan(measure(metric, BinarySample(np.array([]), np.array([]))))


@pytest.mark.parametrize(
    ("truth", "probability", "message"),
    [
        ([0, 1], [0.5], "equally long"),
        ([0, 2], [0.5, 0.5], "other than 0 and 1"),
        ([0, 1], [0.5, float("nan")], r"outside \[0, 1\]"),
        ([0, 1], [0.5, 1.5], r"outside \[0, 1\]"),
    ],
)
def test_illegal_inputs_are_named(truth: list[int], probability: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure("auc", BinarySample(np.array(truth), np.array(probability)))


def test_a_month_of_flights_is_resampled_in_seconds() -> None:
    truth, probability = simulated(27_000, seed=4)
    start = time.process_time()
    interval("auc", BinarySample(truth, probability), seed=0, resamples=200)
    assert time.process_time() - start < 3


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_the_same_seed_gives_the_same_bounds(seed: int) -> None:
    truth, probability = simulated(50, seed=6)
    assert interval("auc", BinarySample(truth, probability), seed=seed, resamples=20) == interval(
        "auc", BinarySample(truth, probability), seed=seed, resamples=20
    )
