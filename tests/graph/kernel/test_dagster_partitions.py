"""Canary: the partitions of a calendar are those that Dagster's own slow functions find.

A failure after an upgrade: compare the functions that graph/kernel/dagster_partitions.py replaces with those of the new release.
"""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations_with_replacement, islice
from typing import Any

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.graph.kernel import dagster_partitions as partitions

partitions.remember_partitions()
HOUR = "%Y-%m-%dT%H"
CALENDARS = [
    ("UTC", "0 * * * *", HOUR),
    ("America/New_York", "0 * * * *", HOUR),
    ("Australia/Lord_Howe", "0 0 * * *", "%Y-%m-%d"),  # its clock changes by half an hour: Hourly refuses it
    ("Europe/Berlin", "0 0 * * *", "%Y-%m-%d"),
    ("UTC", "0 0 * * 1", "%Y-%m-%d"),
    ("Europe/Berlin", "0 0 1 * *", "%Y-%m"),
]
SLOW: Any = partitions
BEGIN = datetime(2024, 3, 1, tzinfo=UTC)
MOMENTS = st.integers(-40 * 24, 300 * 24).map(lambda hours: BEGIN + timedelta(hours=hours, minutes=15 * (hours % 3)))


def definition(calendar: tuple[str, str, str], end: datetime | None = None) -> dg.TimeWindowPartitionsDefinition:
    zone, cron, form = calendar
    return dg.TimeWindowPartitionsDefinition(BEGIN, form, end=end, cron_schedule=cron, timezone=zone)


def starts(windows: Sequence[dg.TimeWindow]) -> list[tuple[float, float]]:
    return [(window.start.timestamp(), window.end.timestamp()) for window in windows]


@given(calendar=st.sampled_from(CALENDARS), first=MOMENTS, last=MOMENTS, count=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_windows_and_keys_are_those_of_dagster(
    calendar: tuple[str, str, str], first: datetime, last: datetime, count: int
) -> None:
    one: Any = definition(calendar)
    for fast, slow in ((one._iterate_time_windows, SLOW._ITERATE), (one._reverse_iterate_time_windows, SLOW._ITERATE_BACKWARDS)):
        windows, expected = ([*islice(read, count)] for read in (fast(first.timestamp()), slow(one, first.timestamp())))
        assert starts(windows) == starts(expected)
    window = dg.TimeWindow(first, last)
    assert [*one.get_partition_keys_in_time_window(window)] == [*SLOW._KEYS_IN(one, window)]


@given(
    calendar=st.sampled_from(CALENDARS),
    drawn=st.sets(st.integers(0, 400)),
    others=st.sets(st.integers(0, 400), max_size=40),
    end=st.none() | st.just(BEGIN + timedelta(days=12)),
)
@settings(max_examples=60, deadline=None)
def test_a_set_of_partitions_is_that_of_dagster(
    calendar: tuple[str, str, str], drawn: set[int], others: set[int], end: datetime | None
) -> None:
    one: Any = definition(calendar, end)
    keys = [SLOW._key_of(one, window) for window in islice(SLOW._ITERATE(one, BEGIN.timestamp()), 401)]
    own, added = ({keys[at] for at in places if at < len(keys)} for places in (drawn, others))
    expected = [*SLOW._WINDOWS_OF(one, frozenset(own), True)] if own else []
    subset = one.subset_with_partition_keys(own)
    assert starts(one.time_windows_for_partition_keys(frozenset(own))) == starts(expected)
    legal = {key for key in own | added if one.has_partition_key(key)}
    assert subset.num_partitions == len(expected)
    assert {*subset.with_partition_keys(added).get_partition_keys()} == legal
    assert [*subset.with_partition_keys(added).get_partition_keys()] == sorted(legal, key=keys.index)


def test_a_key_that_is_no_partition_is_an_error_as_ever() -> None:
    with pytest.raises(ValueError, match="does not match format"):
        definition(CALENDARS[0]).subset_with_partition_keys(["never"])


def test_a_definition_with_exclusions_leaves_them_out() -> None:
    days = dg.TimeWindowPartitionsDefinition(
        "2024-03-01", "%Y-%m-%d", cron_schedule="0 0 * * *", end="2024-03-08", exclusions=["0 0 * * 6"]
    )
    assert [key[-2:] for key in days.get_partition_keys()] == ["01", "03", "04", "05", "06", "07"]


def test_a_set_of_a_year_of_hours_takes_few_calls() -> None:
    hours: Any = definition(CALENDARS[1], BEGIN + timedelta(days=365))
    calls, keys = 0, hours.get_partition_keys()

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        assert hours.subset_with_partition_keys(keys).num_partitions == len(keys) == 365 * 24
    finally:
        sys.setprofile(None)
    assert calls < 5 * len(keys), "Dagster's own functions make 60 for each key"


def test_an_hour_that_the_clock_shows_twice_is_two_partitions() -> None:
    """Without `remember_partitions` it fails in Dagster 1.13, whose cache takes both hours for one."""
    hours = dg.TimeWindowPartitionsDefinition(
        "2024-10-01T00", HOUR, timezone="Europe/Berlin", cron_schedule="0 * * * *", end="2024-11-01T00"
    )
    keys = [f"2024-10-27T{hour}" for hour in ("01", "02", "02+0100", "03")]
    ranges = [*combinations_with_replacement(range(4), 2)]
    for first, last in [*ranges, *reversed(ranges)]:
        assert [*hours.get_partition_keys_in_range(dg.PartitionKeyRange(keys[first], keys[last]))] == keys[first : last + 1]
