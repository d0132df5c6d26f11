"""The same key on a later day is a newer version of a row: one row everywhere, the newest known at each moment."""

import datetime as dt
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.features.featurize import fill_partitions, label_rows, training_rows
from mlops_assets.features.versions import as_known, find_corrections
from mlops_assets.foundation.calendars import Calendar, Days, Hours, Weeks
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.split import TimeSplit
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import APPLICATIONS, LOANS, PAYMENTS, VIEW
from tests.foundation.days import midnight

FIRST, DAYS = LOANS.first_day, 8
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


def day_of(number: int) -> dt.date:
    return FIRST + number * DAY


def moment(day: int, hours: float = 10) -> dt.datetime:
    return midnight(day_of(day)) + hours * HOUR


def summing(lookback: dt.timedelta) -> UseCase:
    """Payments of one customer in the window before each payment."""

    def transform(tables: Any, start: dt.datetime, end: dt.datetime) -> pl.LazyFrame:
        total = pl.col("paid").rolling_sum_by("paid_at", window_size=lookback).over("customer")
        rows = tables["payments"].sort("paid_at").select("customer", event_timestamp="paid_at", last_paid=total)
        return rows.filter(pl.col("event_timestamp").is_between(start, end, closed="left"))

    view: FeatureView = VIEW.but(transform=transform, lookback=lookback)
    contracts = (
        APPLICATIONS,
        PAYMENTS.but(unique=("customer", "number"), columns=(*PAYMENTS.columns, *APPLICATIONS.columns[:1])),
    )
    return LOANS.but(features=LOANS.features.but(views=(view,)), contracts=contracts)


# Of payment `number`: the day on which a version lands, the hour of the payment and the amount.
PAID = st.lists(st.tuples(st.integers(1, 4), st.integers(0, DAYS - 1), st.integers(0, 23), st.integers(1, 99)), max_size=12)


@given(paid=PAID, lookback=st.integers(0, 80).map(lambda hours: hours * HOUR + HOUR))
@settings(deadline=None, max_examples=60)
def test_a_range_of_days_equals_a_brute_force_sum_over_the_versions_known_on_each_day(
    paid: list[tuple[int, int, int, int]], lookback: dt.timedelta
) -> None:
    versions = {(number, day): (moment(day, hour), float(euros)) for number, day, hour, euros in paid}
    schema = {
        "customer": pl.String(),
        "paid_at": pl.Datetime("us", "UTC"),
        "paid": pl.Float64(),
        "number": pl.Int64(),
        "day": pl.Date(),
    }
    rows = [("c1", at, euros, number, day_of(day)) for (number, day), (at, euros) in versions.items()]
    payments = pl.DataFrame(rows, schema=schema, orient="row")
    use_case = summing(lookback)
    filled = fill_partitions(
        use_case, use_case.features.views[0], {"payments": payments.lazy()}, first=FIRST, last=day_of(DAYS - 1)
    )  # fmt: skip
    expected = list[tuple[dt.datetime, float]]()
    for today in range(DAYS):
        known = {number: versions[number, day] for number, day in sorted(versions, key=lambda one: one[1]) if day <= today}
        for at, _ in known.values():
            if at.date() == day_of(today):
                window = [euros for other, euros in known.values() if at - lookback < other <= at]
                expected.append((at, sum(window)))
    assert sorted(filled.select("event_timestamp", "last_paid").rows()) == sorted(expected)


def applications(*rows: tuple[int, int, float, int, int]) -> pl.DataFrame:
    """Number, day of landing, amount, label, and the day of the application; a row is known at 12:00 of its day."""
    values = [
        {
            "number": number, "customer": "c1", "amount": amount, "purpose": "car", "insured": True, "applied_at": moment(applied),
            "ended_at": moment(landed, 12), "defaulted": defaulted, "day": day_of(landed),
        }
        for number, landed, amount, defaulted, applied in rows
    ]  # fmt: skip
    return pl.DataFrame(values)


def labels(rows: pl.DataFrame) -> list[tuple[int, float, int]]:
    return sorted(rows.select("number", "amount", "defaulted").rows())


def test_a_corrected_label_and_request_are_one_row() -> None:
    """Of the request the version of its own day, of the label the newest."""
    rows = applications((1, 0, 10.0, 0, 0), (1, 3, 99.0, 1, 0), (2, 0, 20.0, 0, 0)).lazy()
    assert labels(label_rows(LOANS, rows, rows).collect()) == [(1, 10.0, 1), (2, 20.0, 0)]


def test_a_request_that_landed_late_is_the_first_version_of_it() -> None:
    rows = applications((1, 5, 50.0, 0, 2), (1, 6, 60.0, 1, 2)).lazy()
    assert labels(label_rows(LOANS, rows, rows).collect()) == [(1, 50.0, 1)]


def test_training_uses_the_label_that_was_known_when_the_next_part_began() -> None:
    """Train ends with day 5; a correction on day 6 came too late for it, one of the last day counts for the test part."""
    use_case = LOANS.but(split=TimeSplit(test=DAY, validation=DAY))
    rows = [(number, day, float(day), number % 2, day) for day in range(DAYS) for number in (10 * day, 10 * day + 1)]
    early, late, newest = (10, 4, 0.0, 1, 1), (20, 6, 0.0, 1, 2), (60, 7, 0.0, 1, 6)
    known = applications(*rows, early, late, newest)
    trained = training_rows(use_case, known.lazy(), known.lazy(), now=moment(DAYS))
    assert trained["number"].is_unique().all() and len(trained) == 2 * DAYS
    by_number = {number: (split, label) for number, split, label in trained.select("number", "split", "defaulted").rows()}
    assert by_number[10] == ("train", 1), "corrected in time"
    assert by_number[20] == ("train", 0), "corrected too late"
    assert by_number[60] == ("validation", 0), "corrected on the day of the test part"
    assert labels(label_rows(use_case, known.lazy(), known.lazy()).collect())[12] == (60, 6.0, 1)


def test_a_history_in_one_late_file_is_not_lost() -> None:
    rows = applications(*((day, day, 1.0, 0, day) for day in range(DAYS))).with_columns(day=day_of(DAYS - 1)).lazy()
    assert len(training_rows(LOANS, rows, rows, now=moment(DAYS))) == DAYS


@pytest.mark.parametrize(("at", "value"), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (None, 3)])
def test_the_newest_version_known_on_a_day(at: int | None, value: int) -> None:
    rows = pl.LazyFrame({"key": [7, 7, 7], "value": [2, 3, 1], "day": [day_of(2), day_of(4), day_of(1)]})
    known = as_known(rows, ["key"], None if at is None else day_of(at)).collect()
    assert known["value"].to_list() == [value]


@pytest.mark.parametrize(
    ("calendar", "minutes"), [(Hours("Europe/Berlin"), 60), (Days("Europe/Berlin"), 24 * 60), (Weeks(), 7 * 24 * 60)], ids=str
)
def test_the_newest_version_is_that_of_the_last_partition_known(calendar: Calendar, minutes: int) -> None:
    """Over the hour that the clock of Berlin shows twice."""
    moments = [dt.datetime(2013, 10, 26, 23, 30, tzinfo=dt.UTC) + dt.timedelta(minutes=minutes * number) for number in range(4)]
    partitions = [calendar.of(moment) for moment in moments]
    rows = pl.DataFrame([{"key": 1, "value": number} | calendar.stored(one) for number, one in enumerate(partitions)])
    for number, moment in enumerate(moments):
        known = as_known(rows.lazy(), ["key"], calendar.of(moment), calendar).collect()
        by_row = as_known(rows.lazy(), ["key"], calendar.of_column(pl.lit(moment)), calendar).collect()
        assert known["value"].to_list() == by_row["value"].to_list() == [number]
    assert find_corrections(rows.lazy(), ["key"], calendar) == {*partitions[1:]}
