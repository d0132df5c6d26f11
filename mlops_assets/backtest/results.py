"""The numbers of a finished backtest: what was served against the frozen first model and a retraining in every step."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from mlops_assets.backtest.record import Replay
from mlops_assets.backtest.schedules import Schedule, best_schedule, schedule_of
from mlops_assets.backtest.settings import IllegalBacktest, Settings
from mlops_assets.foundation import names
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.promotion.ledger_chain import Record
from mlops_assets.resources import Resources
from mlops_assets.spec.gate import IN_UNITS, LOWER_IS_BETTER
from mlops_assets.statistics.metrics import Array, Comparison, comparisons
from mlops_assets.tasks import task_of
from mlops_assets.tasks.task import Task
from mlops_assets.training.onnx_model import OnnxModel

SERVED, FROZEN, RETRAINED = "served", "frozen", "retrained"
CONTENDERS = (SERVED, FROZEN, RETRAINED)
POINT, RESAMPLES = 0.01, 200
MIN_ROWS = 20  # with fewer, a metric says nothing about a month or a step


class Part(NamedTuple):
    """The metrics of each contender on the rows of one month or step, by contender and metric; nan where undefined."""

    start: date
    rows: int
    metrics: Mapping[str, Mapping[str, float]]


class Costs(NamedTuple):
    """Of what was done, of doing nothing, of a retraining in every step, and of the best schedule in hindsight."""

    policy: Schedule
    frozen: Schedule
    retrained: Schedule
    best: Schedule

    @property
    def regret(self) -> float:
        return self.policy.cost - self.best.cost


@dataclass(frozen=True)
class Results:
    """`rescored` is the largest difference between a logged answer and the same version's answer to its logged inputs."""

    settings: Settings
    replay: Replay
    records: tuple[Record, ...]
    rows: int
    months: tuple[Part, ...]
    steps: tuple[Part, ...]
    whole: Part
    gains: Mapping[str, Mapping[str, Comparison]]  # of what was served over a contender, by contender and metric
    costs: Costs
    rescored: float
    point: float  # of the main metric

    @property
    def metrics(self) -> tuple[str, ...]:
        return task_of(self.settings.use_case.task).metrics


class Judged(NamedTuple):
    """Rows whose outcome is known, with the step of each, and the output of every contender."""

    task: Task[Any]
    rows: pl.DataFrame
    truth: Array
    step: Array
    outputs: Mapping[str, Array]

    def part(self, start: date, chosen: Array) -> Part:
        metrics = {name: self.measure(output, chosen) for name, output in self.outputs.items()}
        return Part(start, int(chosen.sum()), metrics)

    def measure(self, output: Array, chosen: Array) -> dict[str, float]:
        """nan where undefined."""
        known = chosen & ~_is_missing(output)
        if known.sum() < MIN_ROWS:
            return dict.fromkeys(self.task.metrics, float("nan"))
        return self.task.sample(self.truth[known], output[known]).measure(self.task.metrics)


def judge(settings: Settings, outcomes: pl.DataFrame, models: Sequence[bytes], first: bytes) -> Judged:
    """`models` are those of a retraining before each step, `first` is the first champion."""
    task, label = task_of(settings.use_case.task), settings.use_case.label.name
    rows = outcomes.drop_nulls([label, *task.SCORES]).sort(EVENT_TIMESTAMP, *settings.use_case.label.key)
    seconds = (rows[EVENT_TIMESTAMP] - settings.start).dt.total_seconds().to_numpy()
    step = (seconds // settings.every.total_seconds()).astype(int)
    retrained = np.array(task.logged(rows), dtype=float)
    for number, model in enumerate(models):
        if (own := step == number).any():
            retrained[own] = score(task, model, rows.filter(own))
    outputs = {SERVED: task.logged(rows), FROZEN: score(task, first, rows), RETRAINED: retrained}
    return Judged(task, rows, task.truth(rows[label]), step, outputs)


def _is_missing(output: Array) -> Array:
    """(n,) booleans."""
    return np.asarray(np.isnan(output).any(axis=tuple(range(1, output.ndim))))


def score(task: Task[Any], onnx: bytes, rows: pl.DataFrame) -> Array:
    """The output of a version for the inputs that the log has."""
    model = OnnxModel.from_bytes(onnx)
    return task.aligned(model.predict(rows), model.signature.facts)


def months_of(judged: Judged) -> Iterator[Part]:
    months = judged.rows[EVENT_TIMESTAMP].dt.truncate("1mo").dt.date()
    for month in months.unique().sort():
        yield judged.part(month, (months == month).to_numpy())


def steps_of(settings: Settings, judged: Judged) -> Iterator[Part]:
    for number, (start, _end) in enumerate(settings.steps):
        yield judged.part(start.date(), judged.step == number)


def point_of(metric: str, whole: Part) -> float:
    """0.01, or of a metric in the units of the label a hundredth of that of the frozen model."""
    return POINT * whole.metrics[FROZEN][metric] if metric in IN_UNITS else POINT


def lost_points(judged: Judged, models: Sequence[bytes], parts: tuple[Part, ...], *, point: float) -> tuple[Array, Array]:
    """The points that each version loses in each step from its own on, and those that what was served lost: against the best
    version that had been trained by then. None in a step in which the metric is undefined.
    """
    metric, steps = judged.task.main_metric, len(models)
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    values = np.full((steps, steps), np.nan)
    for version, onnx in enumerate(models):
        later = judged.step >= version
        output = np.full(judged.outputs[FROZEN].shape, np.nan)
        if later.any():
            output[later] = score(judged.task, onnx, judged.rows.filter(later))
        for step in range(version, steps):
            values[version, step] = sign * judged.measure(output, judged.step == step)[metric]
    served = np.array([sign * part.metrics[SERVED][metric] for part in parts])
    best = np.array([np.nan if np.isnan(column).all() else np.nanmax(column) for column in values.T])
    return np.nan_to_num((best - values) / point), np.nan_to_num((best - served) / point)


def cost_of(settings: Settings, replay: Replay, lost: Array, served: Array) -> Costs:
    steps, cost = len(lost), settings.cost
    trained = tuple(number + 1 for number, step in enumerate(replay.steps) if step.training)
    points = float(served.sum())
    policy = Schedule(trained, points, cost.point * points + cost.training * len(trained))
    return Costs(
        policy, schedule_of((), lost, cost), schedule_of(range(1, steps), lost, cost), best_schedule(lost, cost)
    )  # fmt: skip


def read_results(settings: Settings, replay: Replay, resources: Resources, models: Sequence[bytes]) -> Results:
    """From the home of a backtest that has ended; `models` as in `judge`."""
    use_case, deployment = settings.use_case, resources["deployment"].open(settings.use_case.name)
    outcomes = resources["warehouse"].open().scan(names.stage(use_case.name, "outcomes")).collect()
    first = deployment.load(replay.first.version or 0)[0]
    judged = judge(settings, outcomes, models, first)
    if not len(judged.rows):
        problem = f"of no request was the outcome known by the end of --to {settings.last}, so nothing can be compared"
        raise IllegalBacktest(f"{use_case.name} · {problem}. Choose a later day.")
    steps, whole = tuple(steps_of(settings, judged)), judged.part(settings.first, np.full(len(judged.rows), fill_value=True))
    point = point_of(judged.task.main_metric, whole)
    lost, served = lost_points(judged, models, steps, point=point)
    return Results(
        settings,
        replay,
        tuple(resources["ledger"].open().records(use_case.name)),
        rows=len(judged.rows),
        months=tuple(months_of(judged)),
        steps=steps,
        whole=whole,
        gains={name: _gain(judged, name) for name in (FROZEN, RETRAINED)},
        costs=cost_of(settings, replay, lost, served),
        rescored=_rescored(judged, replay.first.version),
        point=point,
    )


def _gain(judged: Judged, over: str) -> dict[str, Comparison]:
    """Paired, on the rows that both answered."""
    ours, theirs = judged.outputs[SERVED], judged.outputs[over]
    known = ~(_is_missing(ours) | _is_missing(theirs))
    served, other = (judged.task.sample(judged.truth[known], output[known]) for output in (ours, theirs))
    return comparisons(served, other, judged.task.metrics, seed=names.SEED, resamples=RESAMPLES)


def _rescored(judged: Judged, version: int | None) -> float:
    """Nothing but the log decides what the frozen model would have answered: its own answers must come out again."""
    own = (judged.rows["model_version"] == version).to_numpy()
    differences = np.abs(judged.outputs[SERVED][own] - judged.outputs[FROZEN][own])
    return float(differences.max()) if own.any() else 0.0
