"""What a task owns. The service imports this package: no library of training or plotting loads with it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Self, TypeVar

import numpy as np
import polars as pl

from mlops_assets.spec.task import Task as Declared
from mlops_assets.statistics.estimation import Draw
from mlops_assets.statistics.metrics import BINS, Array, Sample

D = TypeVar("D", bound=Declared)
Facts = Mapping[str, Any]  # what a version records about its own outputs, such as its classes, in its model file
Activation = Literal["sigmoid", "softmax", "identity"]


class IllegalLabels(ValueError):
    """Labels that the task does not declare."""


def as_text(output: Any) -> str:
    """One row of an output, rounded for people."""
    return ", ".join(f"{number:.4g}" for number in np.atleast_1d(output))


class Offsets(NamedTuple):
    """What the columns of an output add to a prediction: `units` times its scale, which is a line in the prediction, `level` at
    `center`, and at least `least`.
    """

    units: tuple[float, ...]
    level: float = 1.0
    slope: float = 0.0
    center: float = 0.0
    least: float = 0.0

    def scale(self, prediction: Array) -> Array:
        return np.maximum(self.level + self.slope * (prediction - self.center), self.least)

    def added(self, prediction: Array) -> Array:
        """(n,) to (n, len(units))."""
        return prediction[:, None] + self.scale(prediction)[:, None] * self.units


class DecisionChange(NamedTuple):
    """Rows whose decision the candidate changes to `decision`, and for how many that is right."""

    decision: str
    rows: int
    right: int


class Task(ABC, Generic[D]):
    """One declared task. An output is what a model gives for n rows, of shape (n,), or (n, k) with k numbers a row; a truth is
    the label as numbers, of shape (n,). `ANSWER` are the fields of an answer, with their types and descriptions as msgspec
    annotations, and `COLUMNS` the same in the prediction log. `SCORES` are the columns that hold the output, and `SUMMARY` is the
    one number or text by which the distribution of the answers is watched.
    """

    ACTIVATION: ClassVar[Activation]  # of the last layer of a network
    OUTPUT: ClassVar[str]  # the name of the output in a model file
    CALIBRATES: ClassVar[bool] = False  # its models are fitted to predictions of rows that they were not trained on, by `offsets`
    ANSWER: ClassVar[Mapping[str, Any]]
    COLUMNS: Mapping[str, pl.DataType]
    SCORES: ClassVar[tuple[str, ...]]
    SUMMARY: ClassVar[str]
    MEANS: ClassVar[tuple[str, ...]]  # the names of `means`
    LOSS: ClassVar[str]  # the name of `losses`
    ADDED_IN: ClassVar[str]  # the unit of `additive`

    def __init__(self, declared: D) -> None:
        self.declared = declared

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.declared.METRICS

    @property
    def main_metric(self) -> str:
        """The metric that stands for the quality of a version."""
        return self.metrics[0]

    @property
    def name(self) -> str:
        """Of the label."""
        return self.declared.label_name

    # Versions

    @property
    def outputs(self) -> int:
        """How many numbers a row of an output has."""
        return 1

    @property
    def facts(self) -> Facts:
        """What a version that is trained now records about its outputs."""
        return {}

    def as_trained(self, facts: Facts) -> Self:
        """The task of a version with these facts, whatever is declared by now."""
        return self

    def aligned(self, output: Array, facts: Facts) -> Array:
        """The output of a version with these facts, as one of the declared task. Raises KeyError for one of another task."""
        return output

    # Labels

    @abstractmethod
    def truth(self, labels: pl.Series) -> Array:
        """The labels as the numbers that models learn. Raises IllegalLabels."""

    @abstractmethod
    def untrainable(self, truth: Array) -> str:
        """Why no model can learn from these labels; empty where one can."""

    @abstractmethod
    def describe_labels(self, truth: Array) -> str:
        """The end of a sentence about labelled rows."""

    def label_means(self, truth: Array) -> dict[str, float]:
        """The labels in a few numbers, by the name of each."""
        return {"mean_label": float(truth.mean()) if len(truth) else 0.0}

    @abstractmethod
    def binarized(self, truth: Array) -> Mapping[str, Array]:
        """The question as one or several of 0 and 1, by name, for the search of inputs that reveal the label."""

    # Outputs

    @abstractmethod
    def are_legal(self, output: Array) -> Array:
        """(n,) booleans."""

    @abstractmethod
    def is_legal(self, score: Any) -> bool:
        """As `are_legal`, of one row as a Python value."""

    @abstractmethod
    def reader(self, facts: Facts) -> Callable[[Any], tuple[Any, ...]]:
        """What turns one row of the output, as a Python value, into the values of ANSWER; `facts` are those of the version."""

    @abstractmethod
    def additive(self, output: Array, score: Any) -> Array:
        """The output on the scale on which the contributions of inputs add up, (n,), to explain a row with this score."""

    @abstractmethod
    def baseline(self, value: float) -> dict[str, float]:
        """The output of a row without inputs, by its name in an explanation, from its `additive` value."""

    def logged(self, rows: pl.DataFrame, prefix: str = "") -> Array:
        """The output from the prediction log's SCORES; nan where it is not known."""
        return rows[prefix + self.SCORES[0]].cast(pl.Float64).to_numpy()

    def rival_columns(self) -> dict[str, pl.DataType]:
        """The champion's output in the log of a shadow."""
        return {f"champion_{name}": self.COLUMNS[name] for name in self.SCORES}

    def offsets(self, truth: Array, prediction: Array) -> Offsets:
        """From predictions of rows that the model was not trained on; only of a task that CALIBRATES."""
        raise TypeError(f"{type(self.declared).__name__} adds nothing to a prediction")

    def likely_labels(self, truth: Array, output: Array) -> Draw:
        """What the labels of other rows are likely to be, learned from the truth and the output of these."""
        raise TypeError(f"{type(self.declared).__name__} does not say what labels are likely; no Estimation can be declared")

    def decisions(self, output: Array) -> Array:
        """Booleans, (n,); only of a task that DECIDES."""
        raise TypeError(f"{type(self.declared).__name__} decides nothing")

    # Quality

    @abstractmethod
    def sample(self, truth: Array, output: Array, *, bins: int = BINS) -> Sample:
        """What the metrics read; `bins` are those of a calibration error. Raises ValueError on illegal values."""

    @abstractmethod
    def means(self, truth: Array, output: Array) -> dict[str, float]:
        """What a monitor compares at a glance: the mean of labels and of predictions, in the order of MEANS."""

    @abstractmethod
    def counts(self, truth: Array) -> dict[str, int]:
        """What the evidence about a part of the rows counts besides its rows."""

    @abstractmethod
    def informative_rows(self, part: Mapping[str, Any]) -> int:
        """How many rows a comparison of models on a part rests on: of its `rows` and `counts`."""

    @abstractmethod
    def details(self, truth: Array, output: Array) -> dict[str, Any]:
        """The evidence about a candidate that only this task has, as plain JSON-able values."""

    def cells(self, details: Mapping[str, Any]) -> Mapping[str, tuple[int, int]]:
        """How many rows of a truth are decided in each way, and the rows of that truth, from `details`; none where nothing is
        decided.
        """
        return {}

    @abstractmethod
    def curves(self, truth: Array, outputs: Mapping[str, Array]) -> dict[str, bytes]:
        """Pictures that compare outputs, which are named by their role, as PNG bytes by name. Imports matplotlib."""

    @abstractmethod
    def pictures(self, details: Mapping[str, Any]) -> dict[str, bytes]:
        """Pictures of the `details`, as PNG bytes by name. Imports matplotlib."""

    @abstractmethod
    def report(self, rows: pl.DataFrame, truth: Array, output: Array) -> tuple[Any, Any, pl.DataFrame]:
        """Evidently's preset, its data definition and the columns that they read. Imports Evidently."""

    # People

    @abstractmethod
    def shown(self, output: Array) -> pl.Series:
        """What a table of examples shows of each row."""

    @abstractmethod
    def shown_truth(self, truth: Array) -> pl.Series:
        """The truth of each row as text."""

    def watched_truth(self, truth: Array) -> pl.Series:
        """The truth of each row, by which the distribution of the labels is watched."""
        return self.shown_truth(truth)

    @abstractmethod
    def facts_of(self, counts: Mapping[str, int], rows: int) -> list[str]:
        """Short facts: first about the rows with these `counts`, then about how they are decided."""

    @abstractmethod
    def describe(self, logged: Mapping[str, Any]) -> str:
        """A logged answer in a few words."""

    @abstractmethod
    def changes(self, truth: Array, candidate: Array, champion: Array) -> list[DecisionChange]:
        """How the candidate's decisions differ from the champion's; none where the task decides nothing."""

    # Rollouts

    @abstractmethod
    def edges(self, champion: Array) -> tuple[float, ...]:
        """What `claims` and `losses` are relative to, from the champion's output before the rollout (some hundred rows, or
        none)."""

    def claims(self, rows: pl.DataFrame, edges: Sequence[float], prefix: str = "") -> list[pl.Expr]:
        """Booleans over the prediction log whose shares a rollout compares between both arms: at or above every edge, then below,
        which detects a shift in either direction."""
        score = pl.col(prefix + self.SCORES[0])
        return [*(score >= edge for edge in edges), *(score < edge for edge in edges)]

    def describe_claim(self, place: int, edges: Sequence[float]) -> str:
        """What is true of the scores for which the claim of this place holds."""
        return f"{'at or above' if place < len(edges) else 'below'} {edges[place % len(edges)]:.3g}"

    @abstractmethod
    def losses(self, output: Array, truth: Array, edges: Sequence[float]) -> Array:
        """The loss of each answer, (n,), in [0, 1] where 1 is worst; nan where it is not known."""
