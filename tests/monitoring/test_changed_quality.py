"""Metrics, calibration and wrong decisions that have changed since the evaluation are named, and only these."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops_assets.monitoring.changed_quality import Changes, changed_since
from mlops_assets.spec.task import Binary, Multiclass, Regression
from mlops_assets.statistics.metrics import intervals
from mlops_assets.tasks import task_of
from mlops_assets.tasks.task import Task

BINARY, CLASSES, NUMBER = (
    task_of(Binary(label="y")),
    task_of(Multiclass(label="y", classes=("a", "b", "c"))),
    task_of(Regression(label="y")),
)


def rows(task: Task[Any], seed: int, *, lower: float = 0.0, count: int = 4000) -> pl.DataFrame:
    """Labels that are as likely as the outputs say, or less by `lower`."""
    rng = np.random.default_rng(seed)
    if task is NUMBER:
        truth = rng.normal(size=count)
        prediction = truth + rng.normal(scale=0.3 + lower, size=count)
        return pl.DataFrame({"y": truth, "prediction": prediction, "low": prediction - 0.5, "high": prediction + 0.5})
    if task is BINARY:
        probability = rng.uniform(size=count)
        return pl.DataFrame({"y": (rng.random(count) < probability - lower).astype(int), "probability": probability})
    shares = rng.dirichlet([1, 1, 1], count)
    reported = shares * (1 - lower) + lower * np.array([0, 0, 1])
    truth = (rng.random((count, 1)) >= np.cumsum(reported, axis=1)).sum(axis=1).clip(0, 2)
    names = np.array(["a", "b", "c"])
    return pl.DataFrame({"y": names[truth], "probabilities": [dict(zip("abc", share, strict=True)) for share in shares]})


def compare(task: Task[Any], before: pl.DataFrame, now: pl.DataFrame) -> Changes:
    truth, output = task.truth(before["y"]), task.logged(before)
    metrics = {name: vars(one) for name, one in intervals(task.sample(truth, output), task.metrics, seed=0).items()}
    evaluation = json.loads(json.dumps({"metrics": metrics, **task.details(truth, output)}))
    metrics_now = intervals(task.sample(task.truth(now["y"]), task.logged(now)), task.metrics, seed=0)
    return changed_since(evaluation, task, now, label="y", metrics=metrics_now)


@pytest.mark.parametrize("task", [BINARY, CLASSES, NUMBER], ids=["binary", "classes", "number"])
def test_an_unchanged_quality_is_not_named(task: Task[Any]) -> None:
    changes = compare(task, rows(task, 0), rows(task, 1))
    assert changes.messages == []
    assert [row["metric"] for row in changes.tables["against_evaluation"]] == [*task.metrics]


@pytest.mark.parametrize(
    ("task", "metric", "decided"),
    [(BINARY, "ece", "not y, decided y"), (CLASSES, "ece", "c, decided a"), (NUMBER, "coverage", "")],
    ids=["binary", "classes", "number"],
)
def test_calibration_and_wrong_decisions_that_changed_are_named_with_both_numbers(
    task: Task[Any], metric: str, decided: str
) -> None:
    changes = compare(task, rows(task, 0), rows(task, 1, lower=0.3))
    changed = {row["metric"] for row in changes.tables["against_evaluation"] if row["changed"]}
    assert metric in changed and "Changed since the evaluation: " in changes.messages[0]
    wrong = {row["decided"]: row for row in changes.tables.get("wrong_decisions", []) if row["changed"]}
    assert (decided in wrong) is bool(decided)
    assert bool(decided) is (len(changes.messages) == 2)


def test_the_shares_are_those_of_each_truth() -> None:
    now = rows(BINARY, 1, lower=0.2)
    (missed, alarms) = compare(BINARY, rows(BINARY, 0), now).tables["wrong_decisions"]
    negative, positive = now.filter(y=0), now.filter(y=1)
    assert alarms["window"] == (negative["probability"] >= 0.5).mean() and alarms["of_rows"] == len(negative)
    assert missed["window"] == (positive["probability"] < 0.5).mean() and missed["of_rows"] == len(positive)


def test_without_an_evaluation_nothing_is_compared() -> None:
    assert changed_since({}, BINARY, rows(BINARY, 0), label="y", metrics={}) == ([], {})
