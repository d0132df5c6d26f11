"""Profiles: every row counted once, point masses stay apart, JSON keeps every bit."""

import math
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.statistics.drift import comparable_bins
from mlops_assets.statistics.profile import (
    CategoricalProfile,
    NumericProfile,
    profile_like,
    profile_reference,
    profiles_from_json,
    profiles_to_json,
)

NUMBER = st.one_of(st.none(), st.sampled_from([0.0, 0.0, 1.0, math.nan, math.inf, -math.inf]), st.floats(-5, 5))
ROW = st.tuples(NUMBER, st.one_of(st.none(), st.sampled_from(["JFK", "LGA", "EWR", "né"])))
WINDOW = st.lists(ROW, max_size=40)
SCHEMA = {"wind": pl.Float64, "origin": pl.String}


def frame(rows: list[tuple[float | None, str | None]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def numeric(values: list[float | None]) -> NumericProfile:
    profile = profile_reference(pl.DataFrame({"x": values}, schema={"x": pl.Float64}), ["x"], [])["x"]
    assert isinstance(profile, NumericProfile)
    return profile


@given(WINDOW, WINDOW)
def test_every_row_is_counted_once(
    reference: list[tuple[float | None, str | None]], window: list[tuple[float | None, str | None]]
) -> None:
    profiles = profile_like(profile_reference(frame(reference), ["wind"], ["origin"]), frame(window))
    for one in profiles.values():
        assert comparable_bins(one, one)[0].sum() == len(window)


@given(WINDOW)
def test_json_keeps_every_bit(window: list[tuple[float | None, str | None]]) -> None:
    profiles = profile_reference(frame(window), ["wind"], ["origin"])
    text = profiles_to_json(profiles)
    assert profiles_from_json(text) == profiles
    assert profiles_to_json(profiles_from_json(text)) == text


def test_counts_follow_the_edges_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    profile = numeric(rng.normal(size=500).tolist())
    sample = rng.normal(size=300)
    bounds = [-math.inf, *profile.edges, math.inf]
    slow = [int(((low < sample) & (sample <= high)).sum()) for low, high in pairwise(bounds)]
    assert list(profile.like(pl.Series(sample)).counts) == slow


def test_a_continuous_reference_falls_into_even_bins() -> None:
    below, *counts, above = numeric(np.random.default_rng(1).normal(size=1000).tolist()).counts
    assert below == above == 0
    assert len(counts) == 10 and set(counts) <= {99, 100, 101}


@pytest.mark.parametrize("mass", [0.0, 2.0, 5.0])
def test_a_value_that_fills_most_rows_has_a_bin_of_its_own(mass: float) -> None:
    profile = numeric([mass] * 900 + np.linspace(0.001, 1.999, 50).tolist() + np.linspace(2.001, 4.999, 50).tolist())
    assert 900 in profile.counts


def test_null_and_nan_are_missing_and_infinities_lie_outside() -> None:
    profile = numeric([1.0, 2.0, 3.0]).like(pl.Series([None, math.nan, math.inf, -math.inf], dtype=pl.Float64))
    assert profile.missing == 2
    assert (profile.counts[0], profile.counts[-1]) == (1, 1)


@given(st.lists(st.one_of(st.floats(-3, 3), st.integers(-3, 3).map(float)), min_size=1, max_size=30), st.floats(-5, 5))
def test_only_a_number_out_of_the_range_of_the_reference_falls_into_an_outer_bin(
    values: list[float | None], other: float
) -> None:
    profile = numeric(values)
    assert profile.counts[0] == profile.counts[-1] == 0
    outer = profile.like(pl.Series([other])).counts
    known = [value for value in values if value is not None]
    assert (outer[0], outer[-1]) == (int(other < min(known)), int(other > max(known)))


def test_an_empty_or_missing_reference_still_counts_later_windows() -> None:
    profile = numeric([None, None])
    assert (profile.edges, profile.counts, profile.missing) == ((), (0,), 2)
    assert profile.like(pl.Series([1.0, None])).counts == (1,)


def test_a_column_may_have_any_name() -> None:
    profiles = profile_reference(pl.DataFrame({"count": ["a", "a", None]}), [], ["count"])
    assert profiles["count"] == CategoricalProfile({"a": 2}, 1)


def test_an_absent_column_is_named() -> None:
    with pytest.raises(pl.exceptions.ColumnNotFoundError, match="wind"):
        profile_reference(pl.DataFrame({"temp": [1.0]}), ["wind"], [])
