"""What a drift monitor judges in addition to each input: answers, labels, correlations; and the season that it compares with."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.monitoring.drift import SAMPLE_ROWS, Served, monitor_drift
from mlops_assets.monitoring.monitor_result import MonitorResult
from mlops_assets.monitoring.training_window import TrainingWindow
from mlops_assets.monitoring.window import Window
from mlops_assets.spec.monitor import Drift
from mlops_assets.spec.task import Binary, Multiclass, Regression
from mlops_assets.statistics.mergeable_profile import Profile
from mlops_assets.statistics.profile import profile_reference
from mlops_assets.statistics.variation import count_periods
from mlops_assets.tasks import task_of
from mlops_assets.tasks.task import Task

HOUR, START = timedelta(hours=1), datetime(2013, 1, 7, tzinfo=UTC)  # a Monday
SPEC = Drift(window=timedelta(days=7), min_rows=300)
BINARY = task_of(Binary(label="late"))
MULTICLASS = task_of(Multiclass(label="digit", classes=("a", "b", "c")))
REGRESSION = task_of(Regression(label="bikers"))


@pytest.fixture(autouse=True)
def no_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Evidently's, which takes seconds and is tested in test_monitor_result.py."""
    monkeypatch.setattr("mlops_assets.monitoring.drift._page", lambda *_: None)
    return


def inputs(rng: np.random.Generator, rows: int, correlation: float = 0.6) -> pl.DataFrame:
    wind, other = rng.normal(size=(2, rows))
    return pl.DataFrame({"wind": wind, "rain": correlation * wind + np.sqrt(1 - correlation**2) * other})


def judge(
    spec: Drift, trained: TrainingWindow, served: pl.DataFrame, task: Task[Any] = BINARY, labels: pl.Series | None = None,
    end: datetime = START + timedelta(days=70),
) -> MonitorResult:  # fmt: skip
    known = pl.Series(task.name, []) if labels is None else labels
    window = Window(end - spec.window, end)
    return monitor_drift(
        spec, Served(window, served.lazy(), lambda bins: bins.profile(served.lazy()), known), lambda: trained, task=task, seed=0
    )


def trained_on(sample: pl.DataFrame, answers: pl.DataFrame | None = None) -> TrainingWindow:
    return TrainingWindow(1, profile_reference(sample, ["wind", "rain"], []), sample, answers=answers)


CASES: dict[str, tuple[Task[Any], Any, Any, Any]] = {
    "binary": (BINARY, "probability", lambda rng, n, shift: np.clip(rng.beta(2, 5, n) + shift * 0.4, 0, 1), lambda rng, n, shift: rng.uniform(size=n) < 0.2 + 0.4 * shift),
    "multiclass": (MULTICLASS, "decision", lambda rng, n, shift: rng.choice(list("abc"), n, p=[0.6 - 0.5 * shift, 0.3, 0.1 + 0.5 * shift]), lambda rng, n, shift: rng.choice(list("abc"), n, p=[0.6 - 0.5 * shift, 0.3, 0.1 + 0.5 * shift])),
    "regression": (REGRESSION, "prediction", lambda rng, n, shift: rng.normal(50 + 20 * shift, 10, n), lambda rng, n, shift: rng.normal(50 + 20 * shift, 10, n)),
}  # fmt: skip


@pytest.mark.parametrize("moved", [(), ("predictions",), ("labels",), ("predictions", "labels")], ids=str)
@pytest.mark.parametrize("kind", CASES)
def test_predictions_and_labels_have_verdicts_of_their_own_and_train_only_where_declared(
    kind: str, moved: tuple[str, ...]
) -> None:
    task, column, answer, truth = CASES[kind]
    rng = np.random.default_rng(0)
    sample = inputs(rng, 3000).with_columns(pl.Series(task.name, truth(rng, 3000, 0)))
    trained = trained_on(sample, pl.DataFrame({column: answer(rng, 3000, 0)}))
    served = inputs(rng, 2000).with_columns(pl.Series(column, answer(rng, 2000, "predictions" in moved)))
    labels = pl.Series(task.name, truth(rng, 1000, "labels" in moved))
    result = judge(SPEC, trained, served, task, labels)
    verdicts = {row["of"]: (row["name"], row["verdict"]) for row in result.tables["predictions_and_labels"]}
    expected = {of: Verdict.healthy_if(of not in moved) for of in ("predictions", "labels")}
    assert verdicts == {"predictions": (column, expected["predictions"]), "labels": (task.name, expected["labels"])}
    assert result.verdict is Verdict.healthy_if(not moved) and result.symptoms == [*moved]
    assert all((f"The {of} have drifted" in result.message) == (of in moved) for of in expected)
    assert result.figures["drifted_share"] == result.reason_to_train == 0
    assert judge(SPEC.but(trains_on_answers=True), trained, served, task, labels).reason_to_train == float(bool(moved))


def test_few_known_labels_are_not_enough_data_and_labels_of_another_kind_are_not_compared() -> None:
    rng = np.random.default_rng(0)
    sample = inputs(rng, 3000).with_columns(late=rng.uniform(size=3000) < 0.2)
    served = inputs(rng, 2000).with_columns(probability=pl.Series(rng.uniform(size=2000)))
    few = judge(SPEC, trained_on(sample), served, labels=pl.Series("late", [True] * 299))
    assert [row["verdict"] for row in few.tables["predictions_and_labels"]] == [Verdict.NOT_ENOUGH_DATA]
    assert few.verdict is Verdict.HEALTHY
    other = sample.with_columns(late=pl.lit("perhaps"))
    assert judge(SPEC, trained_on(other), served, labels=pl.Series("late", [True] * 900)).tables["predictions_and_labels"] == []


@pytest.mark.parametrize(("bound", "verdict"), [(None, Verdict.HEALTHY), (0.3, Verdict.ALARM), (1.9, Verdict.HEALTHY)])
def test_a_changed_correlation_is_shown_and_an_alarm_only_above_a_declared_bound(bound: float | None, verdict: Verdict) -> None:
    rng = np.random.default_rng(0)
    trained, served = trained_on(inputs(rng, 3000)), inputs(rng, 2000, correlation=-0.6)
    result = judge(SPEC.but(max_correlation_change=bound), trained, served)
    (pair,) = result.tables["correlations"]
    assert pair["columns"] == "wind and rain" and pair["change"] == pytest.approx(1.2, abs=0.1) and pair["p"] < 1e-6
    assert result.figures["max_correlation_change"] == pair["change"]
    assert result.verdict is verdict
    assert ("The correlation has changed of wind and rain (-0.6" in result.message) == (verdict is Verdict.ALARM)
    same = judge(SPEC.but(max_correlation_change=0.001), trained, inputs(rng, 2000))
    assert same.verdict is Verdict.HEALTHY, "chance explains it"


def weekly(rng: np.random.Generator, days: range) -> pl.DataFrame:
    """Of 50 rows a day: windier by far at weekends."""
    moments = [START + day * 24 * HOUR + index * HOUR / 3 for day in days for index in range(50)]
    windy = np.array([moment.weekday() > 4 for moment in moments])
    wind, rain = rng.normal(np.where(windy, 20, 0), 1), rng.normal(size=len(moments))
    frame = pl.DataFrame({"event_timestamp": moments, "wind": wind, "rain": rain})
    return frame.cast({"event_timestamp": pl.Datetime("us", "UTC")})


def test_a_calm_sunday_is_drift_from_other_weekends_and_not_from_all_days() -> None:
    rng = np.random.default_rng(0)
    history = weekly(rng, range(140))
    profiles = profile_reference(history, ["wind", "rain"], [])
    trained = TrainingWindow(1, profiles, history, periods=count_periods(history, profiles, "event_timestamp"))
    sunday = START + timedelta(days=147)  # its end
    windy, calm = weekly(rng, range(146, 147)), weekly(rng, range(144, 145))
    spec = Drift(window=timedelta(days=1), min_rows=40)
    verdicts = [
        judge(spec.but(reference=reference), trained, served, end=sunday).verdict
        for reference in ("training", "same_weekdays") for served in (windy, calm)
    ]  # fmt: skip
    assert verdicts == [Verdict.HEALTHY, Verdict.HEALTHY, Verdict.HEALTHY, Verdict.ALARM]


def test_a_season_that_the_training_does_not_have_is_named_and_all_rows_are_compared() -> None:
    rng = np.random.default_rng(0)
    history = weekly(rng, range(60))  # January to March
    profiles = profile_reference(history, ["wind", "rain"], [])
    spec = Drift(window=timedelta(days=7), min_rows=300, reference="same_months")
    trained = TrainingWindow(1, profiles, history, periods=count_periods(history, profiles, "event_timestamp"))
    july = judge(spec, trained, weekly(rng, range(60, 67)), end=datetime(2013, 7, 15, tzinfo=UTC))
    assert july.message.endswith("Compared with the whole training, which has too few rows of the same months: wind, rain.")
    february = judge(spec, trained, weekly(rng, range(60, 67)), end=datetime(2013, 2, 15, tzinfo=UTC))
    assert "whole training" not in february.message and february.verdict is july.verdict is Verdict.HEALTHY


def test_a_large_window_is_sampled_independently_of_the_order_of_its_rows() -> None:
    rows = pl.DataFrame({"prediction_id": [f"p-{number}" for number in range(100_000)]})
    window = Window(START, START + HOUR)
    samples = [
        Served(window, frame.lazy(), Profile, pl.Series("late", [])).sample(len(rows), seed=0) for frame in (rows, rows.reverse())
    ]
    assert len(samples[0]) == pytest.approx(SAMPLE_ROWS, rel=0.1)
    assert samples[0].equals(samples[1].reverse())
