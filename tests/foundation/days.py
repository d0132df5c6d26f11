"""Days in UTC, which most tests have as their partitions."""

import datetime as dt
from pathlib import Path

import polars as pl

from mlops_assets.foundation.calendars import DAY, UTC_DAYS
from mlops_assets.foundation.delta_tables import Span, write_span

midnight = UTC_DAYS.start


def write_day(path: Path, rows: pl.DataFrame, day: str | dt.date) -> None:
    first = dt.date.fromisoformat(str(day))
    write_span(path, rows, Span(DAY, midnight(first), UTC_DAYS.end(first)))
