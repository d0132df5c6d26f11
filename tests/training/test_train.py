"""From rows to a model file: which rows are read, and what happens when nothing can be learned from them."""

import subprocess
import sys

import polars as pl
import pytest

from mlops_assets.spec.training import HistGradientBoosting, Trainer
from mlops_assets.training.digest import digest
from mlops_assets.training.fitted import UntrainableRows
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.signature import UnreadableRows
from mlops_assets.training.train import TrainedModel, fit
from tests.training.training_rows import INPUTS, training_rows

WORD = HistGradientBoosting(max_iter=5, min_samples_leaf=5)
ROWS = training_rows(600)
LATE, SPLIT = pl.col("late"), pl.col("split")


def trained(rows: pl.DataFrame, trainer: Trainer = WORD) -> TrainedModel:
    return fit(trainer, rows, progress=lambda _: None, **INPUTS)


def test_the_model_file_carries_the_signature_it_was_trained_with() -> None:
    model = trained(ROWS)
    assert OnnxModel.from_bytes(model.onnx).signature == model.signature
    assert model.digest == digest(model.onnx)
    assert model.trainer == WORD


def test_test_rows_are_never_read() -> None:
    spoilt = ROWS.with_columns(
        late=pl.when(SPLIT == "test").then(None).otherwise(LATE),
        carrier=pl.when(SPLIT == "test").then(pl.lit("ZZ")).otherwise("carrier"),
    )
    assert trained(spoilt).digest == trained(ROWS).digest


def test_validation_rows_teach_too() -> None:
    turned = ROWS.with_columns(late=pl.when(SPLIT == "validation").then(1 - LATE).otherwise(LATE))
    assert trained(turned).digest != trained(ROWS).digest


def test_another_seed_or_field_is_another_trainer_of_the_same_inputs() -> None:
    other = trained(ROWS, WORD.but(max_iter=6))
    assert other.digest != trained(ROWS).digest
    assert other.signature == trained(ROWS).signature


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_that_is_empty_or_has_one_label_is_refused(split: str) -> None:
    with pytest.raises(UntrainableRows, match=rf"train · 0 rows of split '{split}' have the labels \[\] in 'late'"):
        trained(ROWS.filter(split != SPLIT))
    with pytest.raises(
        UntrainableRows, match=rf"rows of split '{split}' have the labels \[0\.0\] in 'late'; needed: both 0 and 1"
    ):
        trained(ROWS.with_columns(late=pl.when(split == SPLIT).then(0).otherwise(LATE)))


def test_a_split_without_rows_is_blamed_on_missing_or_late_labels() -> None:
    with pytest.raises(UntrainableRows, match=r"Land more days, widen that split, or set split\.label_delay"):
        trained(ROWS.filter(SPLIT != "validation"))


def test_a_label_of_many_values_is_cut_in_the_message() -> None:
    with pytest.raises(
        UntrainableRows, match=r"\[0\.0, 1\.0, 2\.0, 3\.0, 4\.0\] and \d+ others in 'late'.*Return 0 or 1"
    ) as error:
        trained(ROWS.with_columns(late=pl.int_range(pl.len())))
    assert len(str(error.value)) < 250


def test_a_row_without_a_label_is_refused() -> None:
    with pytest.raises(UntrainableRows, match=r"\[0\.0, 1\.0, nan\] in 'late'.*Leave out the rows without a label"):
        trained(ROWS.with_columns(late=pl.when(pl.int_range(pl.len()) == 0).then(None).otherwise(LATE)))


def test_a_missing_input_is_refused() -> None:
    with pytest.raises(UnreadableRows, match="rows lack wind"):
        trained(ROWS.drop("wind"))


def test_importing_the_dispatcher_loads_no_trainer() -> None:
    heavy = "{'torch', 'pytorch_lightning', 'sklearn', 'skl2onnx', 'optuna', 'onnx', 'onnxruntime'}"
    program = f"import sys, mlops_assets.training.train; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
