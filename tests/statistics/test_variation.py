"""The bounds from a reference's own windows: the counts against the rows, the bounds against brute force, and what they are for."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics.drift import Bounds, bounds_of, compare_profiles, measure_change
from mlops_assets.statistics.profile import profile_like, profile_reference
from mlops_assets.statistics.variation import MAX_CATEGORIES, MAX_PERIODS, SCHEMA, bounds_from, count_periods

START, DAY = datetime(2013, 1, 1, 5, 30, tzinfo=UTC), timedelta(days=1)
MOMENT = "event_timestamp"
DAILY = Drift(window=DAY, min_rows=10)


def rows(days: float, count: int, seed: int = 0, **columns: NDArray[np.generic]) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    seconds = np.sort(rng.uniform(0, days * 86400, count))
    moments = pl.Series(MOMENT, [START + timedelta(seconds=float(one)) for one in seconds], dtype=pl.Datetime("us", "UTC"))
    values = {"amount": np.where(rng.uniform(size=count) < 0.1, np.nan, rng.normal(seconds / 86400 / 10, 1))}
    codes = {"code": rng.choice(list("ABCDEF"), count)}
    return pl.DataFrame({MOMENT: moments, **(columns or values | codes)}).with_columns(pl.col(pl.Float64).fill_nan(None))


def test_the_counts_of_all_periods_add_up_to_the_profile() -> None:
    frame = rows(60, 900)
    profiles = profile_reference(frame, ["amount"], ["code"])
    periods = count_periods(frame, profiles, MOMENT)
    for name, profile in profiles.items():
        counts = dict(periods.filter(column=name).group_by("bin").agg(pl.col("rows").sum()).iter_rows())
        expected = [profile.missing, *(profile.counts.values() if isinstance(profile.counts, dict) else profile.counts)]
        assert [counts.get(number, 0) for number in range(len(expected))] == expected
    assert periods.schema == SCHEMA and periods["hours"].unique().to_list() == [24]


@given(st.floats(0.001, 9000), st.integers(1, 40))
def test_the_number_of_periods_stays_within_the_declared_limit_and_no_row_is_lost(days: float, count: int) -> None:
    frame = rows(days, count)
    periods = count_periods(frame, profile_reference(frame, ["amount"], []), MOMENT)
    assert periods["start"].n_unique() <= MAX_PERIODS + 1 and periods["rows"].sum() == count
    assert periods["start"].min() <= frame[MOMENT].min()  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]


@pytest.mark.parametrize("days", [1, 3, 10])
def test_the_bounds_are_the_largest_changes_of_any_window_against_the_rest(days: int) -> None:
    frame, spec = rows(40, 1500), Drift(window=days * DAY, min_rows=10, max_psi=1e-9, max_new_share=0, max_missing_change=1e-9)
    frame = frame.with_columns(number=(pl.col(MOMENT) - START.replace(minute=0)).dt.total_days())
    profiles = profile_reference(frame, ["amount"], ["code"])
    bounds = bounds_from(count_periods(frame, profiles, MOMENT), profiles, spec)
    for name, profile in profiles.items():
        changes = list[tuple[float, float, float]]()
        for start in range(int(frame["number"].max()) + 2 - days):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            inside = pl.col("number").is_between(start, start + days - 1)
            part, rest = (profile.like(frame.filter(rows)[name]) for rows in (inside, ~inside))
            one = measure_change(rest, part)
            changes.append((one.psi_excess, one.new_share, abs(one.missing_change)))
        assert bounds[name] == pytest.approx(np.maximum(np.max(changes, axis=0), bounds_of(spec)))


@pytest.mark.parametrize(
    ("days", "window"), [(40, timedelta(days=21)), (100, timedelta(hours=6)), (0.01, DAY)], ids=["long", "short", "at once"]
)
def test_a_reference_that_has_not_two_such_windows_gives_the_declared_bounds(days: float, window: timedelta) -> None:
    frame, spec = rows(days, 500), Drift(window=window, min_rows=1)
    profiles = profile_reference(frame, ["amount"], ["code"])
    assert {*bounds_from(count_periods(frame, profiles, MOMENT), profiles, spec).values()} == {bounds_of(spec)}


def test_rows_without_a_moment_and_columns_of_very_many_categories_keep_the_declared_bounds() -> None:
    frame = rows(40, MAX_CATEGORIES + 1, code=np.array([f"c{number}" for number in range(MAX_CATEGORIES + 1)]))
    profiles = profile_reference(frame, [], ["code"])
    for undated in (frame, frame.with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias(MOMENT))):
        periods = count_periods(undated, profiles, MOMENT)
        assert periods.is_empty() and bounds_from(periods, profiles, DAILY) == {"code": bounds_of(DAILY)}


def weather(first: int, days: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Degrees of 50 moments a day: the day's own mean, which changes from day to day, and changes within the day."""
    means = 10 + 6 * rng.standard_normal(days) + 4 * np.sin(np.arange(first, first + days))
    return np.repeat(means, 50) + rng.standard_normal(days * 50)


def test_days_of_changing_weather_alarm_without_and_not_with_the_bounds_of_other_days() -> None:
    rng = np.random.default_rng(1)
    moments = [START + index * DAY / 50 for index in range(180 * 50)]
    frame = pl.DataFrame({MOMENT: moments, "temp": weather(0, 180, rng)}, schema_overrides={MOMENT: pl.Datetime("us", "UTC")})
    profiles = profile_reference(frame, ["temp"], [])
    bounds = bounds_from(count_periods(frame, profiles, MOMENT), profiles, DAILY)

    def alarms(days: pl.DataFrame, bounds: Mapping[str, Bounds]) -> int:
        compared = (compare_profiles(profiles, profile_like(profiles, day), DAILY, bounds) for day in days.iter_slices(50))
        return sum(column.drifted for (column,) in compared)

    later = pl.DataFrame({"temp": weather(180, 500, rng)})
    assert alarms(later, {}) > 450
    assert alarms(later, bounds) <= 10, "of 500 days; 1 / 181 of them are expected to exceed the largest of 180"
    other_unit = later.head(50) * 1.8 + 32
    assert alarms(other_unit, bounds) == 1, "numbers that no day had"
