"""The values that all gates share: the Case that they read, the Measurement that each returns, the final Verdict."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, cast

import polars as pl

from mlops_assets.evaluation.evaluate import Evaluation, plain
from mlops_assets.features.parity import Parity
from mlops_assets.foundation.verdict import gate_result
from mlops_assets.spec.gate import LOWER_IS_BETTER
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics.metrics import ALL_ROWS, Array, Interval, Sample
from mlops_assets.tasks import task_of
from mlops_assets.tasks.task import Task
from mlops_assets.training.onnx_model import OnnxModel


def reaches(metric: str, value: float, bound: float) -> bool:
    """Whether `value` is at least as good as `bound`; never for nan."""
    return value <= bound if metric in LOWER_IS_BETTER else value >= bound


def side(value: float, bound: float) -> str:
    """On which side of an upper bound the value is."""
    return "stays within" if value <= bound else "is above"


def against(metric: str, measured: Interval, bound: float) -> str:
    """The metric with its interval, and on which side of the bound it is."""
    if math.isnan(measured.value):
        return f"{metric} is undefined on these rows (one class only)"
    better, worse = ("stays within", "is above") if metric in LOWER_IS_BETTER else ("reaches", "is below")
    return f"{measured} {better if reaches(metric, measured.value, bound) else worse} {bound:.3f}"


@dataclass(frozen=True)
class Case:
    """One candidate: its evaluation, the rows behind it, and the model itself. `rows` are the n test rows; `truth`, and the
    outputs of `candidate` and `champion` (None without one), are as the task defines them. `parity` is the newest comparison of
    served with recomputed features, None before the first, and `served` the number of all answers. `onnx` is the model in bytes.
    `training_rows` are those of all splits; `training` records how the candidate was made, as the blessing will sign it.
    """

    evaluation: Evaluation
    truth: Array
    candidate: Array
    champion: Array | None
    rows: pl.DataFrame
    parity: Parity | None
    served: int
    model: OnnxModel
    onnx: bytes
    training_rows: pl.DataFrame
    use_case: UseCase
    training: dict[str, str]
    seed: int

    @cached_property
    def task(self) -> Task[Any]:
        return task_of(self.use_case.task)

    def sample(self, output: Array, rows: Array | slice = ALL_ROWS) -> Sample:
        """An output against the truth, of some of the rows."""
        return self.task.sample(self.truth[rows], output[rows])


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One gate's result. `value` is nan where undefined (never a pass) or not measured; a failure's `advice` follows. A gate that
    passes without a value, or that sets `lacks_data`, has not enough data, whatever it then decides.
    """

    passed: bool
    bound: float
    message: str
    evidence: dict[str, Any]
    value: Interval = field(default_factory=Interval)
    advice: str = ""
    lacks_data: bool = False

    @property
    def result(self) -> str:
        return gate_result(passed=self.passed, lacks_data=self.lacks_data or (self.passed and math.isnan(self.value.value)))


class Verdict(NamedTuple):
    """A measurement under its gate's name, in plain JSON-able values. `low` and `high` are nan without an interval."""

    gate: str
    passed: bool
    measured: float
    low: float
    high: float
    bound: float
    message: str
    evidence: dict[str, Any]
    result: str

    @property
    def lacks_data(self) -> bool:
        return self.result != gate_result(passed=self.passed, lacks_data=False)

    def to_dict(self) -> dict[str, Any]:
        """An undefined number is None."""
        return cast(dict[str, Any], plain(self._asdict()))
