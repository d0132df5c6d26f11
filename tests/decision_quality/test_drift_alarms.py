"""How often the drift rule alarms when nothing changed (false alarms), and how often it sees a planted change (power).

One simulated month: 12 numbers of different shapes and 2 categories, 1,500 served rows against 6,000 training rows.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics.drift import ColumnDrift, compare_profiles
from mlops_assets.statistics.profile import profile_like, profile_reference

SPEC = Drift()
# Without bounds on the size of a change, chance alone decides.
BY_CHANCE = Drift(max_psi=1e-12, max_ks=1e-12, max_new_share=0, max_missing_change=1e-12, min_rows=1)
Sampler = Callable[[np.random.Generator, int], NDArray[Any]]
KINDS: dict[str, tuple[Sampler, int, int]] = {  # with the rows of the reference and of a window
    "few_categories": (lambda rng, rows: rng.choice(list("ABCDE"), rows, p=[0.6, 0.2, 0.1, 0.07, 0.03]), 5000, 1000),
    "many_categories": (lambda rng, rows: rng.integers(0, 1000, rows).astype(str), 5000, 1000),
    "long_tail": (lambda rng, rows: rng.zipf(1.3, rows).astype(str), 5000, 1000),
    "nearly_unique": (lambda rng, rows: rng.integers(0, 20_000, rows).astype(str), 5000, 1000),
    "heavy_tails": (lambda rng, rows: rng.standard_cauchy(rows), 5000, 1000),
    "mostly_null": (lambda rng, rows: np.where(rng.uniform(size=rows) < 0.97, np.nan, rng.normal(size=rows)), 5000, 1000),
    "constant": (lambda rng, rows: np.ones(rows), 5000, 1000),
    "small": (lambda rng, rows: rng.normal(size=rows), 300, 60),
    "huge": (lambda rng, rows: rng.normal(size=rows), 50_000, 5_000),
}
WINDOWS = 500
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


def _drifted(change: pl.Expr | None, rng: np.random.Generator) -> tuple[set[str], float]:
    bins = profile_reference(_month(rng, 6000), NUMERIC, CATEGORICAL)
    served = _month(rng, 1500)
    found = compare_profiles(bins, profile_like(bins, served if change is None else served.with_columns(change)), SPEC)
    drifted = {column.name for column in found if column.drifted}
    return drifted, len(drifted) / len(found)


def test_an_unchanged_month_never_alarms() -> None:
    rng = np.random.default_rng(1)
    found = [_drifted(None, rng) for _ in range(TRIALS)]
    columns = TRIALS * len([*NUMERIC, *CATEGORICAL])
    assert sum(len(names) for names, _ in found) <= 0.001 * columns
    assert not any(share > SPEC.max_share for _, share in found)


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
    found = [_drifted(change, rng)[0] for _ in range(20)]
    assert sum(column in names for names in found) >= 19
    assert sum(len(names - {column}) for names in found) == 0


def test_a_change_of_many_inputs_fails_the_month() -> None:
    rng = np.random.default_rng(3)
    change = pl.col([name for name in NUMERIC if name.startswith(("normal", "skewed"))]) * 3 + 1
    assert all(_drifted(change, rng)[1] > SPEC.max_share for _ in range(10))


@pytest.mark.parametrize("kind", KINDS)
def test_chance_is_reported_at_most_at_the_declared_rate(kind: str) -> None:
    sampler, trained, served = KINDS[kind]
    rng, alarms = np.random.default_rng(4), 0
    for _ in range(WINDOWS):
        alarms += _compared(sampler(rng, trained), sampler(rng, served), BY_CHANCE).drifted
    assert alarms <= binom.ppf(0.999, WINDOWS, BY_CHANCE.false_discovery_rate)


@pytest.mark.parametrize("kind", ["many_categories", "long_tail", "nearly_unique"])
def test_a_column_of_other_categories_is_new_values(kind: str) -> None:
    sampler, trained, served = KINDS[kind]
    rng = np.random.default_rng(5)
    replaced = np.char.add("other", sampler(rng, served).astype(str))
    assert "new values" in _compared(sampler(rng, trained), replaced, SPEC).changed


def test_a_column_that_comes_without_values_is_missing_values_and_one_in_another_unit_is_values() -> None:
    rng = np.random.default_rng(6)
    degrees = rng.normal(15, 8, 5000)
    assert _compared(degrees, np.where(rng.uniform(size=1000) < 0.15, np.nan, degrees[:1000]), SPEC).changed == (
        "missing values",
    )
    assert _compared(degrees, degrees[:1000] * 1.8 + 32, SPEC).changed == ("values",)


def _compared(trained: NDArray[Any], served: NDArray[Any], spec: Drift) -> ColumnDrift:
    numeric, categorical = ([], ["x"]) if trained.dtype.kind == "U" else (["x"], [])
    before, now = (pl.DataFrame({"x": values}) for values in (trained, served))
    bins = profile_reference(before, numeric, categorical)
    (column,) = compare_profiles(bins, profile_like(bins, now), spec)
    return column
