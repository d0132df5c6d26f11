"""How far two models differ, on real exports of both trainers and against plain recomputation."""

import numpy as np
import onnx
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from sklearn.metrics import log_loss, roc_auc_score

from mlops_assets.provenance.reproduce import METRIC_TOLERANCE, Distance, compare_weights, measure_distance
from mlops_assets.spec.training import HistGradientBoosting, Lightning, Trainer
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.train import fit
from tests.training.trainers import test_regression as regressions
from tests.training.training_rows import INPUTS, training_rows

ROWS = training_rows(600)
TEST = ROWS.filter(split="test")
TREES = HistGradientBoosting(max_iter=5, min_samples_leaf=5)
NETWORK = Lightning(hidden=(4,), max_epochs=1)


def exported(trainer: Trainer) -> bytes:
    return fit(trainer, ROWS, progress=lambda _: None, **INPUTS).onnx


@pytest.fixture(scope="module", params=[TREES, NETWORK], ids=["trees", "network"])
def model(request: pytest.FixtureRequest) -> bytes:
    return exported(request.param)


def nudged(model: bytes, by: float) -> bytes:
    """The same model with one weight moved: the first value of a leaf, or of a layer."""
    proto = onnx.load_from_string(model)
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name == "class_weights":
                attribute.floats[0] += by
                return proto.SerializeToString()
    tensor = next(tensor for tensor in proto.graph.initializer if "weight" in tensor.name)
    moved = numpy_helper.to_array(tensor).copy()
    moved.flat[0] += by
    tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
    return proto.SerializeToString()


def test_a_model_has_no_distance_from_itself(model: bytes):
    apart = measure_distance(model, model, TEST, INPUTS)
    assert (apart.rows, apart.weights, apart.output, apart.is_within) == (len(TEST), 0.0, 0.0, True)
    assert all(then == now for then, now in apart.metrics.values())


def test_one_moved_weight_is_measured(model: bytes):
    apart = measure_distance(model, nudged(model, 0.25), TEST, INPUTS)
    assert apart.weights == pytest.approx(0.25, abs=1e-6)
    assert apart.output > 0


def test_metrics_and_probabilities_are_those_of_both_models(model: bytes):
    other = nudged(model, 0.5)
    apart, truth = measure_distance(model, other, TEST, INPUTS), TEST["late"].to_numpy()
    one, two = (OnnxModel.from_bytes(onnx_file).predict(TEST) for onnx_file in (model, other))
    assert apart.metrics["auc"] == pytest.approx((roc_auc_score(truth, one), roc_auc_score(truth, two)))
    assert apart.metrics["log_loss"] == pytest.approx((log_loss(truth, one), log_loss(truth, two)))
    assert apart.output == pytest.approx(max(abs(a - b) for a, b in zip(one, two, strict=True)))


@pytest.mark.parametrize("other", [TREES.but(max_iter=6), NETWORK.but(hidden=(5,))], ids=["trees", "network"])
def test_weights_of_different_structures_are_not_compared(model: bytes, other: Trainer):
    assert compare_weights(model, exported(other)) is None


def test_another_seed_gives_other_weights_of_the_same_structure():
    apart = compare_weights(exported(NETWORK), exported(NETWORK.but(seed=1)))
    assert apart is not None and apart > 0.01


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 2 * METRIC_TOLERANCE))
def test_within_the_tolerance_means_every_metric_is(auc: float, brier: float, moved: float):
    metrics = {"auc": (auc, auc), "brier": (brier, brier + moved)}
    assert Distance(10, None, 0.0, metrics).is_within == (abs(brier - (brier + moved)) <= METRIC_TOLERANCE)


def test_without_any_measurable_metric_nothing_is_within():
    assert not Distance(0, 0.0, 0.0, {"auc": (np.nan, np.nan)}).is_within
    assert not measure_distance(exported(TREES), exported(TREES), TEST.filter(pl.lit(False)), INPUTS).is_within


def test_a_metric_in_units_of_the_label_is_within_a_share_of_itself() -> None:
    for scale in (1e-6, 1.0, 1e6):
        near, far = ({"rmse": (scale, scale * (1 + share)), "r2": (0.5, 0.5)} for share in (0.004, 0.006))
        assert Distance(10, None, 0.0, near).is_within and not Distance(10, None, 0.0, far).is_within
    assert Distance(10, None, 0.0, {"mae": (0.0, 0.0)}).is_within
    assert not Distance(10, None, 0.0, {"mae": (0.0, 0.1)}).is_within


@pytest.mark.parametrize("trainer", [TREES, NETWORK], ids=["trees", "network"])
def test_two_regressions_are_compared(trainer: Trainer) -> None:
    rows, columns = regressions.rows(400), regressions.inputs()
    one, two = (fit(trainer.but(learning_rate=rate), rows, **columns).onnx for rate in (0.1, 0.1001))
    apart = measure_distance(one, two, rows.filter(split="test"), columns)
    assert apart.output and {*apart.metrics} == {*columns["task"].metrics}
    assert measure_distance(one, one, rows.filter(split="test"), columns).is_within
