"""Versions of a row: the same key in a later partition corrects the row, and the newest one known at a moment is in use."""

from collections.abc import Sequence

import polars as pl

from mlops_assets.foundation.calendars import UTC_DAYS, Calendar, Partition

NEVER_BEFORE = 10**17  # microseconds or days; more than the calendar has


def as_known(
    rows: pl.LazyFrame, key: Sequence[str], at: Partition | pl.Expr | None = None, calendar: Calendar = UTC_DAYS
) -> pl.LazyFrame:
    """One row per key: the newest version of the partitions up to `at` (None: of all), else the first one of later ones."""
    # A key is never lost: the history of a table may have landed in one late file.
    partition = pl.col(calendar.column)
    number = partition.to_physical().cast(pl.Int64)
    order = number if at is None else pl.when(partition <= at).then(number).otherwise(-number - NEVER_BEFORE)
    return rows.sort(order, maintain_order=True).unique(key, keep="last", maintain_order=True)


def find_corrections(rows: pl.LazyFrame, key: Sequence[str], calendar: Calendar = UTC_DAYS) -> set[Partition]:
    """The partitions with a newer version of a row of an earlier one."""
    column = calendar.column
    is_newer = pl.col(column).min().over(key) < pl.col(column)
    return set(rows.select(*key, column).filter(is_newer).select(column).collect()[column])
