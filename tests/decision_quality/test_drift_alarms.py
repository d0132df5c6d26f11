"""How often the drift rule alarms when nothing changed (false alarms), and how often it sees a planted change (power).

One simulated month: 12 numbers of different shapes and 2 categories, 1,500 served rows against 6,000 training rows.
"""

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics.drift import compare_profiles
from mlops_assets.statistics.profile import profile_like, profile_reference

SPEC = Drift()
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
