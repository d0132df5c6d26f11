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

from mlops_assets.statistics.distances import FLOOR, chi_square_p, compare_correlations
from mlops_assets.statistics.drift import ColumnDrift, comparable_bins, measure_column
from mlops_assets.statistics.mergeable_profile import Bins, Profile
from mlops_assets.statistics.profile import BUCKETS, CategoricalProfile, NumericProfile, bucket, profile_like, profile_reference

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


def distances(reference: pl.DataFrame, current: pl.DataFrame) -> dict[str, ColumnDrift]:
    bins = bins_of(reference)
    return {name: measure_column(name, bins.reference[name], now) for name, now in bins.profile(current.lazy()).columns().items()}


@given(WINDOW, st.lists(WINDOW, max_size=4))
@settings(deadline=None)
def test_merged_periods_have_the_counts_of_all_their_rows(reference: list[Any], periods: list[list[Any]]) -> None:
    bins = bins_of(frame(reference))
    merged = sum((bins.profile(frame(period).lazy()) for period in periods), Profile(bins))
    rows = frame([row for period in periods for row in period])
    assert merged.rows == len(rows)
    for name, one in profile_like(bins.reference, rows).items():
        assert counts_of(merged.columns()[name]) == counts_of(one)
    np.testing.assert_allclose(merged.vector, bins.profile(rows.lazy()).vector, rtol=1e-9, atol=1e-9)


def counts_of(one: NumericProfile | CategoricalProfile) -> Any:
    """Sums differ in their last digits."""
    return (one.counts, one.missing) if isinstance(one, NumericProfile) else one


@given(st.lists(st.lists(st.integers(0, 200), max_size=300), min_size=1, max_size=4), st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_values_without_a_bin_are_counted_exactly_by_their_bucket(periods: list[list[int]], known: int) -> None:
    bins = Bins(profile_reference(pl.DataFrame({"x": [f"n{number}" for number in range(known + 1)]}), [], ["x"]))
    frames = [pl.DataFrame({"x": [f"n{number}" for number in period]}, schema={"x": pl.String}) for period in periods]
    (merged,) = sum((bins.profile(one.lazy()) for one in frames), Profile(bins)).columns().values()
    assert isinstance(merged, CategoricalProfile)
    truth = Counter(value for one in frames for value in one["x"])
    rest = Counter({value: rows for value, rows in truth.items() if value not in merged.counts})
    assert {value: rows for value, rows in merged.counts.items() if rows} == dict(truth - rest)
    assert merged.new == rest.total() == sum(merged.rest) and merged.rows == truth.total()
    assert list(merged.rest) == [sum(rows for value, rows in rest.items() if bucket(value) == one) for one in range(BUCKETS)]


def test_a_column_of_very_many_values_has_bins_for_those_with_many_rows_and_knows_which_ones_are_new() -> None:
    texts = [f"n{number}" for number in range(5000)] + ["often"] * 3000
    (reference,) = profile_reference(pl.DataFrame({"x": texts}), [], ["x"]).values()
    assert isinstance(reference, CategoricalProfile) and reference.named == ["often"]
    current = reference.like(pl.Series(["n1", "n2", "often", "often", "other", None]))
    assert (current.counts, sum(current.rest), current.new, current.missing) == ({"often": 2}, 3, 1, 1)


def test_correlations_are_those_of_pandas_over_the_rows_with_both_values() -> None:
    rows = flights(1)
    bins = bins_of(rows)
    parts = sum((bins.profile(part.lazy()) for part in rows.iter_slices(700)), Profile(bins))
    expected = rows.select(NUMERIC).to_pandas().corr(min_periods=2)
    np.testing.assert_allclose(parts.correlations(), expected.to_numpy(), atol=1e-9)
    wind = parts.columns()["wind"]
    assert isinstance(wind, NumericProfile) and wind.deviation() == pytest.approx(rows["wind"].std(ddof=0), rel=1e-9)
    turned = rows.with_columns(rain=-pl.col("rain"))
    (pair,) = compare_correlations(parts, bins.profile(turned.lazy()), numbers(rows))
    assert pair.columns == ("wind", "rain") and pair.change == pytest.approx(2 * abs(expected.loc["wind", "rain"]), abs=1e-9)
    assert pair.p < 1e-9


def numbers(rows: pl.DataFrame) -> Any:
    return rows.select(pl.col(NUMERIC).fill_null(math.nan)).to_numpy()


@pytest.mark.parametrize("tails", ["normal", "lognormal", "mostly none"])
def test_a_correlation_changes_by_chance_as_often_as_stated_also_with_heavy_tails(tails: str) -> None:
    rng, p_values = np.random.default_rng(3), list[float]()
    for _ in range(300):
        sides = list[pl.DataFrame]()
        for count in (2000, 1000):
            both = rng.normal(size=count)
            wind, rain = both + rng.normal(size=count), both + rng.normal(size=count)
            if tails == "lognormal":
                wind, rain = np.exp(wind / 2), np.exp(rain / 2)
            if tails == "mostly none":
                rain = np.where(rng.uniform(size=count) < 0.9, 0.0, rain)
            sides.append(pl.DataFrame({"wind": wind, "rain": rain}))
        bins = bins_of(sides[0], categorical=[])
        (pair,) = compare_correlations(*(bins.profile(side.lazy()) for side in sides), numbers(sides[0]))
        p_values.append(pair.p)
    assert np.mean(np.array(p_values) < 0.05) <= 0.1 and np.mean(np.array(p_values) < 0.5) == pytest.approx(0.5, abs=0.12)


def test_a_constant_column_has_no_correlation() -> None:
    rows = flights(1).with_columns(rain=pl.lit(1e6 + 0.1))
    bins = bins_of(rows)
    assert compare_correlations(bins.profile(rows.lazy()), bins.profile(rows.lazy()), numbers(rows)) == []


@pytest.mark.parametrize("shift", [0.0, 0.2, 1.0])
def test_distances_are_scipys_on_the_same_bins(shift: float) -> None:
    reference, current = flights(1), flights(2, 3000, shift)
    by_column = distances(reference, current)
    for name, column in by_column.items():
        one: Any = profile_reference(reference, NUMERIC, CATEGORICAL)[name]
        counts = comparable_bins(one, one.like(current[name]))
        if isinstance(one, NumericProfile):
            assert (
                counts[1, 1:].tolist()
                == np.histogram(current[name].drop_nulls(), [-math.inf, *np.nextafter(one.edges, math.inf), math.inf])[0].tolist()
            )
        p, q = (side / side.sum() for side in counts)
        assert column.js == pytest.approx(jensenshannon(p, q, base=2), abs=1e-9)
        p, q = (np.maximum(side, FLOOR) for side in (p, q))  # the bins out of the reference's range are empty in it
        assert column.kl == pytest.approx(stats.entropy(q, p), rel=0.01, abs=1e-6)
        assert column.psi == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p), rel=0.01, abs=1e-6)
        if isinstance(one, CategoricalProfile):
            both = pd.crosstab(np.repeat([0, 1], [len(reference), len(current)]), [*reference[name], *current[name]])
            assert column.chi_square_p == pytest.approx(stats.chi2_contingency(both, correction=False).pvalue)
        assert column.missing_change == pytest.approx(
            current[name].null_count() / len(current) - reference[name].null_count() / len(reference)
        )


@pytest.mark.parametrize("shift", [0.0, 0.2, 1.0])
def test_wasserstein_is_evidentlys_of_rows_at_the_means_of_their_bins(shift: float) -> None:
    reference, current = flights(1), flights(2, 3000, shift)
    bins, by_column = bins_of(reference), distances(reference, current)
    for name in NUMERIC:
        sides = list[Any]()
        for rows in (reference, current):
            values = rows[name].drop_nulls().to_numpy()
            place = np.searchsorted(bins.numeric[name].edges, values, side="left")
            sides.append(pd.Series(pd.Series(values).groupby(place).transform("mean")))
        test: Any = get_stattest(sides[0], sides[1], ColumnType.Numerical, "wasserstein")
        expected = test.func(sides[0], sides[1], ColumnType.Numerical, 0.1)[0] * np.std(sides[0]) / reference[name].std(ddof=0)
        assert by_column[name].wasserstein == pytest.approx(expected, rel=1e-6)
        exact = stats.wasserstein_distance(*(rows[name].drop_nulls() for rows in (reference, current)))
        assert by_column[name].wasserstein == pytest.approx(exact / reference[name].std(ddof=0), abs=0.05), "bins lose little"


def test_an_empty_window_and_unseen_values_have_distances() -> None:
    reference = flights(1)
    empty = distances(reference, reference.clear())
    assert empty["wind"].wasserstein is None and empty["origin"].chi_square_p == 1.0
    new = distances(reference, reference.with_columns(origin=pl.lit("BOS")))
    assert new["origin"].new_share == 1.0 and new["origin"].js == pytest.approx(1.0)
    assert chi_square_p(np.zeros((2, 3))) == 1.0


def test_infinities_are_in_the_outer_bins_and_make_no_distance_infinite() -> None:
    reference = flights(1)
    column = distances(reference, reference.with_columns(wind=pl.lit(math.inf)))["wind"]
    assert math.isfinite(column.wasserstein or math.nan) and column.js > 0.8
