"""A candidate that gives every row the same probability is refused by the first gate, in one sentence."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mlops_assets.spec.gate import BeatsChampion, Calibrated, EverySlice, Floor, Gate

GATES: list[Gate] = [
    BeatsChampion(metric="auc"),
    Floor(metric="auc", bound=0.1),
    Floor(metric="brier", bound=0.9),
    Calibrated(max_ece=0.9),
    EverySlice(column="carrier", metric="brier", bound=0.9),
]


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("gate", GATES, ids=repr)
def test_a_constant_candidate_is_refused_whatever_the_first_gate_is(
    trial: Callable[..., Any], gate: Gate, probability: float
) -> None:
    some = trial()
    constant = replace(some, probability=np.full(len(some.truth), probability))
    first, *others = constant.verdicts(gate, *(other for other in GATES if other != gate))
    assert not first.passed
    start = f"all predictions on the {len(some.truth):,} test rows are {probability:.4g}, so the candidate has learned nothing"
    assert start in first.message and first.message.endswith("change the trainer's settings.")
    assert not any("all predictions" in other.message for other in others)


def test_one_other_prediction_is_enough_for_the_gates_own_verdict(trial: Callable[..., Any]) -> None:
    some = trial()
    probability = np.full(len(some.truth), 0.5)
    probability[0] = 0.4
    assert replace(some, probability=probability).verdict(BeatsChampion(metric="auc")).passed
