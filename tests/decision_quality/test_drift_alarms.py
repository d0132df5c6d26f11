"""How often the drift rule alarms when nothing changed (false alarms), and how often it sees a planted change (power).

One simulated month: 12 numbers of different shapes and 2 categories, 1,500 served rows against 6,000 training rows.
"""

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics.drift import ColumnDrift, compare_profiles
from mlops_assets.statistics.profile import profile_like, profile_reference
from tests.benchmarks.detectors import ours
from tests.evaluation import census as census_rows
from tests.statistics.column_kinds import KINDS

SPEC = Drift()
# Without bounds on the size of a change, chance alone decides.
BY_CHANCE = Drift(max_psi=1e-12, max_ks=1e-12, max_new_share=0, max_missing_change=1e-12, min_rows=1)
WINDOWS, REFERENCES = 500, 5
MOST_BY_CHANCE = binom.ppf(0.999, WINDOWS, SPEC.false_discovery_rate)
TRIALS = 60
NUMERIC = [f"{shape}_{index}" for shape in ("normal", "skewed", "rate", "mostly_zero") for index in range(3)]
CATEGORICAL = ["carrier", "dest"]


def _month(rng: np.random.Generator, rows: int) -> pl.DataFrame:
    numbers = {name: _values(name, rng, rows) for name in NUMERIC}
    weights = np.linspace(1, 5, 100)
    return pl.DataFrame(
        {
            **numbers,
            "carrier": rng.choice(list("ABCDEFGHIJ"), rows),
            "dest": rng.choice([f"D{index}" for index in range(100)], rows, p=weights / weights.sum()),
        }
    )


def _values(name: str, rng: np.random.Generator, rows: int) -> NDArray[Any]:
    match name.rsplit("_", 1)[0]:
        case "normal":
            return rng.normal(size=rows)
        case "skewed":
            return rng.lognormal(size=rows)
        case "rate":
            return rng.binomial(8, 0.25, rows) / 8
        case _:
            return np.where(rng.uniform(size=rows) < 0.9, 0.0, rng.exponential(size=rows))


def _drifted(change: pl.Expr | None, rng: np.random.Generator) -> set[str]:
    bins = profile_reference(_month(rng, 6000), NUMERIC, CATEGORICAL)
    served = _month(rng, 1500)
    comparison = compare_profiles(bins, profile_like(bins, served if change is None else served.with_columns(change)), SPEC)
    return {column.name for column in comparison if column.drifted}


def test_an_unchanged_month_never_alarms() -> None:
    rng = np.random.default_rng(1)
    assert not any(_drifted(None, rng) for _ in range(TRIALS))


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("normal_0", pl.col("normal_0") + 0.8),
        ("skewed_0", pl.col("skewed_0") * 2.5),
        ("rate_0", pl.col("rate_0") * 2),
        ("mostly_zero_0", pl.when(pl.int_range(pl.len()) % 3 == 0).then(1.0).otherwise("mostly_zero_0").alias("mostly_zero_0")),
        ("normal_1", pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise("normal_1").alias("normal_1")),
        ("carrier", pl.when(pl.col("carrier") < "F").then(pl.lit("A")).otherwise("carrier").alias("carrier")),
    ],
    ids=["shift", "scale", "rate", "wetter", "nulls", "mix"],
)
def test_a_planted_change_is_nearly_always_detected_and_only_there(column: str, change: pl.Expr) -> None:
    rng = np.random.default_rng(2)
    drifted = [_drifted(change, rng) for _ in range(20)]
    assert sum(column in names for names in drifted) >= 19
    assert sum(len(names - {column}) for names in drifted) == 0


@pytest.mark.parametrize("name", [name for name in KINDS if name != "seasonal"])
def test_chance_is_reported_at_most_at_the_declared_rate(name: str) -> None:
    kind, rng, alarms = KINDS[name], np.random.default_rng(4), 0
    for _ in range(WINDOWS):
        alarms += _compared(kind.sample(rng, kind.rows), kind.sample(rng, kind.window_rows), BY_CHANCE).drifted
    assert alarms <= MOST_BY_CHANCE


@pytest.mark.parametrize("name", KINDS)
def test_the_monitor_alarms_at_most_at_the_declared_rate_also_where_every_window_differs_from_the_whole(name: str) -> None:
    kind, rng, alarms = KINDS[name], np.random.default_rng(7), 0
    for _ in range(REFERENCES):
        reference = kind.reference(rng)
        detect = ours(kind, reference)
        alarms += sum(detect(reference, kind.window(rng)) for _ in range(WINDOWS // REFERENCES))
    assert alarms <= MOST_BY_CHANCE


def test_no_input_of_the_census_has_drifted_in_any_window_of_three_years() -> None:
    inputs = {"numeric": census_rows.NUMERIC, "categorical": census_rows.CATEGORICAL}
    trained, spec = profile_reference(census_rows.census(2015), **inputs), Drift()
    # The files are in the order of households.
    years = [census_rows.census(year).sample(fraction=1, shuffle=True, seed=0) for year in (2016, 2017, 2018)]
    windows = [part for year in years for part in year.iter_slices(3000)]
    assert len(windows) > 60
    drifted = [
        column for one in windows for column in compare_profiles(trained, profile_like(trained, one), spec) if column.drifted
    ]
    assert not drifted


@pytest.mark.parametrize("name", ["many categories", "long tail", "nearly unique"])
def test_a_column_of_other_categories_is_new_values(name: str) -> None:
    kind, rng = KINDS[name], np.random.default_rng(5)
    replaced = np.char.add("other", kind.sample(rng, kind.window_rows).astype(str))
    assert "new values" in _compared(kind.sample(rng, kind.rows), replaced, SPEC).changed


def test_a_column_that_comes_without_values_is_missing_values_and_one_in_another_unit_is_values() -> None:
    rng = np.random.default_rng(6)
    degrees = rng.normal(15, 8, 5000)
    assert _compared(degrees, np.where(rng.uniform(size=1000) < 0.15, np.nan, degrees[:1000]), SPEC).changed == (
        "missing values",
    )
    assert "values" in _compared(degrees, degrees[:1000] * 1.8 + 32, SPEC).changed


def _compared(trained: NDArray[Any], served: NDArray[Any], spec: Drift) -> ColumnDrift:
    numeric, categorical = ([], ["x"]) if trained.dtype.kind == "U" else (["x"], [])
    before, now = (pl.DataFrame({"x": values}) for values in (trained, served))
    bins = profile_reference(before, numeric, categorical)
    (column,) = compare_profiles(bins, profile_like(bins, now), spec)
    return column
