"""Realised performance: the right rows in each period, per version and together, and a window with exact edges."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from mlops_assets.monitoring.performance import realised, window_metrics
from mlops_assets.tasks import task_of
from mlops_assets.use_cases.flight_delay import USE_CASE

TASK = task_of(USE_CASE.task)
START = datetime(2013, 3, 30, tzinfo=UTC)


def outcomes(rows: int = 960, seed: int = 0) -> pl.DataFrame:
    """Four days, ten answers an hour; version 2 takes over on April 1."""
    rng = np.random.default_rng(seed)
    probability = rng.uniform(size=rows)
    at = [START + timedelta(hours=index // 10) for index in range(rows)]
    return pl.DataFrame(
        {
            "event_timestamp": pl.Series(at, dtype=pl.Datetime("us", "UTC")),
            "probability": probability,
            "late": (rng.uniform(size=rows) < probability).astype(int),
            "model_version": ["1" if moment.month == 3 else "2" for moment in at],
        }
    )


def by(period: Any, frame: pl.DataFrame | None = None, min_rows: int = 10) -> pl.DataFrame:
    frame = outcomes() if frame is None else frame
    return realised(TASK, frame, every={"day": "1d", "month": "1mo"}[period], label="late", min_rows=min_rows)


def test_days_and_versions_have_a_row_each_and_all_versions_come_last() -> None:
    found = by("day")
    assert [*found.schema] == ["period", "model_version", "rows", *TASK.MEANS, *TASK.metrics]
    assert found["period"].unique(maintain_order=True).to_list() == [date(2013, 3, 30) + timedelta(days=d) for d in range(4)]
    assert found["model_version"].to_list() == ["1", "all", "1", "all", "2", "all", "2", "all"]
    assert found["rows"].to_list() == [240] * 8


def test_a_month_measures_what_sklearn_does_on_its_rows() -> None:
    march = outcomes().filter(pl.col("event_timestamp").dt.month() == 3)
    found = by("month").row(0, named=True)
    assert (found["period"], found["rows"]) == (date(2013, 3, 1), 480)
    assert found["auc"] == pytest.approx(roc_auc_score(march["late"], march["probability"]))
    assert found["label_rate"] == pytest.approx(march["late"].mean())
    assert found["mean_probability"] == pytest.approx(march["probability"].mean())


def test_two_versions_in_one_period_are_measured_apart_and_together() -> None:
    mixed = outcomes().with_columns(model_version=pl.Series(["1", "2"] * 480))
    april = by("month", mixed).filter(pl.col("period") == date(2013, 4, 1))
    assert april.select("model_version", "rows").rows() == [("1", 240), ("2", 240), ("all", 480)]


def test_too_few_rows_are_counted_but_not_measured() -> None:
    found = by("day", min_rows=241)
    assert found["rows"].sum() == 8 * 240
    assert found["auc"].null_count() == found["brier"].null_count() == 8
    assert found["label_rate"].null_count() == 0


def test_one_class_has_a_brier_but_no_auc() -> None:
    found = by("day", outcomes().with_columns(late=pl.lit(0)))
    assert found["auc"].null_count() == 8
    assert found["brier"].null_count() == 0


def test_rows_without_a_label_wait() -> None:
    waiting = outcomes().with_columns(late=pl.when(pl.int_range(pl.len()) < 240).then(None).otherwise("late"))
    assert by("day", waiting)["period"].min() == date(2013, 3, 31)


def test_no_outcomes_give_an_empty_table() -> None:
    assert by("month", outcomes(0)).is_empty()


def test_the_metrics_of_a_window_are_sklearns_within_their_intervals() -> None:
    rows = outcomes()
    auc = window_metrics(TASK, rows, label="late", seed=0)["auc"]
    assert auc.value == pytest.approx(roc_auc_score(rows["late"], rows["probability"]))
    assert auc.low < auc.value < auc.high
