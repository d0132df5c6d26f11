"""An estimate is judged by its bound, by its own record, and not at all without evidence."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops_assets.evaluation.evaluate_candidate import scored_rows
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.monitoring.estimation import Evaluated, monitor_estimation
from mlops_assets.monitoring.monitor_result import MonitorResult
from mlops_assets.spec.monitor import Estimation
from mlops_assets.statistics.metrics import intervals
from mlops_assets.tasks import task_of
from mlops_assets.use_cases.flight_delay import USE_CASE

TASK, LABEL = task_of(USE_CASE.task), USE_CASE.label.name
SPEC = Estimation(min_rows=200)
START = datetime(2013, 5, 1, tzinfo=UTC)


def drawn(rows: int, *, skill: float, seed: int, relation: float = 1.0) -> pl.DataFrame:
    """Answers over ten days; `relation` 1: the label follows the probability, 0: it does not."""
    rng = np.random.default_rng(seed)
    probability = 1 / (1 + np.exp(-skill * rng.normal(size=rows)))
    follows = relation * probability + (1 - relation) * 0.5
    moments = [START + timedelta(days=10 * index / rows) for index in range(rows)]
    label = (rng.random(rows) < follows).astype(int)
    return pl.DataFrame({"event_timestamp": moments, "probability": probability, LABEL: label, "model_version": 1})


def evaluated() -> Evaluated:
    rows = drawn(4000, skill=2, seed=0)
    truth, output = TASK.truth(rows[LABEL]), TASK.logged(rows)
    metrics = {name: vars(one) for name, one in intervals(TASK.sample(truth, output), TASK.metrics, seed=0).items()}
    return Evaluated.from_artifacts(1, scored_rows(truth, output), json.dumps({"metrics": metrics}).encode())


def judge(recent: pl.DataFrame, outcomes: pl.DataFrame | None = None, spec: Estimation = SPEC, **fields: Any) -> MonitorResult:
    known = outcomes if outcomes is not None else recent.head(0)
    values = {"evaluated": evaluated()} | fields
    return monitor_estimation(spec, values["evaluated"], task=TASK, label=LABEL, recent=recent, outcomes=known, seed=0)


@pytest.mark.parametrize(("skill", "verdict"), [(2.0, Verdict.HEALTHY), (2.3, Verdict.HEALTHY), (1.0, Verdict.ALARM)])
def test_inputs_on_which_the_model_is_less_sure_are_an_alarm_without_a_label(skill: float, verdict: Verdict) -> None:
    result = judge(drawn(2000, skill=skill, seed=1))
    assert result.verdict is verdict, result.message
    assert "No label has come yet" in result.message and "auc is estimated at" in result.message
    assert result.pictures.keys() == {"track_record"} and result.tables["track_record"] == []


def test_a_declared_bound_takes_the_place_of_the_evaluation() -> None:
    rows = drawn(2000, skill=1.0, seed=1)
    assert judge(rows, spec=SPEC.but(metric="auc", bound=0.6)).verdict is Verdict.HEALTHY
    assert judge(rows, spec=SPEC.but(metric="brier", bound=0.1)).verdict is Verdict.ALARM


def test_the_record_is_of_the_rows_with_labels_and_counts_the_intervals_that_held() -> None:
    outcomes = drawn(3000, skill=1.5, seed=2)
    result = judge(drawn(2000, skill=2, seed=1), outcomes)
    record = result.tables["track_record"]
    assert len(record) == 10 and sum(row["rows"] for row in record) == 3000
    held = sum(row["held"] for row in record)
    assert held >= 8 and f"held {held} of 10" in result.message
    for row in record:
        day = outcomes.filter(pl.col("event_timestamp").dt.date() == row["period"])
        assert row["realised"] == TASK.sample(TASK.truth(day[LABEL]), TASK.logged(day)).measure(["auc"])["auc"]
        assert row["low"] < row["estimated"] < row["high"]


def test_an_estimate_that_its_record_refutes_is_no_evidence_of_health() -> None:
    """The relation of labels to outputs has changed, which no estimate from outputs can show."""
    result = judge(drawn(2000, skill=2, seed=1), drawn(3000, skill=2, seed=2, relation=0.0))
    assert result.verdict is Verdict.NOT_ENOUGH_DATA and "no evidence" in result.message


@pytest.mark.parametrize("fields", [{"evaluated": None}, {"spec": SPEC.but(min_rows=5000)}], ids=["no scored rows", "few"])
def test_without_enough_rows_or_an_evaluation_there_is_no_verdict(fields: dict[str, Any]) -> None:
    assert judge(drawn(2000, skill=2, seed=1), **fields).verdict is Verdict.NOT_ENOUGH_DATA


def test_days_with_few_answers_are_put_together_in_the_record() -> None:
    few = drawn(200, skill=2, seed=3)
    assert sum(row["rows"] for row in judge(drawn(2000, skill=2, seed=1), few).tables["track_record"]) == 200
