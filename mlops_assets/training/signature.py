"""What a model reads: its numeric inputs, its categorical inputs with their vocabulary, and how a frame becomes a matrix.

Belongs here: learning a signature, encoding rows by it, its text form, the names inside a model file and the digest of
its bytes. Light on purpose (polars and numpy only), because the service encodes every request with it. Not here:
running a model (score.py).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

UNKNOWN = 0
"""The code of a value that is missing, rare in training, or was never seen."""
MIN_ROWS = 20
"""Rarer values share the code UNKNOWN in training too, so that a model has learned what to answer for it."""
PRIOR_ROWS = 50
"""Rows of the overall label rate mixed into each value's own rate, so that a small value does not land at an end."""
INPUT, OUTPUT, METADATA_KEY = "features", "probability", "signature"
"""The names inside a model file: its float32 [rows, inputs], its float32 [rows], the signature in its metadata."""


class UnreadableRows(ValueError):
    """A frame lacks an input of the model, or holds text where a number belongs."""


@dataclass(frozen=True)
class Signature:
    """The inputs of one model, in the order of its matrix: `numeric`, then one code per column of `categories`.

    The code of a category is its place in the vocabulary, counted from 1; UNKNOWN is 0.
    """

    numeric: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*self.numeric, *self.categories)

    def encode(self, frame: pl.DataFrame) -> NDArray[np.float32]:
        """Float32 of shape (rows, numeric + categories); NaN is missing (null, NaN or infinite).

        Columns are taken by name; any others are ignored. Raises UnreadableRows.
        """
        _demand(frame, self.inputs)
        matrix = np.empty((frame.height, len(self.inputs)), dtype=np.float32)
        for index, name in enumerate(self.numeric):
            matrix[:, index] = _numbers(frame[name])
        for index, (name, vocabulary) in enumerate(self.categories.items(), start=len(self.numeric)):
            matrix[:, index] = _codes(frame[name], vocabulary)
        return matrix

    def to_json(self) -> str:
        return json.dumps({"numeric": self.numeric, "categories": self.categories}, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError or KeyError when `text` is not what `to_json` gave."""
        said = json.loads(text)
        categories = cast(dict[str, list[str]], said["categories"])
        return cls(tuple(said["numeric"]), {name: tuple(values) for name, values in categories.items()})


def learn(frame: pl.DataFrame, *, numeric: Sequence[str], categorical: Sequence[str], label: str) -> Signature:
    """The signature of `frame`: each vocabulary holds the values with MIN_ROWS rows or more, ordered by label rate.

    A tree splits an ordered code in one cut, so ordering by the (shrunk) share of positive labels lets it separate
    late from punctual values; a network does not mind the order. Ties go by name. Raises UnreadableRows.
    """
    _demand(frame, (*numeric, *categorical, label))
    return Signature(tuple(numeric), {name: _vocabulary(frame.select(value=name, label=label)) for name in categorical})


def digest(onnx: bytes) -> str:
    """The SHA-256 of a model's bytes, in hex: what a blessing is bound to."""
    return hashlib.sha256(onnx).hexdigest()


def _demand(frame: pl.DataFrame, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise UnreadableRows(f"signature · rows lack {', '.join(missing)}; needed: {', '.join(names)}. Add the missing columns.")


def _vocabulary(pairs: pl.DataFrame) -> tuple[str, ...]:
    overall = pairs["label"].cast(pl.Float64).mean()
    shrunk = (pl.col("label").cast(pl.Float64).sum() + PRIOR_ROWS * pl.lit(overall)) / (pl.len() + PRIOR_ROWS)
    counted = pairs.drop_nulls().group_by(pl.col("value").cast(pl.String)).agg(rows=pl.len(), rate=shrunk)
    return tuple(counted.filter(pl.col("rows") >= MIN_ROWS).sort("rate", "value")["value"].to_list())


def _numbers(column: pl.Series) -> NDArray[np.float32]:
    try:
        numbers = column.cast(pl.Float32).to_numpy()
    except pl.exceptions.PolarsError:
        raise UnreadableRows(
            f"signature · column {column.name!r} is {column.dtype}; the model reads a number. Cast it before."
        ) from None
    return np.where(np.isfinite(numbers), numbers, np.float32(np.nan))


def _codes(column: pl.Series, vocabulary: tuple[str, ...]) -> NDArray[np.float32]:
    codes = {value: float(code) for code, value in enumerate(vocabulary, start=UNKNOWN + 1)}
    known = column.cast(pl.String).replace_strict(codes, default=None, return_dtype=pl.Float32)
    return known.fill_null(float(UNKNOWN)).to_numpy()
