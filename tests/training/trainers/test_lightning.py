"""The network: ONNX answers what torch answers, training again gives the same bytes, and early stopping stops."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.spec.training import Lightning, Search
from mlops_assets.statistics.binary import BinarySample
from mlops_assets.statistics.metrics import measure
from mlops_assets.training.fitted import Examples, UntrainableRows, examples
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.search import search
from mlops_assets.training.signature import Signature, learn
from mlops_assets.training.splits import split_of
from mlops_assets.training.train import fit
from mlops_assets.training.trainers.lightning import FittedNetwork, train
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.training.training_rows import CATEGORICAL, INPUTS, NUMERIC, training_rows, unlabelled_rows

WORD = Lightning(hidden=(16,), batch_size=128, learning_rate=1e-2, max_epochs=4)
ROWS = training_rows()
SIGNATURE = learn(ROWS, **INPUTS)


def split(name: str, rows: pl.DataFrame = ROWS, signature: Signature = SIGNATURE) -> Examples:
    return examples(rows.filter(split=name), signature, task=INPUTS["task"], label=INPUTS["label"])


def fitted_network(trainer: Lightning = WORD, messages: list[str] | None = None) -> FittedNetwork:
    progress = (messages if messages is not None else []).append
    return train(
        trainer, INPUTS["task"], signature=SIGNATURE, train=split("train"), validation=split("validation"), progress=progress
    )


@pytest.fixture(scope="module")
def fitted() -> FittedNetwork:
    return fitted_network()


@pytest.fixture(scope="module")
def model(fitted: FittedNetwork) -> OnnxModel:
    return OnnxModel.from_bytes(fitted.to_onnx())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 300]))
def test_onnx_agrees_with_torch_on_missing_and_unknown_values(
    fitted: FittedNetwork, model: OnnxModel, seed: int, count: int
) -> None:
    rows = unlabelled_rows(count, seed)
    expected = fitted.predict(SIGNATURE.encode(rows))
    assert expected.shape == (count,)
    np.testing.assert_allclose(model.predict(rows), expected, rtol=0, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(width=32), min_size=3, max_size=3), st.sampled_from(["AA", "new", None]))
def test_any_number_gets_the_same_probability_from_both(
    fitted: FittedNetwork, model: OnnxModel, numbers: list[float], carrier: str | None
) -> None:
    row = pl.DataFrame(
        {**{name: [value] for name, value in zip(NUMERIC, numbers, strict=True)}, "carrier": [carrier], "origin": ["EWR"]}
    )
    (answer,) = model.predict(row)
    assert 0 <= answer <= 1
    assert answer == pytest.approx(fitted.predict(SIGNATURE.encode(row))[0], abs=1e-5)


def test_a_row_is_answered_alone_as_among_others(model: OnnxModel) -> None:
    rows = unlabelled_rows(50, 3)
    alone = [model.predict(rows[index])[0] for index in range(50)]
    np.testing.assert_allclose(alone, model.predict(rows), rtol=0, atol=1e-6)


def test_the_same_rows_give_the_same_weights_and_the_same_bytes(fitted: FittedNetwork) -> None:
    torch.manual_seed(99)  # what ran before must not matter
    again = fitted_network()
    for name, weight in fitted.network.state_dict().items():
        assert torch.equal(weight, again.network.state_dict()[name]), name
    assert again.to_onnx() == fitted.to_onnx()
    assert fitted_network(WORD.but(seed=1)).to_onnx() != fitted.to_onnx()


def test_training_leaves_torch_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    torch.use_deterministic_algorithms(False)
    threads = torch.get_num_threads()
    fitted_network(WORD.but(max_epochs=1))
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == threads


def test_the_network_learns_what_makes_a_row_late(fitted: FittedNetwork) -> None:
    test = split("test")
    assert measure("auc", BinarySample(test.label, fitted.predict(test.features))) > 0.7


def test_training_stops_when_the_validation_loss_has_risen_for_the_declared_patience() -> None:
    turned = split("validation")
    turned = Examples(turned.features, 1 - turned.label)  # what helps in training hurts here
    word = WORD.but(max_epochs=20, patience=3)
    messages: list[str] = []
    history = train(
        word, INPUTS["task"], signature=SIGNATURE, train=split("train"), validation=turned, progress=messages.append
    ).history
    losses = [record["validation_loss"] for record in history]
    best = int(np.argmin(losses)) + 1
    assert len(history) == best + word.patience < word.max_epochs
    assert [record["epoch"] for record in history] == list(range(1, len(history) + 1))
    assert f"best epoch {best};" in "\n".join(messages)
    assert len([line for line in messages if line.startswith(f"epoch {best} of {best} ")]) == 1  # the last pass is that long


def test_a_loss_that_is_not_a_number_is_refused_with_the_remedy() -> None:
    with pytest.raises(UntrainableRows, match="validation loss is not a number .* Lower learning_rate"):
        fitted_network(WORD.but(learning_rate=1e30))


def test_training_writes_no_file_no_line_and_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    messages: list[str] = []
    with warnings.catch_warnings(), caplog.at_level(logging.INFO):
        warnings.simplefilter("error")
        fit(WORD.but(max_epochs=2), ROWS, progress=messages.append, **INPUTS)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []
    assert any(line.startswith("epoch 1 of 2 · train loss 0.") and "validation loss 0." in line for line in messages)


@pytest.mark.parametrize("left_out", ["numeric", "categorical"])
def test_a_model_of_numbers_alone_or_of_categories_alone_works(left_out: str) -> None:
    trained = fit(WORD.but(max_epochs=1), ROWS, progress=lambda _: None, **{**INPUTS, left_out: ()})
    assert trained.signature.inputs == (CATEGORICAL if left_out == "numeric" else NUMERIC)
    answers = OnnxModel.from_bytes(trained.onnx).predict(ROWS)
    assert np.isfinite(answers).all()
    assert answers.std() > 0


def test_a_search_for_a_network_changes_its_fields_and_keeps_the_others() -> None:
    rows, short = ROWS.with_columns(known_at="event_timestamp"), WORD.but(max_epochs=2)
    options: dict[str, Any] = {"split": split_of(USE_CASE), "progress": lambda _: None, **INPUTS}
    trainer, trials = search(short, Search(trials=3, folds=2), rows, **options)
    assert isinstance(trainer, Lightning)
    assert trials[0]["hidden"] == (16,)
    assert trainer.max_epochs == 2
    assert {trial["hidden"] for trial in trials} <= {(8,), (16,), (32,)}
