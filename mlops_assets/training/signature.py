"""The inputs of a model with their vocabularies, and how a frame becomes a matrix.

The service encodes every request with it, so it imports polars and numpy only.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypedDict, Unpack, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.tasks.task import Facts, Task

UNKNOWN = 0  # the code of a value that is missing, rare in training or absent from it
MIN_ROWS = 20  # rarer values share the code UNKNOWN in training too, so that a model learns an effect for that code
PRIOR_ROWS = 50  # rows of the overall mean label mixed into each value's, so that a rare one is not sorted to an end
# The names inside a model file: its float32 [rows, inputs], the signature in its metadata, and its float32 output.
INPUT, OUTPUT, METADATA_KEY = "features", "probability", "signature"
OUTPUTS = {OUTPUT: "[rows]", "prediction": "[rows, 3]"}  # by Task.OUTPUT


class UnreadableRows(ValueError):
    """A frame lacks an input of the model, or has text where a number is needed."""


class Columns(TypedDict):
    """The columns that a model is trained on."""

    numeric: Sequence[str]
    categorical: Sequence[str]
    label: str
    task: Task[Any]


@dataclass(frozen=True)
class Signature:
    """The inputs of one model, in the order of its matrix: `numeric`, then one code per column of `categories`.

    The code of a category is its position in the vocabulary, counted from 1. `facts` are what its task needs to read its
    output.
    """

    numeric: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    facts: Facts = field(default_factory=dict[str, Any])

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*self.numeric, *self.categories)

    def encode(self, frame: pl.DataFrame) -> NDArray[np.float32]:
        """Float32 of shape (rows, inputs); NaN is missing (null, NaN or infinite). Raises UnreadableRows."""
        _require(frame, self.inputs)
        matrix = np.empty((frame.height, len(self.inputs)), dtype=np.float32)
        for index, name in enumerate(self.inputs):
            vocabulary = self.categories.get(name)
            matrix[:, index] = _numbers(frame[name]) if vocabulary is None else _codes(frame[name], vocabulary)
        return matrix

    def to_json(self) -> str:
        fields = {"numeric": self.numeric, "categories": self.categories} | ({"facts": self.facts} if self.facts else {})
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError or KeyError when `text` is not a signature."""
        fields = json.loads(text)
        categories = cast(dict[str, list[str]], fields["categories"])
        vocabularies = {name: tuple(values) for name, values in categories.items()}
        return cls(tuple(fields["numeric"]), vocabularies, fields.get("facts", {}))


def learn(frame: pl.DataFrame, **columns: Unpack[Columns]) -> Signature:
    """The signature of `frame`: each vocabulary has the values with MIN_ROWS rows or more. Raises UnreadableRows."""
    numeric, categorical, label = tuple(columns["numeric"]), columns["categorical"], columns["label"]
    _require(frame, (*numeric, *categorical, label))
    truth = pl.Series("label", columns["task"].truth(frame[label]), pl.Float64)
    categories = {name: _vocabulary(frame.select(pl.col(name).alias("value"), truth)) for name in categorical}
    return Signature(numeric, categories, columns["task"].facts)


def _require(frame: pl.DataFrame, names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in frame.columns]:
        raise UnreadableRows(f"signature · rows lack {', '.join(missing)}; needed: {', '.join(names)}. Add the missing columns.")


def _vocabulary(pairs: pl.DataFrame) -> tuple[str, ...]:
    label = pl.col("label")
    shrunk = (label.sum() + PRIOR_ROWS * pl.lit(pairs.select(label.mean()).item())) / (pl.len() + PRIOR_ROWS)
    counted = pairs.drop_nulls().group_by(pl.col("value").cast(pl.String)).agg(rows=pl.len(), rate=shrunk)
    # In the order of the label rate, one split of a tree separates late from punctual values. A network needs no order.
    return tuple(counted.filter(pl.col("rows") >= MIN_ROWS).sort("rate", "value")["value"].to_list())


def _numbers(column: pl.Series) -> NDArray[np.float32]:
    try:
        numbers = column.cast(pl.Float32).to_numpy()
    except pl.exceptions.PolarsError:
        found = f"column {column.name!r} is {column.dtype}; the model reads a number"
        raise UnreadableRows(f"signature · {found}. Cast it before.") from None
    return np.where(np.isfinite(numbers), numbers, np.float32(np.nan))


def _codes(column: pl.Series, vocabulary: tuple[str, ...]) -> NDArray[np.float32]:
    codes = {value: float(code) for code, value in enumerate(vocabulary, start=UNKNOWN + 1)}
    known = column.cast(pl.String).replace_strict(codes, default=float(UNKNOWN), return_dtype=pl.Float32)
    return known.fill_null(float(UNKNOWN)).to_numpy()
