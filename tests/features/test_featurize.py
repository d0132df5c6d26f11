"""Filling, labelling and the split by time: no later row influences an earlier part."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.features.featurize import (
    IllegalFeatures,
    describe_constant_inputs,
    end_of_known,
    fill_view,
    known_labels,
    label_rows,
    training_rows,
)
from mlops_assets.foundation.calendars import UTC_DAYS
from mlops_assets.foundation.grains import calendar_of
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.grain import Daily, Hourly, Monthly, Snapshot, Weekly
from mlops_assets.spec.split import TimeSplit
from mlops_assets.training.splits.by_time import part_windows, split_by_time
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.foundation.days import midnight

END = datetime(2013, 4, 1, tzinfo=UTC)
SPLIT = TimeSplit(test=timedelta(days=4), validation=timedelta(days=3))
TEST_START, VALIDATION_START = END - timedelta(days=4), END - timedelta(days=7)
HOURS = st.lists(st.tuples(st.integers(-24 * 20, 24 * 2), st.integers(0, 24 * 6)), min_size=1, max_size=60)
UTC_US = pl.Datetime("us", "UTC")


def known(hours: list[tuple[int, int]]) -> pl.DataFrame:
    """Rows with a moment (hours from END) and the hours until their truth is known."""
    moments = [END + timedelta(hours=at) for at, _ in hours]
    known_at = [moment + timedelta(hours=after) for moment, (_, after) in zip(moments, hours, strict=True)]
    return pl.DataFrame(
        {"event_timestamp": moments, "known_at": known_at}, schema={"event_timestamp": UTC_US, "known_at": UTC_US}
    )


@given(HOURS)
@settings(deadline=None)
def test_train_is_before_validation_and_validation_before_test(hours: list[tuple[int, int]]) -> None:
    rows = split_by_time(known(hours), SPLIT, end=END)
    spans = {part: rows.filter(pl.col("split") == part)["event_timestamp"] for part in ("train", "validation", "test")}
    assert all(moment < VALIDATION_START for moment in spans["train"])
    assert all(VALIDATION_START <= moment < TEST_START for moment in spans["validation"])
    assert all(TEST_START <= moment < END for moment in spans["test"])


@given(HOURS)
@settings(deadline=None)
def test_training_rows_were_known_before_the_next_part_began(hours: list[tuple[int, int]]) -> None:
    rows = split_by_time(known(hours), SPLIT, end=END)
    for part, bound in (("train", VALIDATION_START), ("validation", TEST_START)):
        assert all(moment < bound for moment in rows.filter(pl.col("split") == part)["known_at"])


@given(HOURS)
@settings(deadline=None)
def test_only_late_truths_and_moments_outside_are_left_out(hours: list[tuple[int, int]]) -> None:
    def stays(at: int, after: int) -> bool:
        moment, known_at = END + timedelta(hours=at), END + timedelta(hours=at + after)
        if moment >= TEST_START:
            return moment < END
        return known_at < (TEST_START if moment >= VALIDATION_START else VALIDATION_START)

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


@given(HOURS, st.integers(0, 24 * 40))
@settings(deadline=None)
def test_a_label_that_takes_no_longer_than_declared_is_never_dropped_as_late(hours: list[tuple[int, int]], delay: int) -> None:
    rows, split = known(hours), SPLIT.but(label_delay=timedelta(hours=delay))
    windows, parts = part_windows(split, END), split_by_time(rows, split, end=END)
    for name, window in windows.items():
        in_time = rows.filter(window.moments(), pl.col("known_at") - pl.col("event_timestamp") < timedelta(hours=delay))
        ours = parts.filter(split=name)
        assert len(in_time.join(ours, on=rows.columns, how="anti")) == 0
        assert window.known_before is None or all(moment < window.known_before for moment in ours["known_at"])
    assert windows["train"].stop + split.label_delay == windows["validation"].start
    assert windows["validation"].stop + split.label_delay == windows["test"].start
    assert windows["test"].stop + split.label_delay == END


def late_labels(*, days: int, delay: timedelta) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """One flight a day, and its outcome after `delay`, as far as it has landed by END."""
    moments = [END - timedelta(days=day) for day in range(days, 0, -1)]
    flights = pl.DataFrame({
        "carrier": "UA", "flight": range(1, days + 1), "tailnum": "N1", "origin": "EWR", "dest": "IAH",
        "sched_dep": [moment + timedelta(hours=2) for moment in moments],
    }, schema_overrides={"sched_dep": UTC_US})  # fmt: skip
    arrived = flights.with_columns(arr_time=pl.col("sched_dep") - timedelta(hours=2) + delay, arr_delay=pl.col("flight") % 2 * 60)
    arrived = arrived.with_columns(day=pl.col("arr_time").dt.date()).filter(pl.col("arr_time") < END)
    return flights.lazy(), arrived.lazy()


SLOW = USE_CASE.but(split=TimeSplit(test=timedelta(days=30), validation=timedelta(days=14)))


def test_labels_that_come_later_than_a_part_is_long_are_named_as_the_cause() -> None:
    with pytest.raises(IllegalFeatures) as error:
        training_rows(SLOW, *late_labels(days=200, delay=timedelta(days=21)), now=END)
    assert str(error.value) == (
        "training_set · validation has no row: it takes requests from 2013-02-16 00:00:00+00:00 to 2013-03-02 00:00:00+00:00 with "
        "labels known before 2013-03-02 00:00:00+00:00, but 14 labels there became known later. The 179 labelled requests are from "
        "2012-09-13 00:00:00+00:00 to 2013-03-10 00:00:00+00:00; their labels became known 21 days later at the median, 21 days at "
        "most; split.label_delay is 0 h. Set split.label_delay to the time that labels take, shorten the parts, or land more days."
    )


@pytest.mark.parametrize("delay", [timedelta(hours=3), timedelta(days=21), timedelta(days=45)], ids=str)
def test_with_the_declared_label_delay_every_part_is_whole(delay: timedelta) -> None:
    declared = SLOW.but(split=SLOW.split.but(label_delay=delay))
    parts = training_rows(declared, *late_labels(days=300, delay=delay), now=END)
    counts = dict(parts["split"].value_counts().iter_rows())
    assert abs(counts["test"] - 30) <= 1 and abs(counts["validation"] - 14) <= 1 and counts["train"] > 100


def test_too_few_days_for_the_split_are_named() -> None:
    with pytest.raises(IllegalFeatures, match=r"train has no row: it takes requests to 2013-02-16 .* or land more days"):
        training_rows(SLOW, *late_labels(days=40, delay=timedelta(hours=3)), now=END)


def test_requests_without_any_label_are_named() -> None:
    flights, arrived = late_labels(days=40, delay=timedelta(hours=3))
    with pytest.raises(IllegalFeatures, match="no request has a label with the same carrier, flight, origin, sched_dep"):
        training_rows(SLOW, flights, arrived.with_columns(arr_delay=pl.lit(None, pl.Int64)), now=END)


@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64, pl.Boolean])
def test_a_label_without_a_value_or_moment_is_not_known(dtype: Any) -> None:
    def transform(rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows

    rows = pl.LazyFrame({"id": [1, 2, 3, 4], "late": [1, 0, None, 1], "known_at": [END, END, END, None]})
    rows = rows.cast({"late": dtype, "known_at": UTC_US})
    if dtype == pl.Float64:
        rows = rows.with_columns(late=pl.when(pl.col("id") == 2).then(float("nan")).otherwise("late"))
    known_ids = (
        known_labels(USE_CASE.but(task=USE_CASE.task.but(label=USE_CASE.label.but(transform=transform))), rows)
        .collect()["id"]
        .to_list()
    )
    assert known_ids == ([1] if dtype == pl.Float64 else [1, 2])


def test_a_flight_without_a_label_does_not_end_the_training() -> None:
    flights, arrived = late_labels(days=300, delay=timedelta(hours=3))
    gone = arrived.with_columns(arr_delay=pl.when(pl.col("flight") % 10 == 3).then(None).otherwise("arr_delay"))
    rows = training_rows(SLOW, flights, gone, now=END)
    assert rows["late"].null_count() == 0
    assert sorted(set(rows["flight"] % 10)) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_the_last_known_day_is_the_newest_outcome() -> None:
    days = pl.LazyFrame({"day": [date(2013, 1, 3), date(2013, 1, 9), date(2013, 1, 5)]})
    assert end_of_known(USE_CASE, days, now=END) == datetime(2013, 1, 10, tzinfo=UTC)


def test_one_outcome_of_another_time_does_not_move_the_last_known_day() -> None:
    days = [date(2013, 1, day) for day in range(1, 10) for _ in range(200)]
    rows = pl.LazyFrame({"day": [*days, date(2013, 12, 1)]})
    assert end_of_known(USE_CASE, rows, now=datetime(2014, 1, 1, tzinfo=UTC)) == datetime(2013, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("grain", "end"),
    [
        (Hourly(tz="Asia/Kolkata"), datetime(2013, 1, 9, 13, 30, tzinfo=UTC)), (Daily(tz="Asia/Kolkata"), datetime(2013, 1, 9, 18, 30, tzinfo=UTC)),
        (Weekly(), datetime(2013, 1, 14, tzinfo=UTC)), (Monthly(), datetime(2013, 2, 1, tzinfo=UTC)),
        (Snapshot(), datetime(2013, 1, 9, 12, 31, 0, 1, tzinfo=UTC)),
    ],
    ids=str,
)  # fmt: skip
def test_labels_are_known_until_the_end_of_their_partition_and_of_a_snapshot_until_the_newest(grain: Any, end: datetime) -> None:
    use_case = USE_CASE.but(
        sources=tuple(one.but(grain=grain) if one.table == "outcomes" else one for one in USE_CASE.sources),
        contracts=tuple(one.but(day=None, expectations=()) for one in USE_CASE.contracts),
        features=USE_CASE.features.but(views=tuple(view for view in USE_CASE.features.views if "outcomes" not in view.tables)),
    )
    arrived, calendar = late_labels(days=3, delay=timedelta(hours=3))[1].head(2).collect(), calendar_of(grain)
    moments = pl.Series([datetime(2013, 1, 9, 12, 31, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)], dtype=UTC_US)
    stored = pl.DataFrame([calendar.stored(calendar.of(moment)) for moment in moments])
    truths = arrived.drop("day").with_columns(arr_time=moments).hstack(stored).lazy()
    assert end_of_known(use_case, truths, now=datetime(2014, 1, 1, tzinfo=UTC)) == end


@pytest.mark.parametrize("dated", [datetime(2099, 1, 1, tzinfo=UTC), END + timedelta(days=1)], ids=str)
def test_outcomes_dated_after_the_run_change_nothing_of_its_training(dated: datetime) -> None:
    flights, arrived = late_labels(days=300, delay=timedelta(hours=3))
    stray = flights.tail(1).with_columns(flight=pl.lit(9999, pl.Int64))
    late = stray.with_columns(arr_time=pl.lit(dated, UTC_US), arr_delay=pl.lit(60, pl.Int64), day=pl.lit(dated.date()))
    rows = training_rows(SLOW, pl.concat([flights, stray]), pl.concat([arrived, late], how="vertical_relaxed"), now=END)
    assert rows.equals(training_rows(SLOW, flights, arrived, now=END))


def test_without_outcomes_the_error_says_to_land_some() -> None:
    with pytest.raises(IllegalFeatures, match=r"training_set · no validated outcome.*mlops land"):
        end_of_known(USE_CASE, pl.LazyFrame(schema={"day": pl.Date}), now=END)


def view(transform: Any) -> FeatureView:
    return FeatureView(name="seen", description=".", tables=("facts",), entity=("who",), transform=transform)


def test_a_view_is_filled_for_whole_days_and_says_which() -> None:
    spans: list[tuple[datetime, datetime]] = []

    def transform(tables: Any, start: datetime, end: datetime) -> pl.LazyFrame:
        spans.append((start, end))
        return tables["facts"]

    moments = [midnight(date(2013, 1, 2)) + timedelta(hours=23, minutes=59), midnight(date(2013, 1, 1))]
    facts = pl.LazyFrame({"who": ["a", "a"], "event_timestamp": moments}, schema_overrides={"event_timestamp": UTC_US})
    rows = fill_view(
        view(transform), {"facts": facts}, UTC_DAYS.start(date(2013, 1, 1)), UTC_DAYS.end(date(2013, 1, 2))
    ).collect()
    assert spans == [(midnight(date(2013, 1, 1)), midnight(date(2013, 1, 3)))]
    assert rows["day"].to_list() == [date(2013, 1, 1), date(2013, 1, 2)]


def test_a_transform_that_forgets_its_entity_is_named() -> None:
    forgetful = view(lambda tables, start, end: tables["facts"].drop("who"))
    facts = pl.LazyFrame({"who": ["a"], "event_timestamp": [END]})
    with pytest.raises(IllegalFeatures, match=r"view seen .*without \['who'\]. Add these columns"):
        fill_view(forgetful, {"facts": facts}, UTC_DAYS.start(date(2013, 1, 1)), UTC_DAYS.end(date(2013, 1, 1)))


def test_a_flight_that_never_arrived_teaches_nothing() -> None:
    planned = pl.DataFrame({
        "carrier": ["UA", "UA"], "flight": [1, 2], "tailnum": ["N1", None], "origin": ["EWR", "EWR"], "dest": ["IAH", "IAH"],
        "sched_dep": [END, END], "distance": [1400.0, 1400.0],
    })  # fmt: skip
    arrived = planned.head(1).with_columns(arr_time=pl.lit(END + timedelta(hours=3)), arr_delay=pl.lit(20), day=END.date())
    rows = label_rows(USE_CASE, planned.lazy(), arrived.lazy()).collect()
    assert rows.select("flight", "late", "known_at", "event_timestamp").rows() == [
        (1, 1, END + timedelta(hours=3), END - timedelta(hours=2))
    ]
    assert "arr_delay" not in rows.columns and "distance" not in rows.columns


def test_inputs_that_are_constant_or_all_missing_are_named() -> None:
    first, second, *others = USE_CASE.features.inputs
    rows = pl.DataFrame({first: [1.0, 1.0], second: [None, None], **{name: [1.0, None] for name in others}})
    assert describe_constant_inputs(USE_CASE, rows) == (
        f"{first}, {second}: the same value, or none, in every row. A model learns nothing from it."
    )
    assert describe_constant_inputs(USE_CASE, rows.with_columns(pl.Series(first, [1.0, 2.0]), pl.Series(second, [0, 1]))) == ""
