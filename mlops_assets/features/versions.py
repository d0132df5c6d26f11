"""Versions of a row: the same key on a later day corrects the row, and the newest version known at a moment is the one in use."""

from collections.abc import Sequence
from datetime import date

import polars as pl

DAY = pl.col("day")
NEVER_BEFORE = 10_000_000  # days; more than the calendar has


def as_known(rows: pl.LazyFrame, key: Sequence[str], at: date | pl.Expr | None = None) -> pl.LazyFrame:
    """One row per key: the newest version of the days up to `at` (None: of all days), else the first one of later days."""
    # A key is never lost: the history of a table may have landed in one late file.
    number = DAY.to_physical().cast(pl.Int64)
    order = number if at is None else pl.when(at >= DAY).then(number).otherwise(-number - NEVER_BEFORE)
    return rows.sort(order, maintain_order=True).unique(key, keep="last", maintain_order=True)


def days_of_corrections(rows: pl.LazyFrame, key: Sequence[str]) -> set[date]:
    """The days with a newer version of a row of an earlier day."""
    is_newer = pl.col("day").min().over(key) < DAY
    return set(rows.select(*key, "day").filter(is_newer).select("day").collect()["day"])
