"""A few labels bound the mean loss of all answers, which is the evidence of a performance that has too few for its metrics."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.monitoring.estimation import Evaluated
from mlops_assets.monitoring.monitor_result import MonitorResult
from mlops_assets.monitoring.performance import monitor_performance
from mlops_assets.monitoring.risk import Risk, find_risk
from mlops_assets.monitoring.stored_periods import Periods
from mlops_assets.spec.monitor import Performance
from mlops_assets.spec.task import Binary, Multiclass, Regression
from mlops_assets.spec.trigger import MORE_LOSS, OnLoss, OnPerformance
from mlops_assets.statistics.estimation import Labelled
from mlops_assets.tasks import task_of
from mlops_assets.tasks.task import Task

BINARY = task_of(Binary(label="late"))
START = datetime(2013, 5, 1, tzinfo=UTC)


def served(rows: int, *, relation: float = 1.0, seed: int = 0) -> pl.DataFrame:
    """Answers with labels that follow the probability, by `relation`."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(0.5, 1.5, rows)
    label = rng.random(rows) < relation * probability + (1 - relation) * (1 - probability)
    moments = [START + timedelta(seconds=index) for index in range(rows)]
    return pl.DataFrame({"answered_at": moments, "event_timestamp": moments, "probability": probability, "late": label * 1})


def evaluated(task: Task[Any] = BINARY) -> Evaluated:
    rows = served(4000, seed=9)
    return Evaluated(3, Labelled(task.truth(rows["late"]), task.logged(rows)), {})


def risk_of(rows: pl.DataFrame, labels: int) -> Risk | None:
    answers, outcomes = rows.drop("late").lazy(), rows.head(labels).lazy()
    return find_risk(evaluated(), task=BINARY, label="late", answers=answers, outcomes=outcomes)


def judged(risk: Risk | None, rows: pl.DataFrame) -> MonitorResult:
    none = pl.DataFrame(schema={"model_version": pl.String(), "rows": pl.Int64()})
    return monitor_performance(
        Performance(min_rows=1000), [], task=BINARY, label="late", periods=Periods(none, none), recent=rows,
        evaluation=None, risk=risk, seed=0,
    )  # fmt: skip


def test_few_labels_that_lose_what_is_expected_are_shown_and_are_not_enough_for_a_verdict() -> None:
    rows = served(5000, seed=1)
    risk = risk_of(rows, 200)
    result = judged(risk, rows.head(200))
    assert risk and risk.bounds.low < ((rows["probability"] - rows["late"]) ** 2).to_numpy().mean() < risk.bounds.high
    assert result.verdict is Verdict.NOT_ENOUGH_DATA
    assert (
        f"The mean Brier score of version 3 is {risk.bounds} since it serves, by 200 labels and 5,000 answers" in result.message
    )
    assert (result.figures["risk_low"], result.figures["risk_high"]) == risk.bounds


def test_few_labels_that_lose_more_than_the_evaluation_are_an_alarm_on_which_only_on_loss_trains() -> None:
    rows = served(5000, relation=0.0, seed=1)
    result = judged(risk_of(rows, 100), rows.head(100))
    assert (result.verdict, result.symptoms) == (Verdict.ALARM, [MORE_LOSS]), result.message
    assert OnLoss().is_reason(result.reason_to_train, result.symptoms)
    assert not OnPerformance(metric="auc", bound=0.6).is_reason(result.reason_to_train, result.symptoms)


def test_a_version_that_is_as_good_as_in_its_evaluation_raises_no_alarm_at_any_look() -> None:
    for seed in range(10):
        rows = served(3000, seed=100 + seed)
        for labels in (10, 50, 200, 800):
            assert judged(risk_of(rows, labels), rows.head(labels)).verdict is Verdict.NOT_ENOUGH_DATA


def test_before_the_first_label_there_is_no_evidence() -> None:
    rows = served(500)
    assert risk_of(rows, 0) is None
    assert "risk_low" not in judged(None, rows.head(0)).figures


@pytest.mark.parametrize("declared", [Regression(label="late"), Multiclass(label="late", classes=("no", "yes"))])
def test_other_tasks_have_a_risk_too(declared: Any) -> None:
    task, rows = task_of(declared), served(3000, seed=2)
    share = pl.col("probability")
    if isinstance(declared, Multiclass):
        late = pl.when(pl.col("late") == 1).then(pl.lit("yes")).otherwise(pl.lit("no"))
        rows = rows.with_columns(probabilities=pl.struct(no=1 - share, yes=share), late=late)
    else:
        rows = rows.with_columns(prediction=share, low=share - 0.1, high=share + 0.1)
    before, now = rows.head(1000), rows.tail(2000)
    reference = Evaluated(1, Labelled(task.truth(before["late"]), task.logged(before)), {})
    risk = find_risk(reference, task=task, label="late", answers=now.lazy(), outcomes=now.head(150).lazy())
    assert risk and risk.labels == 150 and risk.loss == task.LOSS
    loss = task.losses(task.logged(now), task.truth(now["late"]), task.edges(reference.rows.output))
    assert risk.bounds.low < loss.mean() < risk.bounds.high < 1
