"""Metrics of several classes equal scikit-learn's on the same rows."""

import time
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, log_loss, roc_auc_score

from mlops_assets.spec.task import Multiclass
from mlops_assets.statistics.binary import BinarySample
from mlops_assets.statistics.metrics import compare, interval, intervals, measure
from mlops_assets.statistics.multiclass import MulticlassSample

METRICS = Multiclass.METRICS


def simulated(rows: int, classes: int, seed: int, *, ties: bool = False) -> tuple[Any, Any]:
    """Truths that follow the probabilities; with ties few probabilities occur."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(1, 4, (rows, classes)).astype(float) if ties else rng.gamma(0.5, size=(rows, classes)) + 1e-6
    probability = weight / weight.sum(axis=1, keepdims=True)
    return (probability.cumsum(axis=1) > rng.random((rows, 1))).argmax(axis=1), probability


def by_scikit_learn(truth: Any, probability: Any) -> dict[str, float]:
    places, decided = np.arange(probability.shape[1]), probability.argmax(axis=1)
    proba: dict[str, Any] = {"labels": places}
    with warnings.catch_warnings(action="ignore"):  # of classes that do not occur
        aucs = [
            roc_auc_score(truth == place, probability[:, place]) if 0 < (truth == place).sum() < len(truth) else np.nan
            for place in places
        ]
        return {
            "accuracy": float(accuracy_score(truth, decided)),
            "macro_f1": float(f1_score(truth, decided, average="macro")),
            "auc": float(np.mean(aucs)),
            "brier": float(brier_score_loss(truth, probability, scale_by_half=True, **proba)),
            "log_loss": float(log_loss(truth, probability, **proba)),
        }  # fmt: skip


def ece_by_rows(truth: Any, probability: Any, bins: int) -> float:
    """Of rows without ties, sorted into bins one by one."""
    order = np.argsort(probability.max(axis=1), kind="stable")
    confidence, hit = probability.max(axis=1)[order], (probability.argmax(axis=1) == truth)[order]
    place = (bins * (np.arange(len(truth)) + 0.5) / len(truth)).astype(int)
    return sum(abs(confidence[place == one].mean() - hit[place == one].mean()) * (place == one).mean() for one in set(place))


@settings(max_examples=100, deadline=None)
@given(rows=st.integers(1, 60), classes=st.integers(2, 6), seed=st.integers(0, 2**32 - 1), ties=st.booleans())
def test_every_metric_is_that_of_scikit_learn(rows: int, classes: int, seed: int, ties: bool) -> None:
    truth, probability = simulated(rows, classes, seed, ties=ties)
    sample = MulticlassSample(truth, probability)
    for name, value in by_scikit_learn(truth, probability).items():
        np.testing.assert_allclose(measure(name, sample), value, rtol=1e-9, err_msg=name)
    drawn = np.random.default_rng(seed).integers(0, rows, rows)
    for name, value in by_scikit_learn(truth[drawn], probability[drawn]).items():
        np.testing.assert_allclose(sample.measure((name,), drawn)[name], value, rtol=1e-9, err_msg=f"resampled {name}")


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 60), classes=st.integers(2, 6), seed=st.integers(0, 2**32 - 1), bins=st.integers(2, 12))
def test_the_calibration_error_is_that_of_the_most_probable_class(rows: int, classes: int, seed: int, bins: int) -> None:
    truth, probability = simulated(rows, classes, seed)
    error = measure("ece", MulticlassSample(truth, probability, bins=bins))
    np.testing.assert_allclose(error, ece_by_rows(truth, probability, bins), atol=1e-12)


def test_the_macro_auc_is_that_of_scikit_learn_where_every_class_occurs() -> None:
    truth, probability = simulated(500, 4, seed=1)
    expected = roc_auc_score(truth, probability, multi_class="ovr", average="macro")
    assert measure("auc", MulticlassSample(truth, probability)) == pytest.approx(expected, rel=1e-12)


def test_two_classes_have_the_brier_log_loss_and_auc_of_a_binary_sample() -> None:
    truth, probability = simulated(300, 2, seed=2)
    two, one = MulticlassSample(truth, probability), BinarySample(truth, probability[:, 1])
    for name in ("brier", "log_loss", "auc"):
        assert measure(name, two) == pytest.approx(measure(name, one), rel=1e-12)


def test_without_a_class_there_is_no_auc_and_without_rows_no_metric() -> None:
    truth, probability = simulated(50, 3, seed=3)
    without = MulticlassSample(truth[truth != 2], probability[truth != 2])
    values = without.measure(METRICS)
    assert [name for name, value in values.items() if np.isnan(value)] == ["auc"]
    empty = MulticlassSample(truth[:0], probability[:0])
    assert np.isnan([*empty.measure(METRICS).values()]).all()
    assert np.isnan(interval("auc", empty, seed=0).low)


@pytest.mark.parametrize("metric", METRICS)
def test_a_model_that_knows_more_is_better_in_every_metric(metric: str) -> None:
    truth, probability = simulated(3000, 3, seed=4)
    poor = np.random.default_rng(0).permutation(probability)
    ours, theirs = MulticlassSample(truth, probability), MulticlassSample(truth, poor)
    assert compare(metric, ours, theirs, seed=0, resamples=100).better
    assert compare(metric, theirs, ours, seed=0, resamples=100).high < 0


@pytest.mark.parametrize(
    ("truth", "probability", "message"),
    [
        ([0, 1], [[0.5, 0.5]], "Pass n places and n rows"),
        ([0], [0.5], "Pass n places and n rows"),
        ([2], [[0.5, 0.5]], "places 0 to 1"),
        ([-1], [[0.5, 0.5]], "places 0 to 1"),
        ([0.5], [[0.5, 0.5]], "places 0 to 1"),
        ([0], [[float("nan"), 0.5]], r"outside \[0, 1\]"),
        ([0], [[1.5, 0.5]], r"outside \[0, 1\]"),
    ],
)
def test_illegal_values_are_named(truth: list[float], probability: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MulticlassSample(np.array(truth), np.array(probability))


def test_all_metrics_of_27_000_rows_are_resampled_200_times_within_seconds() -> None:
    truth, probability = simulated(27_000, 4, seed=5)
    start = time.process_time()
    intervals(MulticlassSample(truth, probability), METRICS, seed=0, resamples=200)
    assert time.process_time() - start < 6
