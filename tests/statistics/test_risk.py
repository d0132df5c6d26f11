"""Bounds of the risk from few labels: right at every look, and narrow where what is expected is right."""

from collections.abc import Callable

import numpy as np
import pytest

from mlops_assets.statistics.metrics import Array
from mlops_assets.statistics.risk import Bounds, ExpectedLoss, mean_bounds, risk_bounds

ANSWERS, LOOKS, STREAMS, ERROR = 2000, 6, 40, 0.05
MANY = 20_000  # answers
Expect = Callable[[Array, Array], Array]  # from the probability of a loss and the loss

EXPECTATIONS: dict[str, Expect] = {
    "the probability": lambda chance, loss: chance,
    "nothing but noise": lambda chance, loss: np.random.default_rng(7).random(len(chance)),
    "the opposite": lambda chance, loss: 1 - chance,
    "the loss itself": lambda chance, loss: loss,
}


def stream(rng: np.random.Generator, expect: Expect, answers: int = ANSWERS) -> tuple[Array, Array, Array]:
    """Losses, what is expected of them, and after how many answers the label of each is known; of nine tenths never."""
    chance = rng.beta(0.5, 2.0, answers)
    loss = (rng.random(answers) < chance).astype(float)
    delay = rng.exponential(300, answers)
    known = np.where(rng.random(answers) < 0.1, np.arange(answers) + delay, np.inf)
    return loss, expect(chance, loss), known


@pytest.mark.parametrize("name", EXPECTATIONS)
def test_the_risk_is_within_its_bounds_at_every_look(name: str) -> None:
    """Of streams whose labels come late, as many as are allowed may leave them once."""
    risk, left = 0.2, 0
    for seed in range(STREAMS):
        loss, expected, known = stream(np.random.default_rng(seed), EXPECTATIONS[name])
        for now in np.linspace(ANSWERS / LOOKS, ANSWERS, LOOKS).astype(int):
            labelled = np.flatnonzero(known[:now] <= now)
            bounds = risk_bounds(loss[labelled], expected[labelled], expected[:now], ERROR)
            if not bounds.low <= risk <= bounds.high:
                left += 1
                break
    assert left <= ERROR * STREAMS


def widths(name: str, labels: int) -> tuple[float, float]:
    """From labels and expectations, and from labels alone; the mean of three streams."""
    both = list[tuple[float, float]]()
    for seed in range(3):
        loss, expected, _known = stream(np.random.default_rng(seed), EXPECTATIONS[name], MANY)
        assisted, alone = risk_bounds(loss[:labels], expected[:labels], expected), mean_bounds(loss[:labels])
        both.append((assisted.high - assisted.low, alone.high - alone.low))
    powered, alone = np.mean(both, axis=0)
    return float(powered), float(alone)


@pytest.mark.parametrize("labels", [20, 400])
@pytest.mark.parametrize("name", EXPECTATIONS)
def test_wrong_expectations_hardly_widen_the_bounds(name: str, labels: int) -> None:
    powered, alone = widths(name, labels)
    assert powered <= 1.1 * alone


@pytest.mark.parametrize(("labels", "ratio"), [(100, 0.7), (400, 0.5), (1000, 0.5)])
def test_right_expectations_narrow_the_bounds(labels: int, ratio: float) -> None:
    powered, alone = widths("the loss itself", labels)
    assert powered <= ratio * alone


def test_a_loss_that_grows_is_found_with_fewer_labels_where_it_is_expected() -> None:
    """The mean of all answers is known to rise with the inputs, of which labels alone know nothing yet."""
    rng = np.random.default_rng(1)
    chance = np.r_[np.full(500, 0.1), np.full(5000, 0.6)]
    loss = (rng.random(len(chance)) < chance).astype(float)
    labelled = np.r_[0:40, 500:700]
    bounds = risk_bounds(loss[labelled], chance[labelled], chance)
    assert bounds.low > 0.4


def test_without_labels_nothing_is_known() -> None:
    none = np.zeros(0)
    assert risk_bounds(none, none, np.full(100, 0.5)) == Bounds(0.0, 1.0) == mean_bounds(none)


def test_constant_losses_of_any_size_are_within_their_bounds() -> None:
    for value in (0.0, 0.001, 0.5, 1.0):
        bounds = mean_bounds(np.full(200, value))
        assert bounds.low <= value <= bounds.high and bounds.high - bounds.low < 0.1


def test_labels_that_are_no_fair_sample_leave_the_bounds_of_labels_alone() -> None:
    loss, expected, everything = np.zeros(500), np.zeros(500), np.ones(5000)
    assert risk_bounds(loss, expected, everything) == mean_bounds(loss, 0.025)


@pytest.mark.parametrize("output", [np.linspace(0, 1, 500), np.stack([np.linspace(0, 1, 500), np.linspace(1, 0, 500)], axis=1)])
def test_the_expected_loss_follows_the_output(output: Array) -> None:
    place = output if output.ndim == 1 else output.max(axis=1)
    expected = ExpectedLoss.of(output, place**2)
    assert np.abs(expected(output) - place**2).max() < 0.11
    assert len(expected.places) == 10
