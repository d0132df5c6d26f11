"""Regression with both trainers: a model file answers what its library does, in the label's own units, with calibrated intervals."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
import torch
from scipy import stats

from mlops_assets.spec.feature import Label
from mlops_assets.spec.task import Regression
from mlops_assets.spec.training import HistGradientBoosting, Lightning, Search, Trainer
from mlops_assets.statistics.metrics import measure
from mlops_assets.tasks import task_of
from mlops_assets.training.fitted import UntrainableRows
from mlops_assets.training.onnx_file import seal
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.search import search
from mlops_assets.training.splits import split_of
from mlops_assets.training.train import fit, fit_in_library
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.training.training_rows import CATEGORICAL, NUMERIC, unlabelled_rows

TRAINERS: dict[str, Trainer] = {
    "boosting": HistGradientBoosting(max_iter=30, min_samples_leaf=5, learning_rate=0.2),
    "lightning": Lightning(hidden=(16,), batch_size=64, learning_rate=1e-2, max_epochs=8),
}
EACH_TRAINER = pytest.mark.parametrize("trainer", TRAINERS.values(), ids=TRAINERS)


def inputs(coverage: float = 0.9) -> dict[str, Any]:
    label = Label(name="minutes", table="flights", key=("flight",), transform=lambda rows: rows)
    task = task_of(Regression(label=label, coverage=coverage, unit="min"))
    return {"numeric": NUMERIC, "categorical": CATEGORICAL, "label": "minutes", "task": task}


def rows(count: int = 1500, seed: int = 0, *, level: float = 1000.0, drift: float = 0.0) -> pl.DataFrame:
    """In time order, 60% train, 20% validation, 20% test, of which the test rows have `drift` times the noise more."""
    frame, rng = unlabelled_rows(count, seed), np.random.default_rng(seed + 1)
    split = np.select([np.arange(count) < 0.6 * count, np.arange(count) < 0.8 * count], ["train", "validation"], "test")
    slow = frame["carrier"].is_in(["EV", "UA"]).fill_null(False).to_numpy() * 30
    noise = 5 * rng.normal(size=count) * np.where(split == "test", 1 + drift, 1)
    minutes = level + np.minimum(frame["delay"].fill_null(20).to_numpy(), 60) + slow + noise
    return frame.with_columns(minutes=pl.Series(minutes), split=pl.Series(split.tolist()))


def coverage(onnx: bytes, test: pl.DataFrame) -> float:
    task = inputs()["task"]
    return measure("coverage", task.sample(task.truth(test["minutes"]), OnnxModel.from_bytes(onnx).predict(test)))


@EACH_TRAINER
def test_a_model_file_answers_what_its_library_does_in_the_units_of_the_label(trainer: Trainer) -> None:
    frame = rows()
    fitted, signature = fit_in_library(trainer, frame, **inputs())
    model = OnnxModel.from_bytes(fitted.to_onnx())
    assert [port.name for port in model.session.get_outputs()] == ["prediction"]
    test = pl.concat([frame.filter(split="test").drop("minutes", "split"), unlabelled_rows(300, 7)])
    output = model.predict(test)
    assert output.shape == (len(test), 3) and output.dtype == np.float64
    np.testing.assert_allclose(output, fitted.predict(signature.encode(test)), rtol=1e-6)
    prediction, low, high = output.T
    np.testing.assert_allclose(high - prediction, prediction - low, atol=1e-3)
    assert np.ptp(high - prediction) > 0.01, "the width is a line in the prediction"
    assert model.predict(test.clear()).shape == (0, 3)


def test_a_model_file_with_one_width_for_all_rows_still_answers() -> None:
    """As earlier versions have it: the last node adds three numbers."""
    fitted, signature = fit_in_library(TRAINERS["boosting"], rows(), **inputs())
    graph = replace(fitted, offsets=None).convert()
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, -5, 5], dtype=np.float32), "offsets"))
    graph.graph.node.append(onnx.helper.make_node("Add", [graph.graph.output[-1].name, "offsets"], ["prediction"]))
    del graph.graph.output[:]
    graph.graph.output.append(onnx.helper.make_tensor_value_info("prediction", onnx.TensorProto.FLOAT, [None, 3]))
    test = rows().filter(split="test")
    prediction, low, high = OnnxModel.from_bytes(seal(graph, signature)).predict(test).T
    np.testing.assert_allclose(prediction, fitted.predict(signature.encode(test))[:, 0], rtol=1e-6)
    np.testing.assert_allclose([prediction - low, high - prediction], 5, atol=1e-3)


@EACH_TRAINER
def test_the_models_learn_the_label_and_their_intervals_hold_the_declared_share(trainer: Trainer) -> None:
    task, test = inputs()["task"], rows().filter(split="test")
    output = OnnxModel.from_bytes(fit(trainer, rows(), **inputs()).onnx).predict(test)
    metrics = task.sample(task.truth(test["minutes"]), output).measure(task.metrics)
    assert metrics["r2"] > 0.8 and metrics["rmse"] < 10
    assert stats.binomtest(round(metrics["coverage"] * len(test)), len(test), 0.9).pvalue > 0.001
    assert metrics["width"] < 40, "without a model the label itself spans about 80 minutes"


@EACH_TRAINER
def test_the_same_rows_give_the_same_bytes_and_leave_torch_as_it_was(trainer: Trainer) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    models = {fit(trainer, rows(400), **inputs()).onnx for _ in range(2)}
    assert len(models) == 1
    assert torch.equal(torch.rand(3), expected)


@EACH_TRAINER
def test_a_label_far_from_0_and_a_tiny_one_are_learned_alike(trainer: Trainer) -> None:
    """The label 1000 to 1100, and the same as 1e-6 of it."""
    big = rows()
    small = big.with_columns(minutes=pl.col("minutes") * 1e-6)
    test, models = big.filter(split="test"), [OnnxModel.from_bytes(fit(trainer, some, **inputs()).onnx) for some in (big, small)]
    np.testing.assert_allclose(models[1].predict(test)[:, 0] * 1e6, models[0].predict(test)[:, 0], atol=5)


def test_marginal_coverage_is_the_declared_one_over_many_trainings() -> None:
    """Split conformal: over validation and test rows of one distribution together, at least the declared share is inside."""
    trainer, shares = HistGradientBoosting(max_iter=8, learning_rate=0.3, min_samples_leaf=5), list[float]()
    for seed in range(40):
        frame = rows(500, seed=100 + 2 * seed)
        shares.append(coverage(fit(trainer, frame, **inputs()).onnx, frame.filter(split="test")))
    # A single training's coverage varies with its 100 validation rows, as does the mean of 40, by sqrt(0.09 / 100 / 40) twice.
    assert np.mean(shares) == pytest.approx(0.9, abs=4 * np.sqrt(2 * 0.9 * 0.1 / 100 / 40))


@EACH_TRAINER
def test_coverage_on_later_rows_of_another_distribution_is_what_is_measured_there(trainer: Trainer) -> None:
    """The noise triples after training: the interval holds fewer truths, and the metric says so."""
    onnx = fit(trainer, rows(), **inputs()).onnx
    assert coverage(onnx, rows(drift=2.0).filter(split="test")) < 0.7 < coverage(onnx, rows().filter(split="test"))


def test_a_higher_coverage_is_a_wider_interval() -> None:
    widths = list[float]()
    for declared in (0.5, 0.9, 0.99):
        output = OnnxModel.from_bytes(fit(TRAINERS["boosting"], rows(), **inputs(declared)).onnx).predict(rows().head(1))
        widths.append(output[0, 2] - output[0, 1])
    assert widths == sorted(widths) and widths[0] < widths[2] / 2


def test_the_search_minimises_the_error() -> None:
    trainer = HistGradientBoosting(max_iter=5, learning_rate=0.02, min_samples_leaf=5)
    frame = rows(1500).with_columns(known_at=pl.col("event_timestamp"))
    best, trials = search(
        trainer, Search(trials=6, folds=2), frame, split=split_of(USE_CASE),
        progress=lambda _: None, **inputs(),
    )  # fmt: skip
    complete = [trial for trial in trials if trial["state"] == "complete"]
    lowest = min(complete, key=lambda trial: trial["rmse"])
    assert lowest["rmse"] < trials[0]["rmse"] and best.learning_rate == lowest["learning_rate"]


@EACH_TRAINER
def test_rows_that_cannot_train_are_named(trainer: Trainer) -> None:
    frame = rows(200)
    changed = {
        "0 rows of split 'validation' are too few: .* 90% .* need 9": frame.filter(pl.col("split") != "validation"),
        "all have 7 in 'minutes'": frame.with_columns(minutes=pl.lit(7.0)),
        "have no number in 'minutes'": frame.with_columns(minutes=pl.lit(None, pl.Float64)),
    }
    for message, some in changed.items():
        with pytest.raises(UntrainableRows, match=message):
            fit(trainer, some, **inputs())


def test_a_calibrated_training_takes_seconds() -> None:
    start = time.process_time()
    fit(HistGradientBoosting(max_iter=30), rows(20_000), **inputs())
    assert time.process_time() - start < 10
