"""The values that all gates share: the Case that they read, the Measurement that each returns, the final Verdict."""

import math
from dataclasses import dataclass
from typing import Any, Protocol, cast

import polars as pl

from mlops_assets.evaluation.evaluate import Evaluation, plain
from mlops_assets.features.parity import Parity
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics.metrics import Array, Interval
from mlops_assets.training.signature import Signature

UNDEFINED = Interval(math.nan, math.nan, math.nan)


class Model(Protocol):
    """An opened model, as in training/onnx_model.py."""

    @property
    def signature(self) -> Signature: ...

    def predict(self, frame: pl.DataFrame) -> Array:
        """Probability of a positive label, shape (rows,), in the order of `frame`, which holds the signature's inputs."""
        ...


@dataclass(frozen=True)
class Case:
    """One candidate: its evaluation, the rows behind it, and the model itself.

    `rows` are the n test rows with all inputs; `truth` (0 or 1), `candidate` and `champion` (probabilities; None without a
    champion) have shape (n,). `parity` is the newest comparison of served with recomputed features, None before the first.
    `model` and `onnx` are the candidate, opened and in bytes. `training_rows` are the rows of all splits: `split`, the
    label, event_timestamp and the inputs. `training` records how the candidate was made, as the blessing will sign it.
    """

    evaluation: Evaluation
    truth: Array
    candidate: Array
    champion: Array | None
    rows: pl.DataFrame
    parity: Parity | None
    model: Model
    onnx: bytes
    training_rows: pl.DataFrame
    use_case: UseCase
    training: dict[str, str]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one gate measured. `value` is nan where it is undefined (never a pass) or where there was nothing to measure.

    `message` compares value and bound, without a final full stop; `advice` follows it when the gate did not pass.
    """

    passed: bool
    bound: float
    message: str
    evidence: dict[str, Any]
    value: Interval = UNDEFINED
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A measurement under its gate's name. `low` and `high` are its interval, nan where there is none.

    `evidence` holds plain JSON-able values.
    """

    gate: str
    passed: bool
    measured: float
    low: float
    high: float
    bound: float
    message: str
    evidence: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values; an undefined number is None."""
        return cast(dict[str, Any], plain(vars(self)))
