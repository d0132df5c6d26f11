"""What a partition reads of a parent is what Dagster maps it to, and the newest event of that is found in one pass."""

import datetime as dt
from itertools import accumulate, combinations_with_replacement

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.foundation.calendars import Calendar, Days, Hours, Months, Weeks
from mlops_assets.graph.kernel.reads import Newest, newest_reads, read_ranges, sliding
from mlops_assets.graph.kernel.tables import looking_back, partitions_of
from mlops_assets.spec.split import TimeSplit
from mlops_assets.use_cases.flight_delay import USE_CASE as FLIGHT_DELAY

A_DAY = dt.timedelta(days=1)
USE_CASE = FLIGHT_DELAY.but(
    first_day=dt.date(2013, 3, 20), last_day=dt.date(2013, 4, 10), split=TimeSplit(test=A_DAY, validation=A_DAY)
)
EVENTS = st.lists(st.tuples(st.integers(0, 50), st.sampled_from("abc")), min_size=1, max_size=30)
STEPS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=30)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("hours", [0, 1, 36, 24 * 40])
@pytest.mark.parametrize(("own", "upstream"), [*combinations_with_replacement([Hours, Days, Weeks, Months], 2)])
def test_a_partition_reads_what_dagster_maps_it_to(own: type[Calendar], upstream: type[Calendar], hours: int, zone: str) -> None:
    reader, table = own(zone), upstream(zone)
    ours, theirs = partitions_of(USE_CASE, reader), partitions_of(USE_CASE, table)
    mapping = looking_back(dt.timedelta(hours=hours), reader, table)
    assert ours and theirs and mapping is not None
    keys, landed = ours.get_partition_keys(), {*theirs.get_partition_keys()}
    events = {key: number for number, key in enumerate(theirs.get_partition_keys(), start=1)}
    newest = newest_reads((ours, theirs), mapping, events, {event: str(event) for event in events.values()})
    for key in [*keys[:30], *keys[-30:]]:
        subset = ours.empty_subset().with_partition_keys([key])
        mapped = mapping.get_upstream_mapped_partitions_result_for_partitions(subset, ours, theirs).partitions_subset
        expected = [*mapped.get_partition_keys()]
        assert newest(key).event == max((events[one] for one in expected), default=0)
        if hours or own is not upstream:
            ranges, read = read_ranges(ours, theirs, mapping)
            first, last = ranges[key]
            assert [one for one in read[first:last] if one in landed] == expected


@given(events=EVENTS, steps=STEPS, run=st.sampled_from("abcd"))
@settings(deadline=None)
def test_the_newest_event_of_another_run_is_that_of_a_search(
    events: list[tuple[int, str]], steps: list[tuple[int, int]], run: str
) -> None:
    values = [Newest(event, of) if event else Newest() for event, of in events]
    firsts, widths = accumulate(step for step, _ in steps), (width for _, width in steps)
    lasts = accumulate((first + width for first, width in zip(firsts, widths, strict=True)), max)
    ranges = [
        (min(first, len(values)), min(last, len(values)))
        for first, last in zip(accumulate(s for s, _ in steps), lasts, strict=True)
    ]
    for (first, last), newest in zip(ranges, sliding(values, ranges), strict=True):
        assert newest.but_of(run) == max((event for event, of in events[first:last] if of != run), default=0)
