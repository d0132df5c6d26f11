"""Encodes rows of plain values as the matrix that a model reads."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops_assets.spec.column_type import DType
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.signature import UNKNOWN, Signature

NUMBERS: tuple[DType, ...] = ("int", "float", "bool")


def other_columns(use_case: UseCase) -> list[int]:
    """The places of the request columns that are no declared input: an older version may read them."""
    features = use_case.features
    return [place for place, name in enumerate(features.request) if name not in features.inputs]


def readable_names(use_case: UseCase, signature: Signature) -> list[str]:
    """The declared inputs, and then the columns of `other_columns`; empty where the model reads values of another type."""
    features, contract = use_case.features, use_case.contract(use_case.features.request_table)
    others = [contract.column(features.request[place]) for place in other_columns(use_case)]
    legal = {name: NUMBERS for name in signature.numeric} | {name: ("string",) for name in signature.categories}
    return [*features.inputs, *(one.name if one.dtype in legal.get(one.name, ()) else "" for one in others)]


class RowEncoder:
    """Encodes rows with values in the order of `names`. An input that is no longer declared is missing, and has a warning, as has
    what is `changed`: its code is another one than in the training.
    """

    # The same encoding as in training/signature.py without its frame, which costs some 0.3 ms before its first row is
    # encoded; one row of 29 inputs takes 6 µs here.

    def __init__(self, signature: Signature, names: Sequence[str], changed: Iterable[str] = ()) -> None:
        places = {name: place for place, name in enumerate(names)}
        self.undeclared = [name for name in signature.inputs if name not in places]
        if len(self.undeclared) == len(signature.inputs):
            read, declared = ", ".join(signature.inputs), ", ".join(names)
            raise ValueError(f"the model reads {read}; the declared inputs are {declared}. Train it again.")
        self.warnings = [f"{name} is no longer declared; the model treats it as missing" for name in self.undeclared]
        self.warnings += [f"the code of {name} has changed since this version was trained" for name in changed]
        self._declared = [place for place, name in enumerate(signature.inputs) if name in places]
        self._missing = np.array([np.nan] * len(signature.numeric) + [UNKNOWN] * len(signature.categories), dtype=np.float32)
        self._numeric = [places[name] for name in signature.numeric if name in places]
        self._codes = [
            (name, places[name], {value: float(code) for code, value in enumerate(vocabulary, start=UNKNOWN + 1)})
            for name, vocabulary in signature.categories.items()
            if name in places
        ]

    def encode(self, rows: Sequence[Sequence[Any]]) -> NDArray[np.float32]:
        """Float32 of shape (rows, inputs of the signature); NaN is missing: None, NaN or infinite."""
        values = [
            [*[row[place] for place in self._numeric], *[codes.get(row[place], 0.0) for _, place, codes in self._codes]]
            for row in rows
        ]
        with np.errstate(over="ignore"):  # what 32 bits cannot hold is infinite, and infinite is missing
            matrix = np.array(values, dtype=np.float32).reshape(len(rows), len(self._numeric) + len(self._codes))
        matrix[np.isinf(matrix)] = np.nan
        return self._widen(matrix) if self.undeclared else matrix

    def _widen(self, declared: NDArray[np.float32]) -> NDArray[np.float32]:
        matrix = np.tile(self._missing, (len(declared), 1))
        matrix[:, self._declared] = declared
        return matrix

    def unseen(self, row: Sequence[Any]) -> list[tuple[str, str]]:
        """The categories of a row that are not in the training data, as (name, value)."""
        return [(name, row[place]) for name, place, codes in self._codes if row[place] is not None and row[place] not in codes]
