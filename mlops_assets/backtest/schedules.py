"""The cost of a schedule of trainings, and the cheapest one in hindsight."""

# The cost of "When to retrain a machine learning model" (ICML 2025, arXiv 2505.14903): what every step loses with the version
# that serves it, and what every training costs. Regret is the cost beyond that of the best schedule, which knows the future.

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Cost(NamedTuple):
    """In the units in which a training and a lost point are declared."""

    training: float
    point: float  # of a step in which the metric is one point worse than that of the best version there was


class Schedule(NamedTuple):
    """`trained` are the steps before which a version is trained, the first step left out, as it has one in every schedule."""

    trained: tuple[int, ...]
    lost_points: float
    cost: float


def best_schedule(lost: NDArray[np.float64], cost: Cost) -> Schedule:
    """The cheapest of all schedules. `lost[version, step]` are the points that the version trained before step `version` loses in
    a later step or that one. Each training serves from its step on, at once.
    """
    steps = len(lost)
    serving = np.triu(lost).cumsum(axis=1)  # of a version, from its own step to each later one
    cheapest, chosen = np.full(steps + 1, np.inf), [0] * (steps + 1)
    cheapest[0] = 0.0
    for end in range(1, steps + 1):
        for version in range(end):
            total = cheapest[version] + cost.point * serving[version, end - 1] + cost.training * (version > 0)
            if total < cheapest[end]:
                cheapest[end], chosen[end] = total, version
    trained, end = list[int](), steps
    while end > 0:
        end = chosen[end]
        trained.append(end)
    trained = sorted(version for version in trained if version > 0)
    return schedule_of(trained, lost, cost)


def schedule_of(trained: Sequence[int], lost: NDArray[np.float64], cost: Cost) -> Schedule:
    """Of the first version and those `trained` before these steps, each serving from its step to the next one."""
    steps = len(lost)
    serving = [max([0, *(one for one in trained if one <= step)]) for step in range(steps)]
    points = float(sum(lost[version, step] for step, version in enumerate(serving)))
    return Schedule(tuple(trained), points, cost.point * points + cost.training * len(trained))
