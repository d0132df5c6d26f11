"""What every trainer reads and what it gives back, so that training and search need not know which one it is.

Belongs here: encoded rows and the face of a fitted model. Not here: a trainer (train_lightning.py, train_boosting.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.training.signature import Signature

Progress = Callable[[str], None]
History = list[dict[str, float]]
TRAIN, VALIDATION, TEST = "train", "validation", "test"
THREADS = 1
"""Of every trainer: the order of its sums must not depend on the number of cores, and beside busy neighbours more threads take
many times as long, each waiting for the others to get a core (measured: 10 s against 90 s)."""


class UntrainableRows(ValueError):
    """The rows cannot teach a model: none of a split, or labels of one kind only."""


@dataclass(frozen=True)
class Examples:
    """Encoded rows: `features` float32 of shape (rows, inputs), `label` float32 of shape (rows,), each 0 or 1."""

    features: NDArray[np.float32]
    label: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.label)

    def __add__(self, other: "Examples") -> "Examples":
        return Examples(np.concatenate([self.features, other.features]), np.concatenate([self.label, other.label]))


def examples(rows: pl.DataFrame, signature: Signature, label: str) -> Examples:
    return Examples(signature.encode(rows), rows[label].cast(pl.Float32).to_numpy())


class Fitted(Protocol):
    """A model that has learned and still lives in its own library."""

    @property
    def history(self) -> History:
        """One record per epoch (or fit) of named numbers, in order."""
        ...

    def probability(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of a positive label; (rows, inputs) in, (rows,) out."""
        ...

    def to_onnx(self) -> bytes:
        """The same model as ONNX, sealed with its signature (training/onnx_file.py)."""
        ...
