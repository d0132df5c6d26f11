"""The cheapest schedule of trainings equals that of a search through all of them."""

from itertools import chain, combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.backtest.schedules import Cost, best_schedule, schedule_of

POINTS = st.floats(0, 20, allow_nan=False).map(lambda value: round(value, 3))


@st.composite
def lost_by_version(draw: st.DrawFn) -> np.ndarray:
    steps = draw(st.integers(1, 7))
    rows = [[draw(POINTS) if step >= version else 0.0 for step in range(steps)] for version in range(steps)]
    return np.array(rows)


def cost_by_hand(trained: tuple[int, ...], lost: np.ndarray, cost: Cost) -> float:
    total, serving = 0.0, 0
    for step in range(len(lost)):
        if step in trained:
            total, serving = total + cost.training, step
        total += cost.point * lost[serving, step]
    return total


@given(lost_by_version(), st.floats(0, 30), st.floats(0, 3))
def test_no_schedule_is_cheaper(lost: np.ndarray, training: float, point: float) -> None:
    cost, steps = Cost(training, point), range(1, len(lost))
    schedules = [*chain.from_iterable(combinations(steps, count) for count in range(len(lost)))]
    best = best_schedule(lost, cost)
    cheapest = min(cost_by_hand(trained, lost, cost) for trained in schedules)
    np.testing.assert_allclose(best.cost, cheapest, atol=1e-9)
    np.testing.assert_allclose(cost_by_hand(best.trained, lost, cost), best.cost, atol=1e-9)


@given(lost_by_version(), st.data())
def test_a_schedule_costs_what_is_added_by_hand(lost: np.ndarray, data: st.DataObject) -> None:
    trained = tuple(step for step in range(1, len(lost)) if data.draw(st.booleans()))
    cost = Cost(training=3.0, point=0.5)
    schedule = schedule_of(trained, lost, cost)
    np.testing.assert_allclose(schedule.cost, cost_by_hand(trained, lost, cost))
    np.testing.assert_allclose(schedule.cost, 0.5 * schedule.lost_points + 3 * len(trained))


def test_a_dear_training_is_not_bought_and_a_cheap_one_is() -> None:
    lost = np.array([[0.0, 5.0, 5.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert best_schedule(lost, Cost(training=11.0, point=1.0)).trained == ()
    assert best_schedule(lost, Cost(training=9.0, point=1.0)).trained == (1,)
