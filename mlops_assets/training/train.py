"""From a training set to a model file, with the declared trainer. The trainers' libraries load when they are needed."""

from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.spec.training import Trainer
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of
from mlops_assets.tasks.task import Task
from mlops_assets.training.digest import digest
from mlops_assets.training.fitted import TRAIN, VALIDATION, Examples, Fitted, History, Progress, UntrainableRows, examples, silent
from mlops_assets.training.imported import UnusableTrainer, implementation
from mlops_assets.training.signature import Columns, Signature, learn

CHECKED_ROWS = 1000
TOLERANCE = 1e-3  # of float32 sums against those of a library in float64, relative to the spread of the outputs


@dataclass(frozen=True)
class TrainedModel:
    """A model file, the trainer that made it, and the model in its library, which has one record of named numbers per epoch."""

    onnx: bytes
    signature: Signature
    trainer: Trainer
    fitted: Fitted

    @property
    def history(self) -> History:
        return self.fitted.history

    @property
    def digest(self) -> str:
        return digest(self.onnx)


def training_columns(use_case: UseCase) -> Columns:
    features = use_case.features
    return {
        "numeric": features.numeric,
        "categorical": features.categorical,
        "label": use_case.label.name,
        "task": task_of(use_case.task),
    }


def fit(trainer: Trainer, rows: pl.DataFrame, *, progress: Progress = silent, **columns: Unpack[Columns]) -> TrainedModel:
    """Trains on the rows whose `split` is train or validation; test rows are never read.

    The same rows in the same order give the same bytes on one machine. Raises UntrainableRows, UnreadableRows, UnusableTrainer.
    """
    fitted, signature = fit_in_library(trainer, rows, progress=progress, **columns)
    model = TrainedModel(fitted.to_onnx(), signature, trainer, fitted)
    known = rows.filter(pl.col("split") == VALIDATION).head(CHECKED_ROWS)
    _require_same(model, signature.encode(known), columns["task"])
    return model


def fit_in_library(
    trainer: Trainer, rows: pl.DataFrame, *, progress: Progress = silent, **columns: Unpack[Columns]
) -> tuple[Fitted, Signature]:
    """As `fit`, without the export."""
    known, task, label = rows.filter(pl.col("split").is_in([TRAIN, VALIDATION])), columns["task"], columns["label"]
    signature = learn(known, **columns)
    train, validation = (_split(known, split, signature, task=task, label=label) for split in (TRAIN, VALIDATION))
    parts: dict[str, Any] = {"signature": signature, "train": train, "validation": validation}
    return implementation(trainer).train(trainer, task, **parts, progress=progress), signature


def _require_same(model: TrainedModel, features: NDArray[np.float32], task: Task[Any]) -> None:
    """Raises UnusableTrainer where the model file does not answer what the library does, or nothing legal."""
    from mlops_assets.training.onnx_model import NotAModel, OnnxModel

    where = type(model.trainer).__name__
    try:
        served = OnnxModel.from_bytes(model.onnx).score(features)
    except NotAModel as error:
        raise UnusableTrainer(f"{where} · {error}") from error
    expected = np.asarray(model.fitted.predict(features))
    if served.shape != expected.shape:
        raise UnusableTrainer(f"{where} · its model file gives {served.shape}, predict {expected.shape}. Correct its export.")
    differ = ~(np.abs(served - expected) <= TOLERANCE * max(1.0, float(np.ptp(expected)), float(np.abs(expected).max())))
    if count := int(differ.reshape(len(features), -1).any(axis=1).sum()):
        message = f"its model file answers otherwise than predict in {count} of {len(features)} rows"
        raise UnusableTrainer(f"{where} · {message}. Use an estimator that exports exactly, or correct to_onnx.")
    if count := int((~task.are_legal(served)).sum()):
        raise UnusableTrainer(f"{where} · its model file gives no legal {task.OUTPUT} for {count} of {len(features)} rows.")


def _split(rows: pl.DataFrame, split: str, signature: Signature, *, task: Task[Any], label: str) -> Examples:
    encoded = examples(rows.filter(pl.col("split") == split), signature, task=task, label=label)
    if problem := task.untrainable(encoded.label):
        raise UntrainableRows(f"train · {len(encoded)} rows of split {split!r} {problem}")
    return encoded
