"""Boosted trees: what ONNX answers is what scikit-learn answers, also next to a split."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier

from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.statistics.binary import BinarySample
from mlops_assets.statistics.metrics import measure
from mlops_assets.training.fitted import Examples, examples
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.signature import Signature, learn
from mlops_assets.training.trainers.boosting import _round_thresholds_down, train
from mlops_assets.training.trainers.estimator import FittedEstimator
from tests.training.training_rows import INPUTS, training_rows, unlabelled_rows

WORD = HistGradientBoosting(max_iter=30, min_samples_leaf=5, learning_rate=0.2)
ROWS = training_rows()


def split(name: str, signature: Signature) -> Examples:
    return examples(ROWS.filter(split=name), signature, task=INPUTS["task"], label=INPUTS["label"])


def fitted_trees() -> FittedEstimator:
    signature = learn(ROWS, **INPUTS)
    parts = {name: split(name, signature) for name in ("train", "validation")}
    return train(
        WORD, INPUTS["task"], signature=signature, train=parts["train"], validation=parts["validation"], progress=lambda _: None
    )


@pytest.fixture(scope="module")
def fitted() -> FittedEstimator:
    return fitted_trees()


@pytest.fixture(scope="module")
def model(fitted: FittedEstimator) -> OnnxModel:
    return OnnxModel.from_bytes(fitted.to_onnx())


def thresholds(classifier: Any) -> np.ndarray:
    nodes = np.concatenate([tree.nodes for (tree,) in classifier._predictors])
    return nodes["num_threshold"][nodes["is_leaf"] == 0].astype(np.float32)


def test_scikit_learn_keeps_its_thresholds_where_they_are_rounded() -> None:
    """The canary of boosting._round_thresholds_down, which reads a private attribute: find where scikit-learn keeps its trees."""
    exact = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5).fit(
        np.random.default_rng(0).random((200, 2)), [0, 1] * 100
    )
    before = np.concatenate([tree.nodes["num_threshold"] for (tree,) in exact._predictors])
    _round_thresholds_down(exact)
    after = np.concatenate([tree.nodes["num_threshold"] for (tree,) in exact._predictors])
    assert (after <= before).all() and (after < before).any()
    assert (after == after.astype(np.float32)).all()
    assert (np.nextafter(after.astype(np.float32), np.float32(np.inf)) > before).all()


def next_to_splits(fitted: FittedEstimator) -> np.ndarray:
    """Float32 rows whose numbers lie on a split threshold or one representable number below or above."""
    rng = np.random.default_rng(0)
    values = thresholds(fitted.model)
    values = np.concatenate([values, np.nextafter(values, np.float32(-np.inf)), np.nextafter(values, np.float32(np.inf))])
    return rng.choice(values[np.isfinite(values)], (3000, len(fitted.signature.inputs)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 300]))
def test_onnx_agrees_with_sklearn_on_missing_and_unknown_values(
    fitted: FittedEstimator, model: OnnxModel, seed: int, count: int
) -> None:
    rows = unlabelled_rows(count, seed)
    expected = fitted.predict(fitted.signature.encode(rows))
    np.testing.assert_allclose(model.predict(rows), expected, rtol=0, atol=1e-5)


def test_onnx_agrees_with_sklearn_next_to_every_split(fitted: FittedEstimator, model: OnnxModel) -> None:
    features = next_to_splits(fitted)
    answer = model.session.run(["probability"], {"features": features})[0]
    np.testing.assert_allclose(answer, fitted.predict(features), rtol=0, atol=1e-5)


def test_rounding_the_thresholds_changes_no_answer(fitted: FittedEstimator) -> None:
    rows = split("train", fitted.signature) + split("validation", fitted.signature)
    fields = WORD.model_dump(exclude={"kind", "seed"})
    untouched = HistGradientBoostingClassifier(**fields, early_stopping=False, random_state=WORD.seed)
    never = list(INPUTS["numeric"]).index("never")
    known = rows.features.copy()
    known[:, never] = 0
    untouched.fit(known, rows.label)
    for features in (rows.features, next_to_splits(fitted)):
        np.testing.assert_array_equal(fitted.predict(features), untouched.predict_proba(features)[:, 1])


def test_the_trees_learn_what_makes_a_row_late(fitted: FittedEstimator) -> None:
    test = split("test", fitted.signature)
    assert measure("auc", BinarySample(test.label, fitted.predict(test.features))) > 0.7


def test_the_same_rows_give_the_same_bytes(fitted: FittedEstimator) -> None:
    assert fitted_trees().to_onnx() == fitted.to_onnx()


def test_the_history_has_iterations_and_loss(fitted: FittedEstimator) -> None:
    (record,) = fitted.history
    assert record["iterations"] == 30
    assert 0 < record["train_loss"] < np.log(2)


def test_a_model_whose_history_is_not_read_predicts_no_training_row(monkeypatch: pytest.MonkeyPatch) -> None:
    predicted: list[int] = []
    own = HistGradientBoostingClassifier.predict_proba

    def counted(model: HistGradientBoostingClassifier, rows: np.ndarray) -> np.ndarray:
        predicted.append(len(rows))
        return own(model, rows)

    monkeypatch.setattr(HistGradientBoostingClassifier, "predict_proba", counted)
    trees = fitted_trees()
    assert predicted == []
    assert trees.history is trees.history
    assert len(predicted) == 1, "it is measured once"


@pytest.mark.parametrize("rows", [133, 300])
def test_the_defaults_do_not_answer_the_same_for_every_row_of_a_small_table(rows: int) -> None:
    frame = training_rows(rows)
    signature = learn(frame, **INPUTS)
    both = examples(frame, signature, task=INPUTS["task"], label=INPUTS["label"])
    half = Examples(both.features[: rows // 2], both.label[: rows // 2])
    rest = Examples(both.features[rows // 2 :], both.label[rows // 2 :])
    trees = train(
        HistGradientBoosting(), INPUTS["task"], signature=signature, train=half, validation=rest, progress=lambda _: None
    )
    assert len(np.unique(trees.predict(both.features))) > 10


def test_a_large_table_keeps_the_declared_leaves() -> None:
    assert fitted_trees().model.min_samples_leaf == WORD.min_samples_leaf
