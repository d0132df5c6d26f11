"""What kind of question a use case answers: its label, and what a prediction of it is. tasks/ implements each class."""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from mlops_assets.spec.column_type import NUMBERS, TEXTS, DType, bound_text
from mlops_assets.spec.contract import Column
from mlops_assets.spec.feature import Label
from mlops_assets.spec.gate import Metric
from mlops_assets.spec.spec import Spec, Text

TASKS = "mlops_assets.tasks"


class Task(Spec):
    """One kind of question, also outside this package: a subclass, and the class of what it owns (docs/tasks.md)."""

    IMPLEMENTATION: ClassVar[str]  # its module and class
    METRICS: ClassVar[tuple[Metric, ...]]  # measured of every candidate; the first one stands for its quality
    DECIDES: ClassVar[bool] = False  # yes or no, which Fair compares between groups

    LABELS: ClassVar[tuple[DType, ...]]  # the types of a label that is a column

    label: Label | Text  # a text is the name of a column of the request table

    @property
    def label_name(self) -> str:
        return self.label if isinstance(self.label, str) else self.label.name

    def label_problems(self, column: Column) -> Iterator[str]:
        """Why the values of a column cannot be labels."""
        if column.dtype not in self.LABELS:
            found = f"{column.name!r} is of type {column.dtype}; legal: {', '.join(self.LABELS)}"
            yield f"task.label · {found}. Use another column, or a Label with a transform."

    @property
    def learned(self) -> str:
        """What a model learns besides the label, as text that changes with it."""
        return ""


class Binary(Task):
    """Yes or no, as a probability. `positive` is the label that means yes (None: 1, or true). `threshold` turns a probability
    into a decision.
    """

    IMPLEMENTATION = f"{TASKS}.binary:BinaryTask"
    METRICS = ("auc", "average_precision", "brier", "log_loss", "ece")
    DECIDES = True
    LABELS = ("string", "category", "int", "bool")

    positive: str | bool | int | None = None
    threshold: float = Field(default=0.5, gt=0, lt=1)

    def label_problems(self, column: Column) -> Iterator[str]:
        yield from super().label_problems(column)
        if column.dtype in TEXTS and self.positive is None:
            legal = ", ".join(column.allowed) or "one of its values"
            yield f"task.positive · {column.name!r} is text, and no value is declared that means yes; legal: {legal}. Declare it."
        if self.positive is not None:
            text = str(self.positive).lower()
            value = {"1": "true", "0": "false"}.get(text, text) if column.dtype == "bool" else self.positive
            yield from _unknown_values(column, "task.positive", [value])


class Regression(Task):
    """A number. `coverage` is the share of truths that the intervals of the predictions are to contain, and `unit` that of the
    label. A model file has single precision: about 7 digits of a prediction.
    """

    IMPLEMENTATION = f"{TASKS}.regression:RegressionTask"
    METRICS = ("rmse", "mae", "r2", "coverage", "width")
    LABELS = NUMBERS

    coverage: float = Field(default=0.9, gt=0, lt=1)
    unit: str = ""


Class = Annotated[str, Field(strict=True, min_length=1)] | Annotated[int, Field(strict=True)]


class Multiclass(Task):
    """One of several `classes`, which are the labels, as a probability of each. The most probable one is the decision."""

    IMPLEMENTATION = f"{TASKS}.multiclass:MulticlassTask"
    METRICS = ("accuracy", "macro_f1", "auc", "brier", "log_loss", "ece")
    LABELS = ("string", "category", "int", "bool")

    classes: tuple[Class, ...] = Field(min_length=2)

    @property
    def learned(self) -> str:
        return f"classes={self.classes}"

    def label_problems(self, column: Column) -> Iterator[str]:
        yield from super().label_problems(column)
        yield from _unknown_values(column, "task.classes", self.classes)

    def contradictions(self) -> Iterator[str]:
        texts = [str(name) for name in self.classes]  # of labels as well: a table may store the numbers of classes as text
        repeated = (name for index, name in enumerate(texts) if texts[:index].count(name) == 1)
        for name in (name for name in repeated if self.classes.count(name) < 2):  # Spec names two equal texts
            yield f"classes · {name} is declared twice. Keep one."


def _unknown_values(column: Column, field: str, values: Sequence[str | int]) -> Iterator[str]:
    """Values that a label in this column never has."""
    legal = {"bool": "true, false", "int": f"whole numbers{_bounds(column)}"}.get(column.dtype, ", ".join(column.allowed))
    for value in (value for value in values if legal and not _is_value(column, str(value))):
        yield f"{field} · {value!r} is no value of column {column.name!r}; legal: {legal}. Use one of these."


def _is_value(column: Column, text: str) -> bool:
    if column.dtype == "int":
        return bool(re.fullmatch(r"-?\d+", text, re.ASCII)) and column.holds(int(text))
    return text in (column.allowed or ("true", "false"))


def _bounds(column: Column) -> str:
    ends = {" from ": column.min, " to ": column.max}
    return "".join(word + bound_text(bound) for word, bound in ends.items() if bound is not None)
