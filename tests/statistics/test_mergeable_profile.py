"""Merged profiles are the profile of all rows, and every distance is that of scipy, pandas or Evidently on the same bins."""
# scipy, pandas and Evidently leave types open.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false

import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from evidently.legacy.calculations.stattests.registry import get_stattest
from evidently.legacy.core import ColumnType
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from mlops_assets.statistics.drift import FLOOR
from mlops_assets.statistics.mergeable_profile import MAX_NEW, OTHERS, Bins, Profile
from mlops_assets.statistics.profile import profile_like, profile_reference
from mlops_assets.statistics.profile_distances import Distances, chi_square, measure_correlations, measure_distances

NUMERIC, CATEGORICAL = ["wind", "rain"], ["origin"]
NUMBER = st.one_of(st.none(), st.sampled_from([0.0, 1.0, math.nan, math.inf, -math.inf]), st.floats(-5, 5))
ROW = st.tuples(NUMBER, NUMBER, st.one_of(st.none(), st.sampled_from(["JFK", "LGA", "EWR", "né", "BOS"])))
WINDOW = st.lists(ROW, max_size=30)
SCHEMA = {"wind": pl.Float64, "rain": pl.Float64, "origin": pl.String}


def frame(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def bins_of(rows: pl.DataFrame, numeric: list[str] = NUMERIC, categorical: list[str] = CATEGORICAL) -> Bins:
    return Bins(profile_reference(rows, numeric, categorical))


def flights(seed: int, rows: int = 4000, shift: float = 0.0) -> pl.DataFrame:
    """Wind far from zero, rain that is mostly none and depends on it, some missing."""
    rng = np.random.default_rng(seed)
    wind = rng.normal(1e6 + shift, 1, rows)
    rain = np.where(rng.random(rows) < 0.7, 0.0, rng.exponential(1, rows) + wind - 1e6)
    origins = rng.choice(["EWR", "JFK", "LGA"], rows, p=[0.5, 0.3 - shift / 10, 0.2 + shift / 10])
    missing = rng.random(rows) < 0.03 + shift / 50
    return pl.DataFrame({"wind": wind, "rain": rain, "origin": origins}).with_columns(
        wind=pl.when(pl.Series(~missing)).then("wind")
    )


def distances(reference: pl.DataFrame, current: pl.DataFrame) -> dict[str, Distances]:
    bins = bins_of(reference)
    return {one.name: one for one in measure_distances(bins.profile(reference.lazy()), bins.profile(current.lazy()))}


@given(WINDOW, st.lists(WINDOW, max_size=4))
@settings(deadline=None)
def test_merged_periods_have_the_counts_of_all_their_rows(reference: list[Any], periods: list[list[Any]]) -> None:
    bins = bins_of(frame(reference))
    merged = sum((bins.profile(frame(period).lazy()) for period in periods), Profile(bins))
    rows = frame([row for period in periods for row in period])
    assert merged.rows == len(rows)
    assert merged.columns() == profile_like(bins.reference, rows)
    np.testing.assert_allclose(merged.vector, bins.profile(rows.lazy()).vector, rtol=1e-9, atol=1e-9)


@given(st.lists(st.lists(st.integers(0, 200), max_size=300), min_size=1, max_size=4))
@settings(deadline=None, max_examples=30)
def test_new_values_are_counted_exactly_in_all_and_the_frequent_ones_by_name(periods: list[list[int]]) -> None:
    bins = Bins(profile_reference(pl.DataFrame({"x": ["a"]}), [], ["x"]))
    frames = [pl.DataFrame({"x": [f"n{number}" for number in period]}, schema={"x": pl.String}) for period in periods]
    merged = sum((bins.profile(one.lazy()) for one in frames), Profile(bins))
    truth = Counter(value for one in frames for value in one["x"])
    assert merged.new["x"].total() == truth.total() and len(merged.new["x"]) <= MAX_NEW + 1
    pooled = merged.new["x"][OTHERS]
    for value, count in truth.items():
        assert merged.new["x"][value] <= count
        assert count <= merged.new["x"][value] + pooled, "what is not under its name is among the others"


def test_correlations_are_those_of_pandas_over_the_rows_with_both_values() -> None:
    rows = flights(1)
    bins = bins_of(rows)
    parts = sum((bins.profile(part.lazy()) for part in rows.iter_slices(700)), Profile(bins))
    expected = rows.select(NUMERIC).to_pandas().corr(min_periods=2)
    np.testing.assert_allclose(parts.correlations(), expected.to_numpy(), atol=1e-9)
    assert parts.deviation("wind") == pytest.approx(rows["wind"].std(ddof=0), rel=1e-9)
    turned = rows.with_columns(rain=-pl.col("rain"))
    (pair,) = measure_correlations(parts, bins.profile(turned.lazy()))
    assert pair.columns == ("wind", "rain") and pair.change == pytest.approx(2 * abs(expected.loc["wind", "rain"]), abs=1e-9)


def test_a_constant_column_has_no_correlation() -> None:
    rows = flights(1).with_columns(rain=pl.lit(1e6 + 0.1))
    bins = bins_of(rows)
    assert measure_correlations(bins.profile(rows.lazy()), bins.profile(rows.lazy())) == []


@pytest.mark.parametrize("shift", [0.0, 0.2, 1.0])
def test_distances_are_scipys_on_the_same_bins(shift: float) -> None:
    reference, current = flights(1), flights(2, 3000, shift)
    found = distances(reference, current)
    for name, column in found.items():
        one: Any = profile_like(profile_reference(reference, NUMERIC, CATEGORICAL), reference)[name]
        other: Any = profile_like(profile_reference(reference, NUMERIC, CATEGORICAL), current)[name]
        values = [*one.counts] if isinstance(one.counts, dict) else range(len(one.counts))
        counts = [[side.missing, *(side.counts[value] for value in values)] for side in (one, other)]
        p, q = (np.array(side) / sum(side) for side in counts)
        assert column.js == pytest.approx(jensenshannon(p, q, base=2), abs=1e-9)
        p, q = (np.maximum(side, FLOOR) for side in (p, q))  # the bins out of the reference's range are empty in it
        assert column.kl == pytest.approx(stats.entropy(q, p), rel=0.01, abs=1e-6)
        assert column.psi == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p), rel=0.01, abs=1e-6)
        used = np.array([side[1:] for side in counts])
        chi: Any = stats.chi2_contingency(used[:, used.any(axis=0)], correction=False)
        assert (column.chi_square, column.chi_square_p) == pytest.approx((chi.statistic, chi.pvalue))
        assert column.missing == pytest.approx(current[name].null_count() / len(current))


@pytest.mark.parametrize("shift", [0.0, 0.2, 1.0])
def test_wasserstein_is_evidentlys_of_rows_at_the_means_of_their_bins(shift: float) -> None:
    reference, current = flights(1), flights(2, 3000, shift)
    bins, found = bins_of(reference), distances(reference, current)
    for name in NUMERIC:
        sides = list[Any]()
        for rows in (reference, current):
            values = rows[name].drop_nulls().to_numpy()
            place = np.searchsorted(bins.numeric[name].edges, values, side="left")
            sides.append(pd.Series(pd.Series(values).groupby(place).transform("mean")))
        test: Any = get_stattest(sides[0], sides[1], ColumnType.Numerical, "wasserstein")
        expected = test.func(sides[0], sides[1], ColumnType.Numerical, 0.1)[0] * np.std(sides[0]) / reference[name].std(ddof=0)
        assert found[name].wasserstein == pytest.approx(expected, rel=1e-6)
        exact = stats.wasserstein_distance(*(rows[name].drop_nulls() for rows in (reference, current)))
        assert found[name].wasserstein == pytest.approx(exact / reference[name].std(ddof=0), abs=0.05), "bins lose little"


def test_an_empty_window_and_unseen_values_have_distances() -> None:
    reference = flights(1)
    empty = distances(reference, reference.clear())
    assert math.isnan(empty["wind"].wasserstein or 0.0) and empty["origin"].chi_square_p == 1.0
    new = distances(reference, reference.with_columns(origin=pl.lit("BOS")))
    assert new["origin"].new_share == 1.0 and new["origin"].js == pytest.approx(1.0)
    assert chi_square(np.zeros((2, 3))) == (0.0, 1.0)


def test_infinities_are_in_the_outer_bins_and_make_no_distance_infinite() -> None:
    reference = flights(1)
    found = distances(reference, reference.with_columns(wind=pl.lit(math.inf)))["wind"]
    assert math.isfinite(found.wasserstein or math.nan) and found.js > 0.8
