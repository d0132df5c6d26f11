"""From a training set to a model file, with the declared trainer. The trainers' libraries load when they are needed."""

from dataclasses import dataclass
from typing import Unpack

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.spec.training import Lightning, Trainer
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.fitted import TRAIN, VALIDATION, Examples, Fitted, History, Progress, UntrainableRows, examples, silent
from mlops_assets.training.signature import Columns, Signature, digest, learn

MAX_SHOWN = 5  # labels in a message


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
    return {"numeric": features.numeric, "categorical": features.categorical, "label": use_case.label.name}


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
    known = rows.filter(pl.col("split").is_in([TRAIN, VALIDATION]))
    signature = learn(known, **columns)
    train, validation = (_split(known, split, signature, columns["label"]) for split in (TRAIN, VALIDATION))
    if isinstance(trainer, Lightning):
        from mlops_assets.training.trainers import lightning

        return lightning.train(trainer, signature=signature, train=train, validation=validation, progress=progress), signature
    from mlops_assets.training.trainers import boosting

    return boosting.train(trainer, signature=signature, train=train, validation=validation, progress=progress), signature


def _split(rows: pl.DataFrame, split: str, signature: Signature, label: str) -> Examples:
    encoded = examples(rows.filter(pl.col("split") == split), signature, label)
    found = np.unique(encoded.label)
    if found.tolist() != [0.0, 1.0]:
        others = f" and {len(found) - MAX_SHOWN} others" * (len(found) > MAX_SHOWN)
        rows_found = f"{len(encoded)} rows of split {split!r} have the labels {found[:MAX_SHOWN].tolist()}{others} in {label!r}"
        raise UntrainableRows(f"train · {rows_found}; needed: both 0 and 1. {_advise(found)}")
    return encoded


def _advise(found: NDArray[np.float32]) -> str:
    if np.isnan(found).any():
        return "Leave out the rows without a label."
    if not np.isin(found, (0, 1)).all():
        return "Return 0 or 1 from the label's transform."
    if not len(found):
        return "Land more days, widen that split, or set split.label_delay if labels become known after that split ends."
    return "Widen the window of that split."
