"""From a training set to a model file, with the declared trainer. The trainers' libraries load when they are needed."""

from dataclasses import dataclass
from typing import Any, Unpack

import polars as pl

from mlops_assets.spec.training import Lightning, Trainer
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of
from mlops_assets.tasks.task import Task
from mlops_assets.training.fitted import TRAIN, VALIDATION, Examples, Fitted, History, Progress, UntrainableRows, examples, silent
from mlops_assets.training.signature import Columns, Signature, digest, learn


@dataclass(frozen=True)
class TrainedModel:
    """A model file, the trainer that made it, and one record of named numbers per epoch."""

    onnx: bytes
    signature: Signature
    trainer: Trainer
    history: History

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

    The same rows in the same order give the same bytes on one machine. Raises UntrainableRows and UnreadableRows.
    """
    fitted, signature = fit_in_library(trainer, rows, progress=progress, **columns)
    return TrainedModel(fitted.to_onnx(), signature, trainer, fitted.history)


def fit_in_library(
    trainer: Trainer, rows: pl.DataFrame, *, progress: Progress = silent, **columns: Unpack[Columns]
) -> tuple[Fitted, Signature]:
    """As `fit`, without the export."""
    known, task, label = rows.filter(pl.col("split").is_in([TRAIN, VALIDATION])), columns["task"], columns["label"]
    signature = learn(known, **columns)
    train, validation = (_split(known, split, signature, task=task, label=label) for split in (TRAIN, VALIDATION))
    parts: dict[str, Any] = {"signature": signature, "train": train, "validation": validation}
    if isinstance(trainer, Lightning):
        from mlops_assets.training.trainers import lightning

        return lightning.train(trainer, task, **parts, progress=progress), signature
    from mlops_assets.training.trainers import boosting

    return boosting.train(trainer, task, **parts, progress=progress), signature


def _split(rows: pl.DataFrame, split: str, signature: Signature, *, task: Task[Any], label: str) -> Examples:
    encoded = examples(rows.filter(pl.col("split") == split), signature, task=task, label=label)
    if problem := task.untrainable(encoded.label):
        raise UntrainableRows(f"train · {len(encoded)} rows of split {split!r} {problem}")
    return encoded
