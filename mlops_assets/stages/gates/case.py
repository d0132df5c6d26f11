"""What lies before the judges, and what they answer: Case and Verdict.

Belongs here: the two values that every gate shares. Not here: how one gate judges (its own module beside this one), the
wording of verdicts (wording.py) and the dispatch (stages/judge.py).
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol, cast

import polars as pl

from mlops_assets.spec.use_case import UseCase
from mlops_assets.stages.evaluate import Evaluation, plain
from mlops_assets.stages.metrics import Array
from mlops_assets.stages.signature import Signature
from mlops_assets.stages.skew import Parity


class Model(Protocol):
    """A model that answers, as stages/score.py opens it."""

    @property
    def signature(self) -> Signature: ...

    def predict(self, frame: pl.DataFrame) -> Array:
        """Probability of a positive label, shape (rows,), in the order of `frame`, which holds the signature's inputs."""
        ...


@dataclass(frozen=True)
class Case:
    """One candidate before its judges: the evidence, the rows it was made from, and the model itself.

    `rows` are the n test rows with all inputs; `truth` (0 or 1), `candidate` and `champion` (probabilities; None without a
    champion) have shape (n,). `parity` is the newest comparison of served with recomputed features, None before the first.
    `model` and `onnx` are the candidate, opened and in bytes. `training_rows` are the rows of all splits: `split`, the
    label, event_timestamp and the inputs. `training` says how the candidate was made, as the blessing will sign it.
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
class Verdict:
    """One gate's answer. `measured` is nan where it is undefined (which never passes) or where nothing was to measure.

    `low` and `high` are the interval of what was measured, nan where there is none. `evidence` holds plain JSON-able values.
    """

    gate: str
    passed: bool
    measured: float = math.nan
    low: float = math.nan
    high: float = math.nan
    bound: float
    message: str
    evidence: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values; an undefined number is None."""
        return cast(dict[str, Any], plain(vars(self)))
