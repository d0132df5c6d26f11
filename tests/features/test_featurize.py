"""Filling, labelling and the split by time: nothing later teaches something earlier."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.features.featurize import IllegalFeatures, fill_view, label_rows, last_known_day, midnight, split_by_time
from mlops_assets.spec.feature import FeatureView, TimeSplit
from mlops_assets.use_cases.flight_delay import USE_CASE

END = datetime(2013, 4, 1, tzinfo=UTC)
SPLIT = TimeSplit(test=timedelta(days=4), validation=timedelta(days=3))
TEST_START, VALIDATION_START = END - timedelta(days=4), END - timedelta(days=7)
HOURS = st.lists(st.tuples(st.integers(-24 * 20, 24 * 2), st.integers(0, 24 * 6)), min_size=1, max_size=60)
UTC_US = pl.Datetime("us", "UTC")


def known(hours: list[tuple[int, int]]) -> pl.DataFrame:
    """Rows with a moment (hours from END) and the hours until their truth is known."""
    moments = [END + timedelta(hours=at) for at, _ in hours]
    told = [moment + timedelta(hours=after) for moment, (_, after) in zip(moments, hours, strict=True)]
    return pl.DataFrame({"event_timestamp": moments, "known_at": told}, schema={"event_timestamp": UTC_US, "known_at": UTC_US})


@given(HOURS)
@settings(deadline=None)
def test_train_lies_before_validation_and_validation_before_test(hours: list[tuple[int, int]]) -> None:
    rows = split_by_time(known(hours), SPLIT, end=END)
    spans = {part: rows.filter(pl.col("split") == part)["event_timestamp"] for part in ("train", "validation", "test")}
    assert all(moment < VALIDATION_START for moment in spans["train"])
    assert all(VALIDATION_START <= moment < TEST_START for moment in spans["validation"])
    assert all(TEST_START <= moment < END for moment in spans["test"])


@given(HOURS)
@settings(deadline=None)
def test_what_teaches_was_known_before_the_next_part_began(hours: list[tuple[int, int]]) -> None:
    rows = split_by_time(known(hours), SPLIT, end=END)
    for part, bound in (("train", VALIDATION_START), ("validation", TEST_START)):
        assert all(moment < bound for moment in rows.filter(pl.col("split") == part)["known_at"])


@given(HOURS)
@settings(deadline=None)
def test_only_late_truths_and_moments_outside_are_left_out(hours: list[tuple[int, int]]) -> None:
    def stays(at: int, after: int) -> bool:
        moment, told = END + timedelta(hours=at), END + timedelta(hours=at + after)
        if moment >= TEST_START:
            return moment < END
        return told < (TEST_START if moment >= VALIDATION_START else VALIDATION_START)

    assert len(split_by_time(known(hours), SPLIT, end=END)) == sum(stays(at, after) for at, after in hours)


def test_a_truth_that_comes_just_in_time_counts_and_one_at_the_border_does_not() -> None:
    border = int((VALIDATION_START - END) / timedelta(hours=1))
    rows = known([(border - 5, 4), (border - 5, 5), (border - 5, 6)])
    assert split_by_time(rows, SPLIT, end=END)["split"].to_list() == ["train"]


def test_training_reaches_back_no_further_than_declared() -> None:
    rows = known([(-24 * day, 1) for day in range(8, 20)])
    bounded = split_by_time(rows, SPLIT.but(max_train=timedelta(days=5)), end=END)
    assert bounded["event_timestamp"].min() == VALIDATION_START - timedelta(days=5)
    assert len(split_by_time(rows, SPLIT, end=END)) == len(rows)


def test_the_last_known_day_is_the_newest_outcome() -> None:
    assert last_known_day(pl.LazyFrame({"day": [date(2013, 1, 3), date(2013, 1, 9), date(2013, 1, 5)]})) == date(2013, 1, 9)


def test_without_outcomes_the_error_says_to_land_some() -> None:
    with pytest.raises(IllegalFeatures, match=r"training_set · no validated outcome.*mlops land"):
        last_known_day(pl.LazyFrame(schema={"day": pl.Date}))


def view(transform: Any) -> FeatureView:
    return FeatureView(name="seen", description=".", tables=("facts",), entity=("who",), transform=transform)


def test_a_view_is_filled_for_whole_days_and_says_which() -> None:
    asked: list[tuple[datetime, datetime]] = []

    def transform(tables: Any, start: datetime, end: datetime) -> pl.LazyFrame:
        asked.append((start, end))
        return tables["facts"]

    moments = [midnight(date(2013, 1, 2)) + timedelta(hours=23, minutes=59), midnight(date(2013, 1, 1))]
    facts = pl.LazyFrame({"who": ["a", "a"], "event_timestamp": moments}, schema_overrides={"event_timestamp": UTC_US})
    rows = fill_view(view(transform), {"facts": facts}, first=date(2013, 1, 1), last=date(2013, 1, 2)).collect()
    assert asked == [(midnight(date(2013, 1, 1)), midnight(date(2013, 1, 3)))]
    assert rows["day"].to_list() == [date(2013, 1, 1), date(2013, 1, 2)]


def test_a_transform_that_forgets_its_entity_is_named() -> None:
    forgetful = view(lambda tables, start, end: tables["facts"].drop("who"))
    facts = pl.LazyFrame({"who": ["a"], "event_timestamp": [END]})
    with pytest.raises(IllegalFeatures, match=r"view seen .*without \['who'\]. Add these columns"):
        fill_view(forgetful, {"facts": facts}, first=date(2013, 1, 1), last=date(2013, 1, 1))


def test_a_flight_that_never_arrived_teaches_nothing() -> None:
    planned = pl.DataFrame({
        "carrier": ["UA", "UA"], "flight": [1, 2], "tailnum": ["N1", None], "origin": ["EWR", "EWR"], "dest": ["IAH", "IAH"],
        "sched_dep": [END, END], "distance": [1400.0, 1400.0],
    })  # fmt: skip
    arrived = planned.head(1).with_columns(arr_time=pl.lit(END + timedelta(hours=3)), arr_delay=pl.lit(20))
    rows = label_rows(USE_CASE, planned.lazy(), arrived.lazy()).collect()
    assert rows.select("flight", "late", "known_at", "event_timestamp").rows() == [
        (1, 1, END + timedelta(hours=3), END - timedelta(hours=2))
    ]
    assert "arr_delay" not in rows.columns and "distance" not in rows.columns
