"""A changed relation of inputs and label is distinguished from changed inputs."""

import numpy as np
import polars as pl
import pytest

from mlops_assets.statistics.estimation import Labelled
from mlops_assets.statistics.metrics import Array
from mlops_assets.statistics.relation import changes_within, compare_relation

ROWS, DAYS = 3000, 10
BLOCKS = np.arange(ROWS) * DAYS // ROWS


def sample(seed: int, *, mean: float = 0.0, since: int = ROWS, flip: bool = False, noise: float = 0.0) -> tuple[Array, Labelled]:
    """An input around `mean`, and labels that follow it; from row `since` on they do not, or follow its opposite."""
    rng = np.random.default_rng(seed)
    values = rng.normal(mean, 1, ROWS)
    output = 1 / (1 + np.exp(-values))
    days = np.exp(rng.normal(0, noise, DAYS))[BLOCKS] if noise else np.ones(ROWS)
    chance = np.clip(output * days, 0, 1)
    chance[since:] = 1 - output[since:] if flip else 0.5
    return values, Labelled((rng.random(ROWS) < chance).astype(float), output)


@pytest.mark.parametrize("mean", [0.0, 0.7, -1.5])
def test_inputs_that_change_alone_leave_the_relation(mean: float) -> None:
    for seed in range(20):
        change = compare_relation(sample(1)[1], sample(100 + seed, mean=mean)[1], BLOCKS)
        assert change and not change.is_proven, change


@pytest.mark.parametrize("mean", [0.0, 0.7])
@pytest.mark.parametrize("since", [0, 1200, 2100])
@pytest.mark.parametrize("flip", [True, False])
def test_a_changed_relation_is_found_with_its_first_row_whether_or_not_inputs_have_changed(
    mean: float, since: int, flip: bool
) -> None:
    change = compare_relation(sample(1)[1], sample(2, mean=mean, since=since, flip=flip)[1], BLOCKS)
    assert change and change.is_proven, change
    assert abs(change.first - since) < 350


def test_days_that_differ_from_one_another_are_no_changed_relation() -> None:
    """Each day has its own share of the label, around the same mean."""
    proven = 0
    for seed in range(20):
        change = compare_relation(sample(1)[1], sample(seed, noise=0.15)[1], BLOCKS)
        proven += bool(change and change.is_proven)
    assert proven <= 1


def test_too_few_rows_say_nothing() -> None:
    few = Labelled(np.zeros(99), np.zeros(99))
    assert compare_relation(sample(1)[1], few, np.zeros(99, dtype=int)) is None
    assert compare_relation(few, sample(1)[1], BLOCKS) is None


def test_one_constant_output_is_compared_as_one_bin() -> None:
    before, now = (
        Labelled((np.random.default_rng(2).random(500) < share).astype(float), np.full(500, 0.5)) for share in (0.2, 0.6)
    )
    change = compare_relation(before, now, np.arange(500) // 100)
    assert change and change.is_proven and change.change == pytest.approx(0.4, abs=0.06)


def test_the_input_whose_relation_has_changed_differs_within_the_labels() -> None:
    before, now = sample(1), sample(2, since=0, flip=True)
    other = np.random.default_rng(3).choice(["a", "b"], (2, ROWS))
    frames = [pl.DataFrame({"followed": one[0], "other": texts}) for one, texts in zip((before, now), other, strict=True)]
    changes = changes_within(frames[0], frames[1], (before[1].truth, now[1].truth))
    assert changes["followed"] > 0.5
    assert changes["other"] < 0.05
