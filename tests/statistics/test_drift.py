"""The drift statistics against scipy and brute force, and the rule that a declared Drift makes of them."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics.distances import FLOOR, js, ks, psi, shares
from mlops_assets.statistics.drift import comparable_bins, compare_profiles
from mlops_assets.statistics.profile import CategoricalProfile, ColumnProfile, NumericProfile, profile_like, profile_reference

Array = NDArray[Any]
COUNTS = st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any)
EDGES = (0.0, 1.0)


def pair(p: list[int], q: list[int]) -> Array:
    one, two = (NumericProfile(EDGES, tuple(counts[1:]), counts[0]) for counts in (p, q))
    return shares(comparable_bins(one, two))


def share(counts: list[int]) -> Array:
    return np.array(counts) / sum(counts)


def floored(counts: list[int]) -> Array:
    share_of_bins = np.maximum(share(counts), FLOOR)
    return share_of_bins / share_of_bins.sum()


def profiled(reference: Array, current: Array) -> tuple[ColumnProfile, ColumnProfile]:
    bins = profile_reference(pl.DataFrame({"x": reference}), ["x"], [])
    return bins["x"], profile_like(bins, pl.DataFrame({"x": current}))["x"]


@given(COUNTS, COUNTS)
def test_js_is_scipys_distance_to_base_two(p: list[int], q: list[int]) -> None:
    assert js(*pair(p, q)) == pytest.approx(jensenshannon(share(p), share(q), base=2), abs=1e-7)


@given(COUNTS, COUNTS)
def test_psi_is_the_sum_of_both_relative_entropies(p: list[int], q: list[int]) -> None:
    both = stats.entropy(floored(p), floored(q)) + stats.entropy(floored(q), floored(p))
    assert psi(*pair(p, q)) == pytest.approx(both, abs=1e-12)


@given(COUNTS, COUNTS)
def test_distances_are_zero_only_for_equal_shares_and_symmetric(p: list[int], q: list[int]) -> None:
    one, two = pair(p, q)
    assert psi(one, one) == js(one, one) == ks(one, one) == 0
    assert psi(one, two) == pytest.approx(psi(two, one)) and js(one, two) == pytest.approx(js(two, one))
    assert 0 <= js(one, two) <= 1 + 1e-12


@given(st.integers(0, 99), st.floats(-1, 1), st.integers(20, 400), st.integers(20, 400), st.integers(0, 2))
def test_ks_is_below_the_exact_distance_by_at_most_the_shared_mass_of_one_bin(
    seed: int, shift: float, rows: int, others: int, digits: int
) -> None:
    rng = np.random.default_rng(seed)
    reference, current = rng.normal(size=rows).round(digits), rng.normal(shift, 1, others).round(digits)
    exact = stats.ks_2samp(reference, current).statistic
    one, two = profiled(reference, current)
    assert isinstance(one, NumericProfile) and isinstance(two, NumericProfile)
    binned, slack = ks(*shares(comparable_bins(one, two))), max(np.minimum(share(list(one.counts)), share(list(two.counts))))
    assert binned - 1e-12 <= exact <= binned + slack + 1e-12


def test_ks_from_deciles_is_close_for_a_smooth_shift() -> None:
    rng = np.random.default_rng(0)
    reference, current = rng.normal(size=20_000), rng.normal(0.3, 1, 20_000)
    assert ks(*shares(comparable_bins(*profiled(reference, current)))) == pytest.approx(
        stats.ks_2samp(reference, current).statistic, abs=0.01
    )


def test_new_nulls_alone_are_drift() -> None:
    rng = np.random.default_rng(0)
    current = np.where(rng.uniform(size=5000) < 0.3, np.nan, rng.normal(size=5000))
    one, two = profiled(rng.normal(size=5000), current)
    (column,) = compare_profiles({"x": one}, {"x": two}, Drift())
    assert column.drifted
    assert column.missing_change == pytest.approx(0.3, abs=0.02)


def test_a_shift_next_to_a_point_mass_is_detected() -> None:
    reference = np.array([0.0] * 9000 + [1.0] * 1000)
    both = shares(comparable_bins(*profiled(reference, np.array([0.0] * 5000 + [1.0] * 5000))))
    assert ks(*both) == pytest.approx(0.4)
    assert psi(*both) > 0.5


def test_a_new_category_counts_and_has_no_ks() -> None:
    one, two = CategoricalProfile({"JFK": 900, "LGA": 100}, 0), CategoricalProfile({"JFK": 500, "HND": 500}, 0)
    (column,) = compare_profiles({"origin": one}, {"origin": two}, Drift())
    assert column.drifted and column.ks is None
    assert js(*shares(comparable_bins(CategoricalProfile({"a": 10}, 0), CategoricalProfile({"b": 10}, 0)))) == pytest.approx(1)


@pytest.mark.parametrize(("max_psi", "max_ks", "drifted"), [(0.1, 0.1, True), (9.0, 0.1, False), (0.1, 0.9, False)])
def test_a_number_drifts_only_when_psi_and_ks_both_say_so(max_psi: float, max_ks: float, drifted: bool) -> None:
    rng = np.random.default_rng(0)
    one, two = profiled(rng.normal(size=2000), rng.normal(1, 1, 2000))
    (column,) = compare_profiles({"x": one}, {"x": two}, Drift(max_psi=max_psi, max_ks=max_ks))
    assert column.drifted is drifted


def test_too_few_rows_raise_no_alarm() -> None:
    one, two = profiled(np.zeros(2000), np.ones(999))
    assert not compare_profiles({"x": one}, {"x": two}, Drift(min_rows=1000))[0].drifted
    assert compare_profiles({"x": one}, {"x": two}, Drift(min_rows=999))[0].drifted


def test_a_number_out_of_the_range_of_the_reference_is_a_new_value() -> None:
    rng = np.random.default_rng(0)
    reference, current = rng.uniform(0, 1, 5000), rng.uniform(0, 1, 2000)
    current[:300] = 1.5
    one, two = profiled(reference, current)
    (column,) = compare_profiles({"x": one}, {"x": two}, Drift())
    assert column.changed == ("new values",) and column.new_share == pytest.approx(0.15, abs=0.005)
    (same,) = compare_profiles({"x": one}, {"x": profiled(reference, rng.uniform(0, 1, 2000))[1]}, Drift())
    assert not same.drifted and same.new_share < 0.005


def test_an_empty_window_is_compared_without_harm() -> None:
    one, two = profiled(np.arange(2000.0), np.array([]))
    (column,) = compare_profiles({"x": one}, {"x": two}, Drift())
    assert not column.drifted and np.isfinite([column.psi, column.js]).all()
