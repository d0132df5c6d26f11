"""Moments for people, all in UTC."""

from datetime import UTC, datetime

MINUTE, SECOND = "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"


def to_minute(at: datetime | str) -> str:
    """`2013-06-01 12:30 UTC`."""
    return f"{_in_utc(at):{MINUTE}} UTC"


def to_second(at: datetime | str) -> str:
    """`2013-06-01 12:30:05 UTC`."""
    return f"{_in_utc(at):{SECOND}} UTC"


def _in_utc(at: datetime | str) -> datetime:
    """Tables have moments in UTC without a time zone."""
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return moment.astimezone(UTC) if moment.tzinfo else moment
