"""The four perturbations: what they hit, how hard, and that a seed makes them again."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.evaluation.gates.robust import SPANS_AWAY, UNSEEN, perturb, spread_of
from mlops_assets.training.signature import Signature

ROWS = 4000
KINDS = ("noise", "missing values", "unseen categories", "out of range")


def flights(rows: int = ROWS, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "wind": [
                None if hole else float(wind) for hole, wind in zip(rng.random(rows) < 0.1, rng.normal(9, 4, rows), strict=True)
            ],
            "minute": rng.integers(0, 1440, rows),
            "never": pl.Series([None] * rows, dtype=pl.Float64),
            "carrier": rng.choice(["UA", "AA"], rows),
            "late": rng.integers(0, 2, rows),
        }
    )


def perturbed(known: pl.DataFrame, rows: pl.DataFrame, **changes: Any) -> dict[str, pl.DataFrame]:
    fields: dict[str, Any] = {"numeric": ("wind", "minute", "never"), "categorical": ("carrier",)}
    fields |= {"noise": 0.05, "share": 0.05, "seed": 3} | changes
    signature = Signature(fields.pop("numeric"), dict.fromkeys(fields.pop("categorical"), ()))
    return perturb(rows, known, signature, **fields)


@pytest.fixture(scope="module")
def worse() -> dict[str, pl.DataFrame]:
    return perturbed(flights(), flights())


def changed(kind: pl.DataFrame, name: str) -> np.ndarray[Any, Any]:
    before = flights()[name]
    return kind[name].ne_missing(before.cast(kind[name].dtype)).to_numpy()


def test_each_perturbation_touches_its_own_columns_and_no_other(worse: dict[str, pl.DataFrame]) -> None:
    touched = {kind: {name for name in flights().columns if changed(rows, name).any()} for kind, rows in worse.items()}
    assert touched == {
        "noise": {"wind", "minute"},
        "missing values": {"wind", "minute", "carrier"},
        "unseen categories": {"carrier"},
        "out of range": {"wind", "minute"},
    }


@pytest.mark.parametrize("kind", KINDS[1:])
def test_each_column_is_hit_in_the_declared_share_of_its_rows(worse: dict[str, pl.DataFrame], kind: str) -> None:
    deviations = 4 * (0.05 * 0.95 / ROWS) ** 0.5
    for name in {"missing values": ("minute", "carrier"), "unseen categories": ("carrier",), "out of range": ("wind", "minute")}[
        kind
    ]:
        assert changed(worse[kind], name).mean() == pytest.approx(0.05, abs=deviations)


def test_noise_has_the_declared_part_of_the_deviation_and_leaves_what_is_missing(worse: dict[str, pl.DataFrame]) -> None:
    before, after = flights()["wind"], worse["noise"]["wind"]
    noise = (after - before).drop_nulls().to_numpy()
    assert noise.std() == pytest.approx(0.05 * np.nanstd(before.to_numpy()), rel=0.05)
    assert noise.mean() == pytest.approx(0, abs=4 * noise.std() / len(noise) ** 0.5)
    assert after.is_null().equals(before.is_null())


def test_an_out_of_range_number_is_far_outside_the_known_range_on_either_side(worse: dict[str, pl.DataFrame]) -> None:
    low, high = float(flights()["minute"].min()), float(flights()["minute"].max())  # pyright: ignore[reportArgumentType]
    wild = worse["out of range"]["minute"].to_numpy()[changed(worse["out of range"], "minute")]
    assert set(wild) == {low - SPANS_AWAY * (high - low), high + SPANS_AWAY * (high - low)}


def test_an_unseen_category_was_not_there_before(worse: dict[str, pl.DataFrame]) -> None:
    assert set(worse["unseen categories"]["carrier"]) - set(flights()["carrier"]) == {UNSEEN}


def test_the_range_is_that_of_the_rows_learned_from_and_not_of_those_perturbed() -> None:
    rows = flights().with_columns(pl.col("minute") * 100)
    wild = perturbed(flights(), rows)["out of range"]["minute"].to_numpy()
    low = float(flights()["minute"].min())  # pyright: ignore[reportArgumentType]
    high = float(flights()["minute"].max())  # pyright: ignore[reportArgumentType]
    assert high + SPANS_AWAY * (high - low) in wild


def test_a_number_that_never_varied_still_goes_out_of_range() -> None:
    constant = flights().with_columns(minute=pl.lit(7))
    assert set(perturbed(constant, constant)["out of range"]["minute"]) == {7.0 - SPANS_AWAY, 7.0, 7.0 + SPANS_AWAY}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), rows=st.integers(0, 40), share=st.floats(0.01, 1), noise=st.floats(0.01, 5))
def test_rows_keep_their_number_and_order_and_a_seed_makes_the_same_again(
    seed: int, rows: int, share: float, noise: float
) -> None:
    frame = flights(rows)
    first, again = (perturbed(flights(), frame, share=share, noise=noise, seed=seed) for _ in range(2))
    assert tuple(first) == KINDS
    for kind, worse in first.items():
        assert worse.equals(again[kind])
        assert worse["late"].equals(frame["late"])
        assert worse.columns == frame.columns


def test_a_share_of_one_hits_every_value() -> None:
    worse = perturbed(flights(), flights(), share=1.0)
    assert worse["missing values"]["carrier"].null_count() == ROWS
    assert set(worse["unseen categories"]["carrier"]) == {UNSEEN}


def test_another_seed_hits_other_rows() -> None:
    first, other = (perturbed(flights(), flights(), seed=seed)["missing values"] for seed in (1, 2))
    assert not first.equals(other)


def test_a_column_more_changes_nothing_about_the_others() -> None:
    both = perturbed(flights(), flights())
    alone = perturbed(flights(), flights(), numeric=("minute",), categorical=())
    assert all(
        both[kind]["minute"].equals(alone[kind]["minute"].cast(pl.Float64))
        for kind in ("noise", "missing values", "out of range")
    )


def test_the_spread_is_that_of_the_finite_values() -> None:
    numbers = [1.0, 4.0, None, float("nan"), float("inf"), 10.0]
    spread = spread_of(pl.DataFrame({"wind": numbers}), ("wind",))["wind"]
    assert spread == (pytest.approx(np.std([1, 4, 10])), 1.0, 10.0)
