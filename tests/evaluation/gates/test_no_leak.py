"""NoLeak on real flights: the departure's delay is stopped, by each sign; inputs known at the prediction pass."""

import json
import math
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops_assets.evaluation.gates.case import Case, Verdict
from mlops_assets.evaluation.judge import judge
from mlops_assets.features.request_features import entity_rows
from mlops_assets.spec.gate import NoLeak
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.tasks import task_of
from mlops_assets.training.train import fit
from mlops_assets.use_cases.flight_delay import USE_CASE
from mlops_assets.use_cases.flight_delay.airline import deliveries, package_folder
from mlops_assets.use_cases.flight_delay.transforms import late_label
from tests.evaluation.gates.real_case import case_of

NUMERIC, CATEGORICAL = ("minute_of_day", "distance", "temp", "precip", "visib"), ("carrier", "origin", "dest", "weekday")
TREES = HistGradientBoosting(max_iter=30, learning_rate=0.1, min_samples_leaf=50)
(GATE,) = (gate for gate in USE_CASE.gates if isinstance(gate, NoLeak))


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    """Every sixth flight of January to March 2013, with the weather two hours before; March's second half is the test."""
    tables: dict[str, list[pl.DataFrame]] = {}
    for delivery in deliveries(package_folder(), date(2013, 1, 1), date(2013, 3, 31)):
        tables.setdefault(delivery.table, []).append(delivery.rows)
    schedule, weather, outcomes = (pl.concat(tables[table]) for table in ("schedule", "weather", "outcomes"))
    truths = (
        late_label(outcomes.lazy())
        .collect()
        .join(outcomes.select(*USE_CASE.label.key, "dep_delay", "dep_time"), on=USE_CASE.label.key)
    )
    rows = (
        entity_rows(USE_CASE.features, schedule.lazy())
        .collect()
        .join(truths, on=USE_CASE.label.key)
        .sort("event_timestamp", "carrier", "flight")
    )
    hours = weather.select("origin", "temp", "precip", "visib", event_timestamp="observed_at").sort("event_timestamp")
    rows = rows.gather_every(6).join_asof(hours, on="event_timestamp", by="origin", check_sortedness=False)
    moment = pl.col("event_timestamp")
    march = datetime(2013, 3, 16), datetime(2013, 3, 8)
    split = pl.when(moment.dt.replace_time_zone(None) >= march[0]).then(pl.lit("test"))
    return rows.with_columns(
        split=split.when(moment.dt.replace_time_zone(None) >= march[1]).then(pl.lit("validation")).otherwise(pl.lit("train"))
    )


def candidate(rows: pl.DataFrame, *more: str, categorical: tuple[str, ...] = CATEGORICAL) -> Case:
    """A model of these rows and inputs, trained and exported as in production."""
    inputs: dict[str, Any] = {"numeric": (*NUMERIC, *more), "categorical": categorical, "task": task_of(USE_CASE.task)}
    return case_of(rows, fit(TREES, rows, label="late", **inputs).onnx)


def verdict(case: Case, gate: NoLeak = GATE) -> Verdict:
    result = judge((gate,), case)[0]
    json.dumps(result.to_dict(), allow_nan=False)
    assert result.passed == (result.measured <= result.bound == 1)
    return result


def test_a_candidate_that_reads_the_delay_of_the_departure_is_stopped(flights: pl.DataFrame) -> None:
    result = verdict(candidate(flights, "dep_delay"))
    assert not result.passed
    assert result.message.startswith("no_leak · dep_delay alone has auc 0.9")
    assert "above 0.85. Is dep_delay known at the moment of the prediction?" in result.message
    assert result.low < result.measured < result.high
    assert result.measured == pytest.approx((result.evidence["inputs"]["dep_delay"] - 0.5) / 0.35)


def test_the_same_candidate_without_it_passes(flights: pl.DataFrame) -> None:
    result = verdict(candidate(flights))
    assert result.passed
    assert result.measured < 1
    assert "a random split has auc" in result.message and "were not checked" in result.message
    assert set(result.evidence["inputs"]) == {*NUMERIC, *CATEGORICAL}


def test_the_defaults_stop_it_as_well(flights: pl.DataFrame) -> None:
    assert "dep_delay alone" in verdict(candidate(flights, "dep_delay"), NoLeak(max_split_gap=1)).message


def test_a_delay_that_is_hidden_in_a_category_is_stopped_too(flights: pl.DataFrame) -> None:
    rows = flights.with_columns(gate_closed=(pl.col("dep_delay") // 10).cast(pl.String))
    result = verdict(candidate(rows, categorical=(*CATEGORICAL, "gate_closed")))
    assert not result.passed
    assert "gate_closed alone has auc" in result.message


def test_an_input_that_names_the_day_is_stopped_by_the_random_split(flights: pl.DataFrame) -> None:
    """Days are late at random: no input alone predicts that, but a model that has learned from other rows of the day does."""
    day = pl.col("event_timestamp").dt.epoch("d")
    late_days = np.flatnonzero(np.random.default_rng(1).random(20_000) < 0.35).tolist()
    rows = flights.with_columns(day=day.cast(pl.Float64), late=day.is_in(late_days).cast(pl.Int8))
    result = verdict(candidate(rows, "day"))
    assert not result.passed
    assert "Rows of one moment resemble each other" in result.message
    assert result.measured == pytest.approx(result.evidence["splits"]["gap"] / GATE.max_split_gap)


def test_features_newer_than_the_prediction_fail_however_few(flights: pl.DataFrame) -> None:
    newer = pl.when(pl.int_range(pl.len()) == 7).then(pl.col("dep_time") + timedelta(days=1)).otherwise("event_timestamp")
    result = verdict(candidate(flights.with_columns(weather_timestamp=newer)))
    assert not result.passed
    assert result.measured == pytest.approx(1 + 1 / len(flights))
    assert "have a feature newer than the prediction or the label (by weather_timestamp). Join features as of" in result.message


def test_every_sign_that_fails_is_reported(flights: pl.DataFrame) -> None:
    newer = flights.with_columns(weather_timestamp="dep_time")
    result = verdict(candidate(newer, "dep_delay"))
    assert "dep_delay alone" in result.message and "(by weather_timestamp)" in result.message


def test_rows_of_one_class_never_pass(flights: pl.DataFrame) -> None:
    one = flights.with_columns(late=pl.when(pl.col("split") == "test").then(0).otherwise("late"))
    result = verdict(candidate(one))
    assert math.isnan(result.measured)
    assert "no input could be tried alone" in result.message and "the splits could not be compared" in result.message
