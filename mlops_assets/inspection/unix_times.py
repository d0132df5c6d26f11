"""Moments that are delivered as a number: seconds since 1970, or a smaller unit."""

import re
from datetime import UTC, datetime
from typing import Any, cast

import polars as pl

UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
FIRST, LAST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2000, 2040))
NAMED = re.compile(
    r"(^|_)(time|timestamp|datetime|date|datum|zeit|day|at|on|am|ts|when|epoch|unix|created|updated|modified)(_|$)|time$|date$"
)
IDENTIFIES = re.compile(r"(^|_)(ids?|no|nr|num|numbers?|nummer|key|code|ref|phone|telephone|telefon|tel|mobile|fax)(_|$)|phone")
OFTEN_OTHER = "seconds"  # a number of ten digits is often an identifier or a telephone number
FEWEST = 5  # values
DAY_S = 86_400
LIKELY_SPAN_S = range(DAY_S, 20 * 365 * DAY_S)  # of moments: running numbers have a shorter one, drawn numbers a longer one


def describe_unix_times(name: str, numbers: pl.Series) -> str:
    """What the whole numbers of a column are as moments, as a sentence; empty where they are none."""
    known = numbers.drop_nulls()
    if not known.dtype.is_integer() or known.n_unique() < FEWEST or IDENTIFIES.search(name):
        return ""
    low, high = cast(Any, known.min()), cast(Any, known.max())
    unit = next((unit for unit, size in UNITS.items() if low >= FIRST * size and high < LAST * size), "")
    if not unit or not (NAMED.search(name) or (unit != OFTEN_OTHER and (high - low) // UNITS[unit] in LIKELY_SPAN_S)):
        return ""
    first, last = (datetime.fromtimestamp(value // UNITS[unit], UTC) for value in (low, high))
    found = f"its numbers are probably moments in Unix {unit}, of {first:%Y-%m-%d} to {last:%Y-%m-%d}, which no time is read from"
    return f"{found}. Deliver them as text such as {first:%Y-%m-%dT%H:%M:%SZ} to use them as a time"
