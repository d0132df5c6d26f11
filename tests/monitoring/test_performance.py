"""Realised performance: the right rows in each period, per version and together, and a window with exact edges."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from deltalake import CommitProperties
from sklearn.metrics import roc_auc_score

from mlops_assets.monitoring.performance import monitor_performance, window_metrics
from mlops_assets.monitoring.stored_periods import Periods, StoredPeriods, realised
from mlops_assets.serving.log.predictions_table import DAYS
from mlops_assets.spec.monitor import Performance
from mlops_assets.spec.rollout import BusinessFigure
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
    periods = by("day")
    assert [*periods.schema] == ["period", "model_version", "rows", *TASK.MEANS, *TASK.metrics]
    assert periods["period"].unique(maintain_order=True).to_list() == [date(2013, 3, 30) + timedelta(days=d) for d in range(4)]
    assert periods["model_version"].to_list() == ["1", "all", "1", "all", "2", "all", "2", "all"]
    assert periods["rows"].to_list() == [240] * 8


def test_a_month_measures_what_sklearn_does_on_its_rows() -> None:
    march = outcomes().filter(pl.col("event_timestamp").dt.month() == 3)
    period = by("month").row(0, named=True)
    assert (period["period"], period["rows"]) == (date(2013, 3, 1), 480)
    assert period["auc"] == pytest.approx(roc_auc_score(march["late"], march["probability"]))
    assert period["label_rate"] == pytest.approx(march["late"].mean())
    assert period["mean_probability"] == pytest.approx(march["probability"].mean())


def test_two_versions_in_one_period_are_measured_separately_and_together() -> None:
    mixed = outcomes().with_columns(model_version=pl.Series(["1", "2"] * 480))
    april = by("month", mixed).filter(pl.col("period") == date(2013, 4, 1))
    assert april.select("model_version", "rows").rows() == [("1", 240), ("2", 240), ("all", 480)]


def test_too_few_rows_are_counted_but_not_measured() -> None:
    periods = by("day", min_rows=241)
    assert periods["rows"].sum() == 8 * 240
    assert periods["auc"].null_count() == periods["brier"].null_count() == 8
    assert periods["label_rate"].null_count() == 0


def test_one_class_has_a_brier_but_no_auc() -> None:
    periods = by("day", outcomes().with_columns(late=pl.lit(0)))
    assert periods["auc"].null_count() == 8
    assert periods["brier"].null_count() == 0


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


def test_periods_with_a_changed_outcome_alone_are_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = StoredPeriods(tmp_path / "periods.parquet", Performance(min_rows=100), TASK, "late")
    path, measured = tmp_path / "outcomes.delta", list[tuple[str, int]]()

    def counted(task: Any, rows: pl.DataFrame, **options: Any) -> pl.DataFrame:
        measured.extend([(options["every"], len(rows))] if len(rows) else [])
        return realised(task, rows, **options)

    monkeypatch.setattr("mlops_assets.monitoring.stored_periods.realised", counted)

    def refresh(changed: Sequence[date] | None = None) -> None:
        measured.clear()
        frame = rows if changed is None else rows.filter(pl.col("day").is_in(changed))
        facts = {} if changed is None else {DAYS: msgspec.json.encode(changed).decode()}
        names = ", ".join(f"DATE '{day}'" for day in changed or ())
        options = {"predicate": f"day IN ({names})"} if changed else {"schema_mode": "overwrite", "partition_by": "day"}
        options |= {"commit_properties": CommitProperties(facts)}
        frame.write_delta(path, mode="overwrite", delta_write_options=options)
        realised_periods = stored.refresh(path)
        order = [*realised_periods.by_day.columns[:2]]
        for periods, every, min_rows in ((realised_periods.by_day, "1d", 50), (realised_periods.by_month, "1mo", 100)):
            whole = realised(TASK, rows, every=every, label="late", min_rows=min_rows)  # type: ignore[arg-type]
            assert periods.sort(order).equals(whole.sort(order))
        assert realised_periods.rows == len(rows.drop_nulls("late"))

    rows = outcomes().with_columns(day=pl.col("event_timestamp").dt.date())
    refresh()
    assert sorted(measured) == [*[("1d", 240)] * 4, *[("1mo", 480)] * 2]
    rows = rows.with_columns(late=pl.when(pl.col("day") == date(2013, 4, 1)).then(1 - pl.col("late")).otherwise("late"))
    refresh([date(2013, 4, 1)])
    assert sorted(measured) == [("1d", 240), ("1mo", 480)]
    rows = rows.filter(pl.col("day") != date(2013, 3, 30))
    refresh([date(2013, 3, 30)])
    stored.refresh(path)
    assert measured == [("1mo", 240)], "and nothing more once it is stored"
    stored = stored._replace(spec=Performance(min_rows=99))
    assert len(stored.refresh(path).by_day) == 6 and len(measured) == 1 + 3 + 2, "another declaration"


def test_a_declared_figure_has_its_mean_by_period_and_of_the_window() -> None:
    cost = BusinessFigure(
        name="cost", low=0, high=5, max_loss=1, higher_is_better=False,
        of=lambda rows: 9 * ((pl.col("probability") < 0.5) & (pl.col("late") == 1)).cast(pl.Int64),
    )  # fmt: skip
    rows = outcomes()
    missed = ((rows["probability"] < 0.5) & (rows["late"] == 1)).to_numpy()
    days = realised(TASK, rows, every="1d", label="late", min_rows=10, figures=[cost]).filter(model_version="all")
    assert days["cost"].to_list() == pytest.approx([5 * missed[start : start + 240].mean() for start in range(0, 960, 240)])
    periods = Periods(days, days)
    spec = Performance(min_rows=100, figures=(cost,))
    result = monitor_performance(spec, [], task=TASK, label="late", periods=periods, recent=rows, evaluation=None, seed=0)
    assert result.figures["window_cost"] == pytest.approx(5 * missed.mean())


def test_a_table_without_an_outcome_has_no_period(tmp_path: Path) -> None:
    empty = outcomes().head(0).with_columns(day=pl.col("event_timestamp").dt.date())
    empty.write_delta(tmp_path / "outcomes.delta", delta_write_options={"partition_by": "day"})
    stored = StoredPeriods(tmp_path / "periods.parquet", Performance(), TASK, "late")
    assert stored.refresh(tmp_path / "outcomes.delta").rows == stored.refresh(tmp_path / "outcomes.delta").rows == 0
