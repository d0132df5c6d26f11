"""Due partitions without a file, of every grain, are those that a walk through all partitions finds."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.foundation.calendars import Calendar, Partition
from mlops_assets.foundation.grains import calendar_of
from mlops_assets.ingestion.due import missing_partitions
from mlops_assets.spec.freshness import Freshness
from mlops_assets.spec.grain import Daily, Grain, Hourly, Monthly, Weekly
from mlops_assets.spec.source import Files
from tests.cli.loans import LOANS

FIRST = dt.datetime(2024, 3, 28, 12, tzinfo=dt.UTC)  # before a clock change in Berlin
GRAINS = [Hourly(), Hourly(tz="Europe/Berlin"), Daily(), Daily(tz="Europe/Berlin"), Weekly(), Monthly()]


def walk(calendar: Calendar, until: dt.datetime) -> list[Partition]:
    """Every partition from FIRST that has ended by then."""
    partition, ended = calendar.of(FIRST), list[Partition]()
    while calendar.end(partition) <= until:
        ended.append(partition)
        partition = calendar.next(partition)
    return ended


@pytest.mark.parametrize("grain", GRAINS, ids=repr)
@given(
    landed=st.sets(st.integers(0, 90), min_size=1), minutes=st.integers(0, 100 * 24 * 60), late=st.integers(1, 5 * 24),
    is_open=st.booleans(),
)  # fmt: skip
def test_the_missing_partitions_are_those_of_a_walk_over_the_calendar(
    grain: Grain, landed: set[int], minutes: int, late: int, is_open: bool
) -> None:
    calendar, now, raw = calendar_of(grain), FIRST + dt.timedelta(minutes=minutes), dt.timedelta(hours=late)
    possible = [calendar.of(FIRST)]
    while len(possible) < 91:
        possible.append(calendar.next(possible[-1]))
    there = [possible[number] for number in landed]
    use_case = LOANS.but(last_day=None if is_open else dt.date(2034, 1, 1), freshness=Freshness(raw=raw))
    source = Files(table="payments", grain=grain)
    due = [one for one in walk(calendar, now - raw) if one > min(there) and (is_open or one < max(there))]
    expected = [calendar.key(one) for one in due if one not in there]
    assert missing_partitions(use_case, source, [*map(calendar.key, there)], now=now) == expected


def test_nothing_is_due_of_files_that_land_when_something_changes_or_before_the_first() -> None:
    now = dt.datetime(2024, 3, 9, tzinfo=dt.UTC)
    source, keys = Files(table="payments"), ["2024-03-01", "2024-03-05"]
    assert len(missing_partitions(LOANS, source, keys, now=now)) == 3
    assert missing_partitions(LOANS, source.but(only_when_changed=True), keys, now=now) == []
    assert missing_partitions(LOANS, source, [], now=now) == []
