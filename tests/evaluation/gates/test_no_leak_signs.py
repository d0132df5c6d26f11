"""The signs of a leak, planted and absent, against slow implementations and scikit-learn."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mlops_assets.evaluation.gates.no_leak import NewerFeatures, explain_alone, newer_features, split_gap
from mlops_assets.statistics.alone import FOLDS, PRIOR_ROWS
from mlops_assets.training.signature import Signature
from mlops_assets.use_cases.flight_delay import USE_CASE as FLIGHTS
from tests.training.training_rows import CATEGORICAL, NUMERIC, training_rows

START = datetime(2013, 1, 1, tzinfo=UTC)


def reading(numeric: tuple[str, ...], categorical: tuple[str, ...]) -> Signature:
    return Signature(numeric, dict.fromkeys(categorical, ()))


def alone(rows: pl.DataFrame, numeric: tuple[str, ...] = (), categorical: tuple[str, ...] = ()) -> dict[str, float]:
    aucs = explain_alone(rows, reading(numeric, categorical), [rows["late"].to_numpy()], seed=0)
    return {name: auc.value for name, auc in aucs.items()}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), levels=st.integers(2, 50), slope=st.floats(-3, 3), holes=st.floats(0, 0.4))
def test_a_number_alone_explains_what_scikit_learn_says_of_its_rank_in_the_better_direction(
    seed: int, levels: int, slope: float, holes: float
) -> None:
    rng = np.random.default_rng(seed)
    late = (rng.random(400) < 0.4).astype(int)
    value = np.round(rng.normal(size=400) * levels / 4 + slope * late)
    missing = rng.random(400) < holes
    rows = pl.DataFrame({"late": late, "value": pl.Series(value).set(pl.Series(missing), None)})
    auc = roc_auc_score(late[~missing], value[~missing])
    gone = roc_auc_score(late, missing)
    assert alone(rows, ("value",))["value"] == pytest.approx(max(auc, 1 - auc, gone, 1 - gone))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), levels=st.integers(1, 30))
def test_a_category_alone_explains_what_the_rates_of_the_other_folds_say(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    value = rng.integers(0, levels, 300)
    late = (rng.random(300) < (value + 1) / (levels + 1)).astype(int)
    rows = pl.DataFrame({"late": late, "value": [None if level == 0 else f"v{level}" for level in value]})
    if min(late.sum(), 300 - late.sum()) < 30:
        return
    fold = np.random.default_rng(0).permutation(300) % FOLDS
    rates = [rate_elsewhere(value, late, fold, row) for row in range(300)]
    assert alone(rows, categorical=("value",))["value"] == pytest.approx(roc_auc_score(late, rates))


def rate_elsewhere(value: Any, late: Any, fold: Any, row: int) -> float:
    elsewhere = fold != fold[row]
    same = elsewhere & (value == value[row])
    return float((late[same].sum() + PRIOR_ROWS * late[elsewhere].mean()) / (same.sum() + PRIOR_ROWS))


def test_a_number_that_is_missing_exactly_when_late_explains_everything() -> None:
    rows = training_rows().with_columns(arrived=pl.when(pl.col("late") == 0).then(1.0))
    assert alone(rows, ("arrived",)) == {"arrived": 1.0}


def test_a_name_of_each_row_explains_nothing_alone() -> None:
    rows = training_rows().with_columns(name=pl.int_range(pl.len()).cast(pl.String))
    assert alone(rows, categorical=("name",))["name"] < 0.55


def test_the_strongest_input_comes_first_and_each_has_its_interval() -> None:
    aucs = explain_alone(training_rows(), reading(NUMERIC, CATEGORICAL), [training_rows()["late"].to_numpy()], seed=0)
    assert next(iter(aucs)) == "delay"
    assert set(aucs) == {*NUMERIC, *CATEGORICAL}
    assert all(auc.low <= auc.value <= auc.high for auc in aucs.values() if not math.isnan(auc.value))


def test_few_rows_of_a_class_explain_nothing() -> None:
    few = pl.concat([training_rows().filter(late=0), training_rows().filter(late=1).head(29)])
    assert all(math.isnan(auc) for auc in alone(few, NUMERIC, CATEGORICAL).values())


def of_one_day(rows: pl.DataFrame, seed: int = 5) -> pl.DataFrame:
    """Late as the day is, at random from day to day: only a model that was trained on the same day can know."""
    day = pl.Series(np.arange(len(rows)) // 30)
    late = np.random.default_rng(seed).random(len(rows) // 30 + 1) < 0.5
    flip = np.random.default_rng(seed + 1).random(len(rows)) < 0.1
    return rows.with_columns(day=day.cast(pl.Float64), late=pl.Series((late[day.to_numpy()] ^ flip).astype(int)))


def gap(rows: pl.DataFrame, *more: str) -> Any:
    return split_gap(rows, reading((*NUMERIC, *more), CATEGORICAL), FLIGHTS.label, seed=0)


def test_an_input_that_names_the_day_makes_a_random_split_far_better() -> None:
    comparison = gap(of_one_day(training_rows(6000)), "day")
    assert comparison.by_time == pytest.approx(0.5, abs=0.1)
    assert comparison.gap > 0.2 and comparison.low > 0.1
    assert comparison.low < comparison.gap < comparison.high
    assert comparison.gap == pytest.approx(comparison.random - comparison.by_time)


def test_rows_that_do_not_predict_each_other_leave_no_gap() -> None:
    comparison = gap(training_rows(6000))
    assert abs(comparison.gap) < 0.03
    assert comparison.low < 0.02 and comparison.high > -0.02
    assert comparison.rows == 600  # half of a fifth


def test_a_seed_finds_the_same_gap_again() -> None:
    assert gap(training_rows(2000)) == gap(training_rows(2000))


def test_test_rows_of_one_class_leave_the_gap_undefined() -> None:
    rows = training_rows().with_columns(late=pl.when(pl.col("split") == "test").then(0).otherwise("late"))
    comparison = gap(rows)
    assert math.isnan(comparison.gap)


def moments(**hours: list[int | None]) -> pl.DataFrame:
    """Columns of moments, in hours from the start."""
    return pl.DataFrame(
        {
            name: [None if hour is None else START + timedelta(hours=hour) for hour in hours_of_column]
            for name, hours_of_column in hours.items()
        },
        schema=dict.fromkeys(hours, pl.Datetime("us", "UTC")),
    )


def test_without_moments_of_features_the_sentence_reports_that_they_were_not_checked() -> None:
    newer = newer_features(moments(event_timestamp=[1, 2], known_at=[3, 4]))
    assert newer == NewerFeatures(0.0, 2, ())
    assert "were not checked" in newer.sentence()


def test_a_feature_newer_than_its_prediction_is_found_and_counted() -> None:
    rows = moments(event_timestamp=[2, 2, 2, 2], known_at=[5, 5, 5, 5], weather_timestamp=[1, 2, 3, None])
    assert newer_features(rows) == NewerFeatures(0.25, 4, ("weather_timestamp",))
    assert newer_features(rows).sentence() == (
        "25.00% of 4 rows have a feature newer than the prediction or the label (by weather_timestamp)"
    )


def test_a_label_that_was_known_before_its_prediction_leaves_the_features_newer() -> None:
    assert newer_features(moments(event_timestamp=[2, 2], known_at=[1, 3])).share == 0.5


def test_rows_without_any_other_moment_have_nothing_to_compare() -> None:
    assert newer_features(training_rows()).share == 0.0


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.none() | st.integers(0, 9), st.none() | st.integers(0, 9)), min_size=1
    )
)
def test_the_share_agrees_with_a_walk_over_the_rows(hours: list[tuple[int, int, int | None, int | None]]) -> None:
    def newer(moment: int, known: int, *features: int | None) -> bool:
        return moment > known or any(feature is not None and feature > min(moment, known) for feature in features)

    names = ("event_timestamp", "known_at", "a_timestamp", "b_timestamp")
    rows = moments(**{name: list(column) for name, column in zip(names, zip(*hours, strict=True), strict=True)})
    assert newer_features(rows).share == pytest.approx(sum(newer(*row) for row in hours) / len(hours))
