"""The wall clock of a time zone, of whole columns, from the database of time zones that Python itself uses."""

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import polars as pl

from mlops_assets.foundation.conversions import UTC as MOMENT
from mlops_assets.foundation.durations import ONE_DAY
from mlops_assets.spec.moment import MAX_YEAR, MIN_YEAR

# Polars has a database of its own: its clocks do not change after 2099, and of 599 zones 283 have other offsets there, some of
# them today. A server that reads the wall clock with Python would then differ from the training rows.
FIRST, LAST = datetime(MIN_YEAR - 1, 1, 1, tzinfo=UTC), datetime(MAX_YEAR + 1, 1, 1, tzinfo=UTC)
ONE_SECOND = timedelta(seconds=1)


def local_time(moments: pl.Expr, zone: str) -> pl.Expr:
    """The wall clock at moments in UTC, without a time zone; of a date its midnight, whatever the zone."""

    def to_local(values: pl.Series) -> pl.Series:
        if values.dtype == pl.Date():
            return values.cast(pl.Datetime("us"))
        changes, offsets = _offsets(zone)
        return (values + offsets.gather(changes.search_sorted(values, side="right"))).dt.replace_time_zone(None)

    return moments.map_batches(to_local, return_dtype=pl.Datetime("us"), is_elementwise=True)


@cache
def _offsets(zone: str) -> tuple[pl.Series, pl.Series]:
    """When the zone's offset from UTC changes, and the offsets: one more than changes."""
    info = ZoneInfo(zone)
    days = [FIRST + number * ONE_DAY for number in range((LAST - FIRST).days)]
    by_day = pairwise(zip(days, [day.astimezone(info).utcoffset() for day in days], strict=True))
    changes = [_change(info, before, after) for (before, old), (after, new) in by_day if old != new]
    offsets = [moment.astimezone(info).utcoffset() for moment in (FIRST, *changes)]
    return pl.Series(changes, dtype=MOMENT), pl.Series(offsets, dtype=pl.Duration("us"))


def _change(info: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The first moment with the offset of `after`."""
    offset = after.astimezone(info).utcoffset()
    while after - before > ONE_SECOND:
        middle = before + (after - before) // ONE_SECOND // 2 * ONE_SECOND
        before, after = (before, middle) if middle.astimezone(info).utcoffset() == offset else (middle, after)
    return after
