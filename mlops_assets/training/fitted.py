"""What every trainer reads and returns, so that training and search do not depend on one of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.statistics.metrics import Array
from mlops_assets.tasks.task import Task
from mlops_assets.training.signature import Signature

Progress = Callable[[str], None]
History = list[dict[str, float]]
TRAIN, VALIDATION, TEST = "train", "validation", "test"
# Of every trainer: sums must not depend on the number of cores, and next to busy processes more threads wait for each other
# (measured: 10 s against 90 s).
THREADS = 1


class UntrainableRows(ValueError):
    """The rows cannot train a model: a split is empty, or its labels are all the same."""


@dataclass(frozen=True)
class Examples:
    """Encoded rows: `features` float32 of shape (rows, inputs), `label` the truth of the task, of shape (rows,)."""

    features: NDArray[np.float32]
    label: Array

    def __len__(self) -> int:
        return len(self.label)

    def __add__(self, other: "Examples") -> "Examples":
        return Examples(np.concatenate([self.features, other.features]), np.concatenate([self.label, other.label]))


def examples(rows: pl.DataFrame, signature: Signature, *, task: Task[Any], label: str) -> Examples:
    return Examples(signature.encode(rows), task.truth(rows[label]))


def silent(_message: str) -> None:
    """Drops progress messages."""


class Fitted(Protocol):
    """A trained model in its own library, before its export."""

    @property
    def history(self) -> History:
        """One record of named numbers per epoch, in order; a trainer without epochs has one."""
        ...

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(rows, inputs) in, the output of the task out."""
        ...

    def to_onnx(self) -> bytes:
        """The same model as ONNX with its signature (training/onnx_file.py)."""
        ...
