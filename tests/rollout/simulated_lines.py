"""Simulated model lines, one a task: what is true of each request is hidden, and two models see it through noise.

The base rate drifts by the hour of the traffic. Without harm the challenger is another model, with other answers, of the
same quality and speed.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.spec.task import Multiclass, Regression
from mlops_assets.tasks import task_of
from mlops_assets.tasks.task import Task
from mlops_assets.use_cases.flight_delay import USE_CASE

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Harm:
    """What is wrong with the challenger: shares of its calls that fail or wait 60 ms more; more noise, a constant or a factor in
    what it says; two classes exchanged; or the same answer to everybody. Noise and constants are in log-odds, or in the unit
    of the label."""

    errors: float = 0.0
    slow: float = 0.0
    noise: float = 0.0
    shift: float = 0.0
    factor: float = 1.0
    exchanged: bool = False
    constant: bool = False


class Line(ABC):
    """`NOISE` is that of a model without harm."""

    task: Task[Any]
    label: str
    NOISE: ClassVar[float]

    @abstractmethod
    def hidden(self, rng: np.random.Generator, hour: Floats) -> Floats: ...

    @abstractmethod
    def output(self, rng: np.random.Generator, hidden: Floats, harm: Harm) -> Floats: ...

    @abstractmethod
    def truth(self, rng: np.random.Generator, hidden: Floats) -> Any: ...

    def columns(self, output: Floats, prefix: str = "") -> dict[str, pl.Series]:
        """The output in the prediction log's columns."""
        return {
            prefix + name: pl.Series(column)
            for name, column in zip(self.task.SCORES, output.T.reshape(-1, len(output)), strict=True)
        }

    def noisy(self, rng: np.random.Generator, hidden: Floats, harm: Harm) -> Floats:
        return hidden + np.hypot(self.NOISE, harm.noise) * rng.normal(size=hidden.shape)


class BinaryLine(Line):
    task, label, NOISE = task_of(USE_CASE.task), "late", 0.5

    def hidden(self, rng: np.random.Generator, hour: Floats) -> Floats:
        return -1.4 + 0.5 * np.sin(hour) + rng.normal(size=len(hour))

    def output(self, rng: np.random.Generator, hidden: Floats, harm: Harm) -> Floats:
        return np.full(len(hidden), 0.22) if harm.constant else _chance(self.noisy(rng, hidden + harm.shift, harm))

    def truth(self, rng: np.random.Generator, hidden: Floats) -> Any:
        return rng.random(len(hidden)) < _chance(hidden)


class MulticlassLine(Line):
    """Three classes, of which the last is rare."""

    label, NOISE = "kind", 0.5
    CLASSES = ("a", "b", "c")
    task = task_of(Multiclass(label=label, classes=CLASSES))

    def hidden(self, rng: np.random.Generator, hour: Floats) -> Floats:
        drift = 0.5 * np.sin(hour)
        return np.stack([0.8 + drift, -drift, np.full_like(hour, -1.0)], axis=1) + 1.2 * rng.normal(size=(len(hour), 3))

    def output(self, rng: np.random.Generator, hidden: Floats, harm: Harm) -> Floats:
        scores = self.noisy(rng, hidden, harm) + np.array([0, 0, harm.shift])
        odds = np.exp(np.tile([0.8, 0.0, -1.0], (len(hidden), 1)) if harm.constant else scores)
        shares = odds / odds.sum(axis=1, keepdims=True)
        return shares[:, [1, 0, 2]] if harm.exchanged else shares

    def truth(self, rng: np.random.Generator, hidden: Floats) -> Any:
        return np.array(self.CLASSES)[(hidden + rng.gumbel(size=hidden.shape)).argmax(axis=1)]

    def columns(self, output: Floats, prefix: str = "") -> dict[str, pl.Series]:
        classes = pl.DataFrame(dict(zip(self.CLASSES, output.T, strict=True)))
        return {f"{prefix}probabilities": classes.to_struct(f"{prefix}probabilities")}


class RegressionLine(Line):
    """Truths with outliers, of which no variance exists; intervals of one width."""

    label, NOISE, HALF = "rides", 15.0, 40.0
    task = task_of(Regression(label=label, unit="rides"))

    def hidden(self, rng: np.random.Generator, hour: Floats) -> Floats:
        return 100 + 30 * np.sin(hour) + 40 * rng.normal(size=len(hour))

    def output(self, rng: np.random.Generator, hidden: Floats, harm: Harm) -> Floats:
        number = np.full(len(hidden), 100.0) if harm.constant else self.noisy(rng, hidden, harm)
        return (number + harm.shift)[:, None] * harm.factor + np.array([0, -self.HALF, self.HALF])

    def truth(self, rng: np.random.Generator, hidden: Floats) -> Any:
        return hidden + 10 * rng.standard_t(2, size=len(hidden))


BINARY, MULTICLASS, REGRESSION = BinaryLine(), MulticlassLine(), RegressionLine()


def _chance(logit: Floats) -> Floats:
    return 1 / (1 + np.exp(-logit))
