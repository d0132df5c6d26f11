"""Moments in messages are in UTC, whatever their time zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from mlops_assets.foundation.moments import to_minute, to_second

NEW_YORK = datetime(2013, 6, 1, 20, 30, 5, tzinfo=ZoneInfo("America/New_York"))


@pytest.mark.parametrize("at", [NEW_YORK, NEW_YORK.astimezone(UTC), NEW_YORK.isoformat()])
def test_a_moment_of_any_zone_is_in_utc(at: datetime | str) -> None:
    assert (to_minute(at), to_second(at)) == ("2013-06-02 00:30 UTC", "2013-06-02 00:30:05 UTC")


def test_a_moment_without_a_zone_is_one_of_a_table_and_in_utc() -> None:
    assert to_second(datetime(2013, 6, 1, 20, 30, 5)) == "2013-06-01 20:30:05 UTC"
