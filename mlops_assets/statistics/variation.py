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
MAX_HOURS = {"weekdays": 24, "months": 7 * 24}  # of a period that is all in one, about
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
        pl.DataFrame({"number": number, "bin": profile.places(dated[name])})
        .group_by("number", "bin").agg(rows=pl.len())
        .select(start=start + pl.col("number") * period, hours=period // PERIODS[0], column=pl.lit(name), bin="bin", rows="rows")
        for name, profile in profiles.items()
        if isinstance(profile, NumericProfile) or len(profile.counts) <= MAX_CATEGORIES
    ]  # fmt: skip
    return pl.concat([pl.DataFrame(schema=SCHEMA), *(one.cast(SCHEMA) for one in counted)]).sort("column", "start", "bin")


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


def season(
    periods: pl.DataFrame, profiles: Mapping[str, ColumnProfile], unit: str, days: Sequence[datetime]
) -> tuple[pl.DataFrame, dict[str, ColumnProfile]]:
    """The periods of the reference in the weekdays or months (`unit`, in UTC) of the days, and the profiles of their rows. None
    of columns that are not counted, or in periods that are too long for the unit.
    """
    phases = {"weekdays": pl.col("start").dt.weekday(), "months": pl.col("start").dt.month()}
    served = pl.DataFrame({"start": days}, schema={"start": SCHEMA["start"]}).select(phases[unit]).to_series()
    like = periods.filter(phases[unit].is_in(served.implode()), pl.col("hours") <= MAX_HOURS[unit])
    parts: Mapping[Any, pl.DataFrame] = like.partition_by("column", as_dict=True)
    counts = {name: _matrix(parts[(name,)], 1 + len(one.counts)) for name, one in profiles.items() if (name,) in parts}
    return like, {name: profiles[name].counted(rows.sum(axis=0).tolist()) for name, rows in counts.items()}


def _raised(counted: pl.DataFrame, profile: ColumnProfile, spec: Drift) -> Bounds:
    changes = [measure_change(rest, part) for part, rest in _windows(counted, profile, spec)]
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
            yield profile.counted(part.tolist()), profile.counted((total - part).tolist())


def _matrix(counted: pl.DataFrame, bins: int) -> Array:
    """Rows by period, without gaps, and bin."""
    starts, period = counted["start"], PERIODS[0] * int(counted["hours"][0])
    numbers = ((starts - starts.min()).dt.total_microseconds() // (period // MICROSECOND)).to_numpy()
    rows = np.zeros((numbers.max() + 1, bins), dtype=np.int64)
    rows[numbers, counted["bin"].to_numpy()] = counted["rows"].to_numpy()
    return rows
