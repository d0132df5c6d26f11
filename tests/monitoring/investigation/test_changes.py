"""The moment of a change, found against a search over every split, and what is none."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.monitoring.investigation.changes import find_change

START = datetime(2024, 3, 1, tzinfo=UTC)
ROWS, DAYS = 1200, 12


def moments(rows: int = ROWS) -> pl.Series:
    return pl.Series([START + timedelta(days=DAYS) * place / rows for place in range(rows)])


def normal(seed: int, rows: int = ROWS) -> Any:
    return np.random.default_rng(seed).normal(size=rows)


@pytest.mark.slow
@given(st.integers(0, 1000), st.integers(60, ROWS - 60))
def test_a_change_of_all_values_is_found_to_the_row(seed: int, first: int) -> None:
    trained = normal(seed + 1)  # a value beyond its range right before the change would look like the first of it
    values = np.where(np.arange(ROWS) < first, np.random.default_rng(seed).choice(trained, ROWS), normal(seed) * 100 + 1000)
    change = find_change(pl.Series(trained), pl.Series(values), moments())
    assert change and change.first == first and change.since == moments()[first]


@pytest.mark.parametrize("seed", range(20))
def test_days_that_share_their_values_are_no_change(seed: int) -> None:
    """A value a day, as of its weather: the counts of days vary 100 times as much as those of independent rows."""
    daily, trained = (np.repeat(normal(seed + offset, 40), ROWS // DAYS) for offset in (0, 100))
    assert find_change(pl.Series(trained), pl.Series(daily[:ROWS]), moments()) is None


def test_growth_over_days_is_no_step_and_the_change_of_a_category_is_one() -> None:
    trained, growing = normal(1), normal(2) + np.clip((np.arange(ROWS) - 400) / 400, 0, 1) * 2
    change = find_change(pl.Series(trained), pl.Series(growing), moments())
    assert change and not change.is_step
    names = pl.Series(["a", "b", "c"] * 400)
    renamed = find_change(
        names, pl.select(pl.when(pl.int_range(ROWS) < 700).then(names).otherwise(names.str.to_uppercase())).to_series(), moments()
    )
    assert renamed and renamed.first == 700 and renamed.is_step


def test_a_change_that_began_before_the_window_has_no_moment() -> None:
    change = find_change(pl.Series(normal(1)), pl.Series(normal(2) + 5), moments())
    assert change and change.first == 0 and change.since is None


def test_missing_values_count_and_few_rows_do_not() -> None:
    values = pl.Series(normal(3).tolist())
    empty = pl.select(pl.when(pl.int_range(ROWS) < 900).then(values)).to_series()
    change = find_change(pl.Series(normal(4)), empty, moments())
    assert change and change.first == 900
    assert find_change(values, values[:15], moments(15)) is None
