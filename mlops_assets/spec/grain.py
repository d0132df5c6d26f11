"""Grains: how the rows of a source are partitioned in time. foundation/calendars.py implements them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from mlops_assets.spec.spec import Spec, TimeZone

ONE_HOUR = timedelta(hours=1)
# A clock that is changed stays so for weeks.
SAMPLES = [datetime(1990, 1, 1, 12, tzinfo=UTC) + timedelta(days=14 * number) for number in range(2900)]


class InTime(Spec):
    """A grain with a time zone, in which its hours, days, weeks or months begin."""

    tz: TimeZone = "UTC"


class Hourly(InTime):
    """One file an hour of the clock in `tz`, which is never changed by a part of an hour."""

    def contradictions(self) -> Iterator[str]:
        if len({offset % ONE_HOUR for offset in offsets(self.tz)}) > 1:
            yield f"tz = {self.tz!r} changes its clock by a part of an hour; legal: whole hours. Use UTC."


class Daily(InTime):
    """One file a day, from midnight to midnight in `tz`."""


class Weekly(InTime):
    """One file a week, from Monday to Sunday in `tz`."""


class Monthly(InTime):
    """One file a calendar month in `tz`."""


class Snapshot(Spec):
    """One file without a time: each delivery replaces the whole table."""


Grain = Hourly | Daily | Weekly | Monthly | Snapshot


@cache
def offsets(tz: str) -> frozenset[timedelta]:
    """The offsets from UTC of a zone since 1990."""
    return frozenset(moment.astimezone(ZoneInfo(tz)).utcoffset() or timedelta(0) for moment in SAMPLES)
