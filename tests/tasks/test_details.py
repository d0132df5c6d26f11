"""The numbers on an evaluation page that are no metrics: equal to scikit-learn's, or to those of a slow loop."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from mlops_assets.spec.task import Binary, Multiclass, Regression
from mlops_assets.tasks import task_of
from mlops_assets.tasks.binary import calibration_table

CLASSES = ("a", "b", "c", "d")
BINARY = task_of(Binary(label="late", threshold=0.35))
MULTICLASS = task_of(Multiclass(label="kind", classes=CLASSES))
REGRESSION = task_of(Regression(label="rides"))
ROWS, SEED = st.integers(1, 80), st.integers(0, 2**32 - 1)
SOME = settings(max_examples=60)


def probabilities(rng: np.random.Generator, rows: int, *, ties: bool) -> Any:
    return rng.integers(0, 21, rows) / 20 if ties else rng.random(rows)


@SOME
@given(ROWS, SEED, st.booleans())
def test_the_confusion_of_yes_and_no_is_that_of_scikit_learn(rows: int, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    truth, probability = rng.integers(0, 2, rows), probabilities(rng, rows, ties=ties)
    expected = confusion_matrix(truth, probability >= 0.35, labels=[0, 1]).ravel()
    confusion = BINARY.details(truth, probability)["confusion"]
    assert [confusion[f"{cell}"] for cell in ("true_negative", "false_positive", "false_negative", "true_positive")] == [
        *expected
    ]
    assert BINARY.counts(truth) == {"positives": truth.sum()}


@SOME
@given(st.integers(1, 20), SEED)
def test_the_calibration_of_distinct_probabilities_is_that_of_scikit_learn(per_bin: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, probability = rng.integers(0, 2, 10 * per_bin), rng.permutation(np.linspace(0.01, 0.99, 10 * per_bin))
    shares, means = calibration_curve(truth, probability, n_bins=10, strategy="quantile")
    table = calibration_table(truth, probability)
    np.testing.assert_allclose([bin["share"] for bin in table], shares)
    np.testing.assert_allclose([bin["mean_probability"] for bin in table], means)
    assert [bin["rows"] for bin in table] == [per_bin] * 10


@SOME
@given(ROWS, SEED)
def test_the_calibration_of_equal_probabilities_is_that_of_a_loop(rows: int, seed: int) -> None:
    """Rows of one probability stay together, in the bin of their middle."""
    rng = np.random.default_rng(seed)
    truth, probability = rng.integers(0, 2, rows), probabilities(rng, rows, ties=True)
    bins: dict[int, list[int]] = {}
    for value in sorted({*probability.tolist()}):
        below, equal = int((probability < value).sum()), np.flatnonzero(probability == value)
        bins.setdefault(min(int(10 * (below + len(equal) / 2) / rows), 9), []).extend(equal.tolist())
    expected = [(probability[members].mean(), truth[members].mean(), len(members)) for members in bins.values()]
    table = calibration_table(truth, probability)
    np.testing.assert_allclose([(bin["mean_probability"], bin["share"], bin["rows"]) for bin in table], expected)


@SOME
@given(ROWS, SEED)
def test_the_quality_of_each_class_is_that_of_scikit_learn(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, output = rng.integers(0, 4, rows), rng.dirichlet([0.5] * 4, rows)
    decided, details = output.argmax(axis=1), MULTICLASS.details(truth, output)
    assert details["confusion"] == confusion_matrix(truth, decided, labels=range(4)).tolist()
    expected = precision_recall_fscore_support(truth, decided, labels=range(4), zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "rows"), expected, strict=True):
        np.testing.assert_allclose([part[name] for part in details["by_class"]], values, err_msg=name)
    assert details["calibration"] == calibration_table((decided == truth).astype(np.int8), output.max(axis=1))


@SOME
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=60))
def test_the_errors_are_quantiles_by_interpolation_between_ranks(rows: list[tuple[float, float]]) -> None:
    truth, prediction = np.array(rows).T
    error_quantiles = REGRESSION.details(truth, np.stack([prediction, prediction - 1, prediction + 1], axis=1))["errors"]
    errors = sorted(prediction - truth)
    for share, value in error_quantiles.items():
        place = float(share.rstrip("%")) / 100 * (len(errors) - 1)
        low, high = errors[int(place)], errors[min(int(place) + 1, len(errors) - 1)]
        assert value == pytest.approx(low + (high - low) * (place - int(place)), rel=1e-9, abs=1e-6)
