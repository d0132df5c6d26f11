"""How a datetime and a date are written, in files, requests and examples alike."""

import re
from datetime import UTC, date, datetime

MIN_YEAR, MAX_YEAR = 1900, 2200  # the years that Polars, Delta Lake and the online store all hold
# datetime.fromisoformat alone also accepts dates without a time, and cuts a fraction after its sixth digit.
FORM = re.compile(
    r"(\d{4}-\d\d-\d\d[T ]|\d{8}T)([01]\d|2[0-3]):?\d\d(:?\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII
)  # fmt: skip

DATE_FORM = re.compile(r"(19|2[01])\d\d-\d\d-\d\d", re.ASCII)


def parse_date(text: str) -> date:
    """A day of the calendar, without a zone. Raises ValueError outside MIN_YEAR to MAX_YEAR and for other forms."""
    if not DATE_FORM.fullmatch(text):
        raise ValueError("Expected a date such as 2013-07-01")
    return date.fromisoformat(text)


def in_utc(moment: datetime) -> datetime:
    """A moment without an offset is in UTC."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_moment(text: str) -> datetime:
    """In UTC, which a text without an offset is in. Raises ValueError outside MIN_YEAR to MAX_YEAR and for other forms."""
    if not FORM.fullmatch(text):
        raise ValueError("Expected a moment such as 2013-07-01T14:05:00Z")
    try:
        moment = datetime.fromisoformat(text)
        moment = in_utc(moment)
    except OverflowError as error:
        raise ValueError(str(error)) from None
    if not MIN_YEAR <= moment.year < MAX_YEAR:
        raise ValueError(f"Expected a year from {MIN_YEAR} to {MAX_YEAR - 1}")
    return moment
