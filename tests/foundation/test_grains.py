"""A calendar agrees with the clock of its zone, and with the partitions that Dagster makes of it."""

import datetime as dt
from typing import Any

import dagster as dg
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.foundation.calendars import WHOLE_TABLE, Calendar, Days, Hours, IllegalKey, Months, Weeks, WholeTable

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "America/Sao_Paulo", "Pacific/Apia", "Asia/Beirut")
IN_TIME = (Hours, Days, Weeks, Months)
MOMENTS = st.datetimes(dt.datetime(2009, 1, 1), dt.datetime(2030, 1, 1), timezones=st.just(dt.UTC))
CALENDARS = st.sampled_from([kind(zone) for kind in IN_TIME for zone in ZONES if zone != "Pacific/Apia"])


@given(calendar=CALENDARS, moment=MOMENTS)
def test_every_moment_is_in_exactly_one_partition(calendar: Calendar, moment: dt.datetime) -> None:
    partition = calendar.of(moment)
    assert calendar.start(partition) <= moment < calendar.end(partition)
    assert calendar.before(calendar.next(partition)) == partition
    assert calendar.of(calendar.start(partition)) == partition
    assert calendar.of(calendar.end(partition)) == calendar.next(partition)


@given(calendar=CALENDARS, moment=MOMENTS)
def test_a_key_names_its_partition_alone(calendar: Calendar, moment: dt.datetime) -> None:
    partition = calendar.of(moment)
    assert calendar.parse(calendar.key(partition)) == partition
    assert calendar.key(calendar.next(partition)) != calendar.key(partition)


@given(calendar=CALENDARS, moments=st.lists(MOMENTS, min_size=1, max_size=20))
def test_a_column_of_moments_is_partitioned_as_each_of_them(calendar: Calendar, moments: list[dt.datetime]) -> None:
    frame = pl.DataFrame({"at": pl.Series(moments, dtype=pl.Datetime("us", "UTC"))})
    assert frame.select(calendar.of_column(pl.col("at"))).to_series().to_list() == [*map(calendar.of, moments)]


@given(calendar=CALENDARS, moment=MOMENTS, lookback=st.timedeltas(dt.timedelta(0), dt.timedelta(days=70)))
def test_a_look_back_is_rounded_up_to_partitions_that_hold_it(
    calendar: Calendar, moment: dt.datetime, lookback: dt.timedelta
) -> None:
    partition, count = calendar.of(moment), calendar.count_back(lookback)
    assert calendar.start(calendar.before(partition, count)) <= calendar.start(partition) - lookback
    assert count <= lookback / calendar.length * 1.1 + 2


@pytest.mark.parametrize("calendar", [kind(zone) for kind in IN_TIME for zone in ZONES[:5]], ids=str)
@pytest.mark.parametrize("first", [dt.date(2013, 3, 4), dt.date(2013, 10, 21)], ids=str)
def test_the_partitions_are_those_of_dagster(calendar: Calendar, first: dt.date) -> None:
    """Over the changes of the clocks in spring and autumn of 2013."""
    one, end = calendar.of(Days(calendar.tz).start(first)), calendar.of(Days(calendar.tz).start(first + dt.timedelta(days=35)))
    definition = dg.TimeWindowPartitionsDefinition(
        start=calendar.key(one), end=calendar.key(end), fmt=calendar.format, cron_schedule=calendar.cron, timezone=calendar.tz
    )
    windows = dict[str, tuple[dt.datetime, dt.datetime]]()
    while one < end:
        windows[calendar.key(one)] = calendar.start(one), calendar.end(one)
        one = calendar.next(one)
    of_dagster = {key: definition.time_window_for_partition_key(key) for key in definition.get_partition_keys()}
    # In UTC: Python holds a moment that a clock shows twice to be unequal to any of another zone.
    in_utc = {key: (window.start.astimezone(dt.UTC), window.end.astimezone(dt.UTC)) for key, window in of_dagster.items()}
    assert in_utc == windows


def hours(calendar: Calendar, day: dt.date) -> list[str]:
    days = Days(calendar.tz)
    one, keys = calendar.of(days.start(day)), list[str]()
    while calendar.start(one) < days.end(day):
        keys.append(calendar.key(one))
        one = calendar.next(one)
    return keys


def test_a_local_day_has_23_or_25_hours_when_the_clock_is_changed() -> None:
    spring, autumn = (hours(Hours("Europe/Berlin"), dt.date(2013, *day)) for day in ((3, 31), (10, 27)))
    assert spring[:3] == ["2013-03-31T00", "2013-03-31T01", "2013-03-31T03"] and len(spring) == 23
    assert autumn[1:5] == ["2013-10-27T01", "2013-10-27T02", "2013-10-27T02+0100", "2013-10-27T03"] and len(autumn) == 25


@pytest.mark.parametrize(
    ("calendar", "key"),
    [
        (Days(), "2013-7-1"), (Days(), "2013-02-30"), (Days(), "2013-07"), (Weeks(), "2013-07-02"), (Weeks(), "2013-W27"),
        (Months(), "2013-13"), (Months(), "2013-07-01"), (Hours(), "2013-07-01"), (Hours(), "2013-07-01T24"),
        (Hours("Europe/Berlin"), "2013-03-31T02"), (Hours("Europe/Berlin"), "2013-10-27T02+0200"),
        (Hours("Europe/Berlin"), "2013-07-01T14+0200"), (Hours(), "2013-07-01T14+0000"), (WholeTable(), "2013-07-01"),
    ],
)  # fmt: skip
def test_another_key_is_illegal(calendar: Calendar, key: str) -> None:
    with pytest.raises(IllegalKey, match=f"is no {calendar.noun}; legal: "):
        calendar.parse(key)


def test_a_snapshot_is_one_partition_with_every_moment() -> None:
    calendar: Any = WholeTable()
    assert calendar.parse("snapshot") == calendar.of(dt.datetime(2013, 7, 1, tzinfo=dt.UTC)) == WHOLE_TABLE
    assert calendar.start(WHOLE_TABLE) < dt.datetime(1901, 1, 1, tzinfo=dt.UTC) < calendar.end(WHOLE_TABLE)
    assert calendar.count_back(dt.timedelta(days=400)) == 0


@pytest.mark.parametrize(
    ("calendar", "lookback", "count"),
    [
        (Hours(), dt.timedelta(hours=6), 6), (Hours(), dt.timedelta(minutes=90), 2), (Days(), dt.timedelta(hours=6), 1),
        (Days(), dt.timedelta(hours=24), 1), (Days(), dt.timedelta(hours=36), 2), (Weeks(), dt.timedelta(days=10), 2),
        (Months(), dt.timedelta(days=10), 1), (Days("Europe/Berlin"), dt.timedelta(hours=24), 2),
        (Days("Asia/Kolkata"), dt.timedelta(hours=24), 1),
    ],
)  # fmt: skip
def test_look_backs_in_partitions(calendar: Calendar, lookback: dt.timedelta, count: int) -> None:
    assert calendar.count_back(lookback) == count
