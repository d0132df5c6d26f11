"""The monitors' verdicts over served predictions, as plain values."""

import math
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops_assets.evaluation.evaluate import Evaluation, Importance
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.monitoring.drift import Served
from mlops_assets.monitoring.drift import monitor_drift as judge
from mlops_assets.monitoring.monitor_result import MonitorResult
from mlops_assets.monitoring.performance import monitor_performance
from mlops_assets.monitoring.stored_periods import Periods, realised
from mlops_assets.monitoring.training_window import TrainingWindow
from mlops_assets.monitoring.window import Window
from mlops_assets.spec.monitor import Drift, Performance
from mlops_assets.spec.trigger import OnPerformance
from mlops_assets.statistics.profile import profile_reference, profiles_to_json
from mlops_assets.statistics.variation import count_periods
from mlops_assets.tasks import task_of
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.training.training_rows import CATEGORICAL, NUMERIC, training_rows

CASE = USE_CASE.but(features=USE_CASE.features.but(numeric=NUMERIC, categorical=CATEGORICAL))
ROWS = training_rows(1200)
TASK = task_of(CASE.task)
DRIFT = Drift(window=timedelta(days=30), min_rows=500)


def monitor_drift(
    spec: Drift, rows: pl.DataFrame, read: Callable[[], TrainingWindow] | None, *, labels: pl.Series | None = None, **options: Any
) -> MonitorResult:
    """As the asset, of rows in memory and by default no known label."""
    label = pl.Series(CASE.label.name, []) if labels is None else labels
    end = datetime(2013, 7, 1, tzinfo=UTC)
    return judge(
        spec, Served(Window(end - spec.window, end), rows.lazy(), lambda bins: bins.profile(rows.lazy()), label), read, **options
    )


def window() -> TrainingWindow:
    return TrainingWindow(3, profile_reference(ROWS, NUMERIC, CATEGORICAL), ROWS)


def test_the_rows_it_was_trained_on_have_not_drifted() -> None:
    result = monitor_drift(DRIFT, ROWS, window, task=TASK, seed=0)
    assert result.verdict is Verdict.HEALTHY and result.figures["drifted_share"] == 0
    assert result.page and result.pictures["psi"].startswith(b"\x89PNG")


def test_a_shifted_input_is_an_alarm_that_names_it() -> None:
    shifted = ROWS.with_columns(pl.col(name) * 3 + 50 for name in NUMERIC)
    result = monitor_drift(DRIFT, shifted, window, task=TASK, seed=0)
    assert result.verdict is Verdict.ALARM
    assert "from version 3's training window" in result.message and NUMERIC[0] in result.message
    assert result.tables["columns"][0]["changed"] == "values and new values"


def test_one_input_in_another_unit_is_an_alarm_with_its_evidence_whatever_the_others_do() -> None:
    other_unit = ROWS.with_columns(pl.col(NUMERIC[1]) * 1.8 + 32)
    result = monitor_drift(DRIFT, other_unit, window, task=TASK, seed=0)
    assert result.verdict is Verdict.ALARM and result.symptoms == [NUMERIC[1]]
    assert f"1 of {len(NUMERIC) + len(CATEGORICAL)} inputs have drifted" in result.message
    assert f": {NUMERIC[1]} (values: PSI " in result.message and ", at most 0.25)." in result.message
    (row,) = result.tables["drifted"]
    assert row["name"] == NUMERIC[1] == result.tables["columns"][0]["name"] and row["excess"] > 1
    assert "importance" not in result.message, "it is not known"
    assert result.reason_to_train == pytest.approx(1 / (len(NUMERIC) + len(CATEGORICAL)))


@pytest.mark.parametrize(
    ("losses", "share"),
    [({NUMERIC[1]: 0.06, NUMERIC[0]: 0.02}, 0.75), ({NUMERIC[0]: 0.02, NUMERIC[1]: -0.01}, 0.0), ({NUMERIC[1]: None}, None)],
    ids=["important", "useless", "undefined"],
)
def test_the_importance_of_drifted_inputs_weighs_what_trains_and_not_what_is_reported(
    losses: dict[str, float | None], share: float | None
) -> None:
    importance = tuple(Importance(name, math.nan if loss is None else loss, 0.0, 0.0) for name, loss in losses.items())
    moment = datetime(2013, 1, 1, tzinfo=UTC)
    evaluation = Evaluation("3", 1, {}, moment, moment, {}, [], {}, importance=importance).to_json().encode()
    parquet = BytesIO()
    ROWS.write_parquet(parquet)
    profiles = profiles_to_json(window().profiles).encode()
    trained = TrainingWindow.from_artifacts(3, profiles, parquet.getvalue(), evaluation=evaluation, periods=None)
    other_unit = ROWS.with_columns(pl.col(NUMERIC[1]) * 1.8 + 32)
    result = monitor_drift(DRIFT, other_unit, lambda: trained, task=TASK, seed=0)
    assert result.verdict is Verdict.ALARM and result.symptoms == [NUMERIC[1]]
    assert result.reason_to_train == pytest.approx(share if share is not None else 1 / len(trained.profiles))
    assert sum(trained.importance().values()) == pytest.approx(1)
    assert (f"which carry {share or 0:.0%} of the importance" in result.message) is (share is not None)


def test_an_input_drifts_only_above_the_changes_between_windows_of_the_training_where_these_are_stored() -> None:
    """Weeks of warm and cold days: a cold week differs from the whole, but not more than the weeks of the training do."""
    rng, start, name = np.random.default_rng(0), datetime(2013, 1, 1, tzinfo=UTC), NUMERIC[0]
    weeks = 8 * np.sin(np.arange(100 * 60) // (7 * 60))
    trained = pl.DataFrame({"event_timestamp": [start + index * timedelta(minutes=24) for index in range(6000)]}).with_columns(
        pl.Series(name, weeks + rng.normal(size=6000))
    )
    profiles, parquet, counts = profile_reference(trained, [name], []), BytesIO(), BytesIO()
    trained.write_parquet(parquet)
    count_periods(trained, profiles, "event_timestamp").write_parquet(counts)
    cold, spec = trained.slice(4 * 7 * 60, 420), Drift(window=timedelta(days=7), min_rows=100)
    results = [
        monitor_drift(spec, rows, lambda stored=stored: TrainingWindow.from_artifacts(
            3, profiles_to_json(profiles).encode(), parquet.getvalue(), evaluation=None, periods=stored
        ), task=TASK, seed=0)
        for stored, rows in ((None, cold), (counts.getvalue(), cold), (counts.getvalue(), cold.with_columns(pl.col(name) - 9)))
    ]  # fmt: skip
    assert [one.verdict for one in results] == [Verdict.ALARM, Verdict.HEALTHY, Verdict.ALARM]
    before, after, _ = (one.tables["columns"][0]["max_psi"] for one in results)
    assert before == spec.max_psi < after


def test_evidentlys_page_draws_the_inputs_that_moved_most() -> None:
    """It takes time and space for each, and hundreds of pictures are not read."""
    inputs = [f"input_{number:02}" for number in range(20)]
    rows = pl.DataFrame({name: np.random.default_rng(number).normal(size=800) for number, name in enumerate(inputs)})
    trained = TrainingWindow(3, profile_reference(rows, inputs, []), rows)
    result = monitor_drift(DRIFT, rows.with_columns(pl.col("input_19") + 5), lambda: trained, task=TASK, seed=0)
    drawn = {name for name in inputs if name in (result.page or "")}
    assert len(result.tables["columns"]) == len(inputs) and drawn == {row["name"] for row in result.tables["columns"][:12]}
    assert "input_19" in drawn


def test_inputs_that_the_log_no_longer_has_are_named_and_the_others_compared() -> None:
    """A feature was removed from the declaration, and another one added, while the champion that reads the former serves."""
    recent = ROWS.drop(NUMERIC[0], CATEGORICAL[0]).with_columns(added=1.0)
    result = monitor_drift(DRIFT, recent, window, task=TASK, seed=0)
    gone = ", ".join(sorted([NUMERIC[0], CATEGORICAL[0]]))
    assert result.verdict is Verdict.HEALTHY
    assert result.message.endswith(f"Not compared, as the log no longer has them: {gone}.")
    assert len(result.tables["columns"]) == len(NUMERIC) + len(CATEGORICAL) - 2 and result.page
    nothing = monitor_drift(DRIFT, ROWS.select(added=1.0).sample(600, seed=0, with_replacement=True), window, task=TASK, seed=0)
    assert nothing.verdict is Verdict.ALARM and nothing.message.startswith("No input of version 3 can be compared.")


@pytest.mark.parametrize("rows", [0, DRIFT.min_rows - 1])
def test_too_few_rows_are_no_verdict_and_read_no_training_window(rows: int) -> None:
    def unread() -> TrainingWindow:
        raise AssertionError("the training window was read")

    result = monitor_drift(DRIFT, ROWS.head(rows), unread, task=TASK, seed=0)
    assert result.verdict is Verdict.NOT_ENOUGH_DATA
    assert result.message == f"{rows} served requests in the window; a verdict needs {DRIFT.min_rows}."


def test_evidently_is_loaded_only_for_a_page() -> None:
    code = "import sys, mlops_assets.monitoring.drift; print('evidently' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def periods(known: pl.DataFrame) -> Periods:
    return Periods(*(realised(TASK, known, every=every, label=CASE.label.name, min_rows=100) for every in ("1d", "1mo")))


@pytest.mark.parametrize(("better", "verdict"), [(True, Verdict.HEALTHY), (False, Verdict.ALARM)], ids=["better", "worse"])
def test_performance_is_judged_by_the_declared_bound(better: bool, verdict: Verdict) -> None:
    truth = pl.int_range(400) % 2 == 0
    start = datetime(2013, 5, 1, tzinfo=UTC)
    known = pl.DataFrame({"n": range(400)}).with_columns(
        truth.alias(CASE.label.name),
        pl.when(truth == better).then(0.9).otherwise(0.1).alias("probability"),
        event_timestamp=pl.lit(start) + pl.int_range(400) * timedelta(minutes=30),
        model_version=pl.lit(1),
    )
    bounds, spec = [OnPerformance(metric="auc", bound=0.7)], Performance(window=timedelta(days=30), min_rows=100)
    result = monitor_performance(
        spec, bounds, task=TASK, label=CASE.label.name, periods=periods(known), recent=known, evaluation=None, seed=0
    )
    assert result.verdict is verdict
    assert ("is below 0.7" in result.message) is not better
    assert ("over the last 30 days is" in result.message) is better
    assert len(result.tables["by_month"]) >= 1 and "auc" in result.pictures


@pytest.mark.parametrize("answer", [0.0, 0.25, 1.0])
def test_equal_answers_are_an_alarm_of_every_monitor_that_judges_them(answer: float) -> None:
    same = ROWS.with_columns(probability=pl.lit(answer))
    drifted = monitor_drift(DRIFT, same, window, task=TASK, seed=0)
    known = same.with_columns(pl.int_range(pl.len()).mod(2).alias(CASE.label.name), model_version=pl.lit(1))
    judged = monitor_performance(
        Performance(min_rows=100),
        [],
        task=TASK,
        label=CASE.label.name,
        periods=periods(known),
        recent=known,
        evaluation=None,
        seed=0,
    )
    for result in (drifted, judged):
        assert result.verdict is Verdict.ALARM
        assert result.message.startswith(f"All 1,200 answers in the window are {answer:.4g}, whatever their inputs.")


def test_one_other_answer_is_enough_for_a_verdict_on_the_inputs() -> None:
    two = ROWS.with_columns(probability=pl.when(pl.int_range(pl.len()) == 7).then(0.3).otherwise(0.2))
    assert monitor_drift(DRIFT, two, window, task=TASK, seed=0).verdict is Verdict.HEALTHY


def test_outcomes_of_one_class_are_not_enough_data() -> None:
    known = ROWS.with_columns(
        pl.lit(1).alias(CASE.label.name), probability=pl.int_range(pl.len()) / pl.len(), model_version=pl.lit(1)
    )
    bounds, spec = [OnPerformance(metric="auc", bound=0.7)], Performance(min_rows=100)
    result = monitor_performance(
        spec, bounds, task=TASK, label=CASE.label.name, periods=periods(known), recent=known, evaluation=None, seed=0
    )
    assert result.verdict is Verdict.NOT_ENOUGH_DATA
    assert result.message == "auc is undefined on the 1,200 known outcomes of the window (one class only)."
