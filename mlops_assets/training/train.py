"""From a training set to a model file, whichever trainer the declaration names. Light: the trainers load when needed.

Belongs here: splitting, encoding, choosing the trainer. Not here: a trainer (train_lightning.py, train_boosting.py),
search (search.py), running the result (score.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from mlops_assets.spec.training import Lightning, Trainer
from mlops_assets.training.fitted import TRAIN, VALIDATION, Examples, Fitted, History, Progress, UntrainableRows, examples
from mlops_assets.training.signature import Signature, digest, learn


@dataclass(frozen=True)
class TrainedModel:
    """A model file with what it was made by. `history` holds one record of named numbers per epoch or fit."""

    onnx: bytes
    signature: Signature
    trainer: Trainer
    history: History

    @property
    def digest(self) -> str:
        return digest(self.onnx)


def fit(
    trainer: Trainer, rows: pl.DataFrame, *, numeric: Sequence[str], categorical: Sequence[str], label: str, progress: Progress
) -> TrainedModel:
    """Trains on the rows whose `split` is train or validation; test rows are never read.

    The same rows in the same order give the same bytes on one machine. Raises UntrainableRows and UnreadableRows.
    """
    fitted, signature = fit_in_library(trainer, rows, numeric=numeric, categorical=categorical, label=label, progress=progress)
    return TrainedModel(fitted.to_onnx(), signature, trainer, fitted.history)


def fit_in_library(
    trainer: Trainer, rows: pl.DataFrame, *, numeric: Sequence[str], categorical: Sequence[str], label: str, progress: Progress
) -> tuple[Fitted, Signature]:
    """As `fit`, without the export: what a search needs of each trial."""
    known = rows.filter(pl.col("split").is_in([TRAIN, VALIDATION]))
    signature = learn(known, numeric=numeric, categorical=categorical, label=label)
    parts = {"train": _split(known, TRAIN, signature, label), "validation": _split(known, VALIDATION, signature, label)}
    if isinstance(trainer, Lightning):
        from mlops_assets.training.trainers import lightning as train_lightning

        return train_lightning.train(trainer, signature=signature, **parts, progress=progress), signature
    from mlops_assets.training.trainers import boosting as train_boosting

    return train_boosting.train(trainer, signature=signature, **parts, progress=progress), signature


def _split(rows: pl.DataFrame, split: str, signature: Signature, label: str) -> Examples:
    encoded = examples(rows.filter(pl.col("split") == split), signature, label)
    found = sorted(set(encoded.label.tolist()))
    if found != [0.0, 1.0]:
        raise UntrainableRows(
            f"train · {len(encoded)} rows of split {split!r} have the labels {found} in {label!r}; needed: both 0 and 1. "
            f"Widen the window of that split."
        )
    return encoded
