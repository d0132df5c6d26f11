"""What a few labels say about all answers of a version: bounds of its mean loss since it serves, next to its evaluation."""

from typing import Any, NamedTuple

import polars as pl

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.monitoring.estimation import Evaluated
from mlops_assets.monitoring.monitor_result import MonitorResult
from mlops_assets.monitoring.stored_periods import known_rows
from mlops_assets.spec.trigger import MORE_LOSS
from mlops_assets.statistics.risk import Bounds, ExpectedLoss, mean_bounds, risk_bounds
from mlops_assets.tasks.task import Task

# Always the same answers at every look, and not a window, which would be a new sequence of looks each time. Bets over a million
# take 5 s.
MAX_ANSWERS = 1_000_000


class Risk(NamedTuple):
    """The mean loss of the answers of a version since it serves, and of the rows on which it was evaluated."""

    version: int
    loss: str
    bounds: Bounds
    evaluated: Bounds
    labels: int
    answers: int

    def added_to(self, result: MonitorResult) -> MonitorResult:
        """An alarm where the answers lose more than the rows of the evaluation; with so few labels OnLoss alone trains on it."""
        rows = f"by {self.labels:,} labels and {self.answers:,} answers"
        message = (
            f"{self.loss} of version {self.version} is {self.bounds} since it serves, {rows}; {self.evaluated} in its evaluation"
        )
        figures = {**result.figures, "risk_low": self.bounds.low, "risk_high": self.bounds.high}
        result = result._replace(message=f"{result.message} The mean {message}.", figures=figures)
        is_worse = self.bounds.low > self.evaluated.high
        return result._replace(verdict=Verdict.ALARM, symptoms=[MORE_LOSS]) if is_worse else result


def find_risk(evaluated: Evaluated, *, task: Task[Any], label: str, answers: pl.LazyFrame, outcomes: pl.LazyFrame) -> Risk | None:
    """Of all `answers` of a version, and those of them with a known label; None before the first label."""
    every = answers.select("answered_at", *task.SCORES).drop_nulls().sort("answered_at").head(MAX_ANSWERS).collect()
    known = known_rows(task, outcomes.collect(), label).filter(pl.col("answered_at") <= every["answered_at"].max())
    if known.is_empty():
        return None
    edges = task.edges(evaluated.rows.output)
    reference = task.losses(evaluated.rows.output, evaluated.rows.truth, edges)
    expected, output = ExpectedLoss.of(evaluated.rows.output, reference), task.logged(known)
    loss = task.losses(output, task.truth(known[label]), edges)
    bounds = risk_bounds(loss, expected(output), expected(task.logged(every)))
    return Risk(evaluated.version, task.LOSS, bounds, mean_bounds(reference), len(known), len(every))
