"""The evaluation of a planted model: what it holds, that its digest is stable, and that importance finds the cause."""

import json
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.inspection import permutation_importance as sklearn_importance
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.metrics import confusion_matrix as oracle

from mlops_assets.evaluation.evaluate import MIN_SHUFFLED_ROWS, Evaluation, Rival, evaluate, permutation_importance, plain
from mlops_assets.spec.feature import Label
from mlops_assets.spec.task import Multiclass, Regression
from mlops_assets.statistics.binary import METRICS, BinarySample
from mlops_assets.statistics.metrics import compare, measure
from mlops_assets.tasks import task_of
from mlops_assets.tasks.binary import calibration_table, confusion_matrix
from mlops_assets.use_cases.flight_delay import USE_CASE

Array = NDArray[Any]


TASK = task_of(USE_CASE.task.but(threshold=0.5))


def flights(rows: int = 600, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    wind = rng.normal(size=rows)
    return pl.DataFrame(
        {
            "event_timestamp": [datetime(2013, 4, 1) + timedelta(hours=index) for index in range(rows)],
            "wind": wind,
            "noise": rng.normal(size=rows),
            "carrier": rng.choice(["UA", "AA"], rows),
            "late": (rng.uniform(size=rows) < 1 / (1 + np.exp(-2 * wind))).astype(int),
        }
    )


def score(rows: pl.DataFrame) -> Array:
    return 1 / (1 + np.exp(-2 * rows["wind"].to_numpy()))


def evaluation(rows: pl.DataFrame | None = None, **changes: Any) -> Evaluation:
    rows = flights() if rows is None else rows
    options: dict[str, Any] = {"candidate": "c0ffee", "label": "late", "slices": ("carrier",), "task": TASK, "seed": 1}
    return evaluate(rows, score(rows), **{**options, "resamples": 30, **changes})


def test_the_evaluation_has_rows_window_and_every_metric_with_its_bounds() -> None:
    result = evaluation()
    assert (result.rows, result.first, result.last) == (600, datetime(2013, 4, 1), datetime(2013, 4, 25, 23))
    assert set(result.metrics) == set(METRICS)
    assert all(metric.low <= metric.value <= metric.high for metric in result.metrics.values())


def test_slices_divide_the_rows_and_measure_each_part() -> None:
    rows = flights()
    slices = evaluation(rows).slices
    assert [part["value"] for part in slices] == ["AA", "UA"]
    assert sum(part["rows"] for part in slices) == 600
    united = rows.filter(pl.col("carrier") == "UA")
    assert slices[1]["metrics"]["auc"] == pytest.approx(measure("auc", BinarySample(united["late"].to_numpy(), score(united))))


def test_a_slice_of_one_class_has_no_auc_but_a_brier() -> None:
    rows = flights().with_columns(late=pl.when(pl.col("carrier") == "AA").then(0).otherwise(pl.col("late")))
    part = evaluation(rows).slices[0]
    assert part["positives"] == 0
    assert part["metrics"]["auc"] is None
    assert part["metrics"]["brier"] > 0


def test_with_a_champion_each_slice_has_its_metrics_and_the_paired_difference() -> None:
    rows, theirs = flights(), np.random.default_rng(5).uniform(size=600)
    united = (rows["carrier"] == "UA").to_numpy()
    part = evaluation(champion=Rival("7", theirs)).slices[1]
    truth = rows["late"].to_numpy()[united]
    assert part["champion"]["auc"] == pytest.approx(roc_auc_score(truth, theirs[united]))
    compared, samples = part["comparison"]["brier"], [BinarySample(truth, scores[united]) for scores in (score(rows), theirs)]
    assert compared["difference"] == pytest.approx(brier_score_loss(truth, theirs[united]) - part["metrics"]["brier"])
    assert compared == plain(vars(compare("brier", *samples, seed=1, resamples=30, confidence=0.99)))
    assert compared["better"] and 0 < compared["low"] < compared["difference"] < compared["high"]


def test_without_a_champion_slices_compare_with_nothing() -> None:
    assert set(evaluation().slices[0]) == {"column", "value", "rows", "positives", "metrics"}


def test_a_slice_of_one_class_compares_its_brier_and_not_its_auc() -> None:
    rows = flights().with_columns(late=pl.when(pl.col("carrier") == "AA").then(0).otherwise(pl.col("late")))
    compared = evaluation(rows, champion=Rival("7", np.full(600, 0.9))).slices[0]["comparison"]
    assert compared["auc"] == {"difference": None, "low": None, "high": None, "better": False}
    assert compared["brier"]["better"]


def test_without_rival_or_yardstick_there_is_nothing_to_compare() -> None:
    result = evaluation()
    assert (result.champion, result.comparison, result.reference) == (None, None, None)


def test_champion_and_reference_are_measured_on_the_same_rows() -> None:
    blind = np.random.default_rng(5).uniform(size=600)
    result = evaluation(champion=Rival("7", blind), reference=blind)
    assert result.champion == "7"
    assert result.comparison is not None and result.comparison["auc"].better
    assert result.reference is not None and result.reference["auc"].value == pytest.approx(0.5, abs=0.1)


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_the_confusion_matrix_agrees_with_sklearn(rows: list[tuple[int, float]], threshold: float) -> None:
    truth, probability = (np.array(column) for column in zip(*rows, strict=True))
    matrix = confusion_matrix(truth, probability, threshold)
    expected = oracle(truth, probability >= threshold, labels=[0, 1])
    names = ("true_negative", "false_positive", "false_negative", "true_positive")
    assert [matrix[name] for name in names] == expected.ravel().tolist()


def test_the_calibration_table_counts_every_row() -> None:
    table = calibration_table(flights()["late"].to_numpy(), score(flights()))
    assert [bin["rows"] for bin in table] == [60] * 10


def test_equal_evidence_has_one_digest_and_any_change_another() -> None:
    first, again = evaluation(), evaluation()
    assert first.digest == again.digest
    changed = (evaluation(candidate="beef"), evaluation(seed=2), evaluation(task=task_of(USE_CASE.task.but(threshold=0.4))))
    assert len({first.digest, *(one.digest for one in changed)}) == 4


def test_the_json_is_sorted_finite_and_plain() -> None:
    one_class = flights().with_columns(late=pl.lit(0))
    text = evaluation(one_class, champion=Rival("1", score(one_class))).to_json()
    assert "NaN" not in text
    read = json.loads(text)
    assert list(read) == sorted(read)
    assert read["metrics"]["auc"] == {"value": None, "low": None, "high": None}
    assert read["first"] == "2013-04-01T00:00:00"
    assert json.loads(text) == evaluation(one_class, champion=Rival("1", score(one_class))).to_dict()


@given(st.recursive(st.floats() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner) | st.tuples(inner, inner)))
@settings(max_examples=50)
def test_plain_values_always_dump_as_strict_json(value: Any) -> None:
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == plain(value)


def test_no_rows_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"candidate c0ffee has no rows\. Widen split\.test"):
        evaluation(flights(0))


def test_importance_finds_the_input_that_the_model_uses_and_no_other() -> None:
    importances = permutation_importance(score, flights(), inputs=("noise", "wind", "carrier"), task=TASK, label="late", seed=0)
    assert [importance.input for importance in importances] == ["wind", "carrier", "noise"]
    assert 0.2 < importances[0].low < importances[0].loss < importances[0].high
    assert importances[1].loss == importances[2].high == 0


def test_importance_is_seeded_bounded_and_independent_of_the_other_inputs() -> None:
    row_counts: list[int] = []

    def watched(rows: pl.DataFrame) -> Array:
        row_counts.append(len(rows))
        return score(rows)

    both = permutation_importance(watched, flights(), inputs=("noise", "wind"), task=TASK, label="late", seed=3, max_rows=100)
    alone = permutation_importance(watched, flights(), inputs=("wind",), task=TASK, label="late", seed=3, max_rows=100)
    assert set(row_counts) == {100}
    assert both[0] == alone[0]
    row_counts.clear()
    permutation_importance(watched, flights(300), inputs=("wind",) * 300, task=TASK, label="late", seed=3)
    assert set(row_counts) == {MIN_SHUFFLED_ROWS}, "fewer rows of a table with many inputs"


@pytest.mark.parametrize("estimator", ["classes", "number"])
def test_importance_is_that_of_scikit_learn(estimator: str) -> None:
    """With its own shuffles, for the main metric of each task, within the range of both."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3))
    label = Label(name="y", table="t", key=("k",), transform=lambda rows: rows)
    if estimator == "number":
        task, truth = task_of(Regression(label=label)), x @ [3.0, 1.0, 0.0] + rng.normal(size=4000)
        fitted: Any = LinearRegression().fit(x, truth)
        outputs, scoring = lambda rows: np.stack([fitted.predict(rows)] * 3, axis=1), "neg_root_mean_squared_error"
    else:
        task = task_of(Multiclass(label=label, classes=(0, 1, 2)))
        truth = np.digitize(x @ [3.0, 1.0, 0.0] + rng.normal(size=4000), [-1, 1])
        fitted = LogisticRegression().fit(x, truth)
        outputs, scoring = fitted.predict_proba, "accuracy"
    rows = pl.DataFrame(x, schema=["a", "b", "c"]).with_columns(y=truth)
    expected: Any = sklearn_importance(fitted, x, truth, scoring=scoring, n_repeats=20, random_state=1)
    importances = permutation_importance(
        lambda rows: outputs(rows.select("a", "b", "c").to_numpy()), rows, task=task, inputs=("a", "b", "c"), label="y", seed=0
    )
    assert [importance.input for importance in importances] == ["a", "b", "c"]
    for importance, mean, spread in zip(importances, expected.importances_mean, expected.importances_std, strict=True):
        assert importance.loss == pytest.approx(mean, abs=4 * spread + 1e-9)
