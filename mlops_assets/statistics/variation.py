"""How much each column of a reference changes from one window of it to the rest: the least bound of a later change.

Half a year has its own summer and winter: every single day of it differs from the whole more than any fixed bound allows.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics.drift import Bounds, bounds_of, measure_change
from mlops_assets.statistics.metrics import Array
from mlops_assets.statistics.profile import ColumnProfile, NumericProfile

PERIODS = tuple(timedelta(hours=hours) for hours in (1, 24, 7 * 24, 28 * 24))
MICROSECOND = timedelta(microseconds=1)
MAX_PERIODS, MAX_WINDOWS = 500, 200  # of one reference, and of those the windows that are compared
MAX_CATEGORIES = 1000  # a column with more keeps its declared bounds
SCHEMA = pl.Schema(
    {"start": pl.Datetime("us", "UTC"), "hours": pl.Int64(), "column": pl.String(), "bin": pl.Int64(), "rows": pl.Int64()}
)


def count_periods(frame: pl.DataFrame, profiles: Mapping[str, ColumnProfile], moment: str) -> pl.DataFrame:
    """The rows of each period, column and bin of its profile (0: missing) that has any. Counts of neighbouring periods add up to
    those of a window. The periods are hours, days, weeks or four weeks, of which there are at most MAX_PERIODS.
    """
    dated = frame.filter(pl.col(moment).is_not_null())
    if dated.is_empty():
        return pl.DataFrame(schema=SCHEMA)
    first, last = dated[moment].min(), dated[moment].max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    period = next((one for one in PERIODS if last - first < MAX_PERIODS * one), PERIODS[-1])
    start = first.replace(minute=0, second=0, microsecond=0)
    number = dated.select(number=(pl.col(moment) - start).dt.total_microseconds() // (period // MICROSECOND))["number"]
    counted = [
        pl.DataFrame({"number": number, "bin": _bins(dated[name], profile)})
        .group_by("number", "bin").agg(rows=pl.len())
        .select(start=start + pl.col("number") * period, hours=period // PERIODS[0], column=pl.lit(name), bin="bin", rows="rows")
        for name, profile in profiles.items()
        if isinstance(profile, NumericProfile) or len(profile.counts) <= MAX_CATEGORIES
    ]  # fmt: skip
    return pl.concat([pl.DataFrame(schema=SCHEMA), *(one.cast(SCHEMA) for one in counted)]).sort("column", "start", "bin")


def _bins(column: pl.Series, profile: ColumnProfile) -> pl.Series:
    """The number of each value's bin in the order of the profile's counts, from 1; 0 where it is missing."""
    if isinstance(profile, NumericProfile):
        values = column.cast(pl.Float64).fill_nan(None)
        return pl.Series(np.searchsorted(profile.edges, values.to_numpy()) + 1).set(values.is_null(), 0)
    return column.cast(pl.String).replace_strict({value: bin for bin, value in enumerate(profile.counts, 1)}, default=0)


def bounds_from(periods: pl.DataFrame, profiles: Mapping[str, ColumnProfile], spec: Drift) -> dict[str, Bounds]:
    """The declared bounds, raised to the largest change of any window of the monitor's length against the rest of the reference.
    Declared ones where that has not two such windows, or is not counted in periods that fit into one.

    A later window of a column that goes on to change as it did exceeds the largest of n changes with probability 1 / (n + 1).
    """
    counted: Mapping[Any, pl.DataFrame] = periods.partition_by("column", as_dict=True)
    return {
        name: _raised(counted[(name,)], profile, spec) if (name,) in counted else bounds_of(spec)
        for name, profile in profiles.items()
    }


def _raised(counted: pl.DataFrame, profile: ColumnProfile, spec: Drift) -> Bounds:
    changes = [measure_change("", rest, part) for part, rest in _windows(counted, profile, spec)]
    declared = bounds_of(spec)
    return Bounds(
        max([declared.psi, *(change.psi_excess for change in changes)]),
        max([declared.new_share, *(change.new_share for change in changes)]),
        max([declared.missing_change, *(abs(change.missing_change) for change in changes)]),
    )


def _windows(counted: pl.DataFrame, profile: ColumnProfile, spec: Drift) -> Iterator[tuple[ColumnProfile, ColumnProfile]]:
    """Each window with enough rows, and the rest, which is at least as long."""
    rows = _matrix(counted, 1 + len(profile.counts))
    length = spec.window // (PERIODS[0] * int(counted["hours"][0]))
    if not 0 < 2 * length <= len(rows):
        return
    upto, total = np.vstack([np.zeros_like(rows[:1]), np.cumsum(rows, axis=0)]), rows.sum(axis=0)
    for start in np.unique(np.linspace(0, len(rows) - length, MAX_WINDOWS).round().astype(int)):
        part = upto[start + length] - upto[start]
        if min(part.sum(), (total - part).sum()) >= spec.min_rows:
            yield _profile(profile, part), _profile(profile, total - part)


def _matrix(counted: pl.DataFrame, bins: int) -> Array:
    """Rows by period, without gaps, and bin."""
    starts, period = counted["start"], PERIODS[0] * int(counted["hours"][0])
    numbers = ((starts - starts.min()).dt.total_microseconds() // (period // MICROSECOND)).to_numpy()
    rows = np.zeros((numbers.max() + 1, bins), dtype=np.int64)
    rows[numbers, counted["bin"].to_numpy()] = counted["rows"].to_numpy()
    return rows


def _profile(like: ColumnProfile, rows: Sequence[int] | Array) -> ColumnProfile:
    missing, *counts = (int(count) for count in rows)
    if isinstance(like, NumericProfile):
        return NumericProfile(like.edges, tuple(counts), missing)
    return type(like)({value: count for value, count in zip(like.counts, counts, strict=True) if count}, missing)
