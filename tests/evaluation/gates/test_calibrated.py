"""Calibrated: probabilities that mean what they say."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlops_assets.spec.gate import Calibrated
from mlops_assets.statistics.binary import BinarySample


def test_the_probabilities_that_made_the_truth_are_calibrated(trial: Any) -> None:
    case = trial(rows=5000)
    verdict = case.but(probability=case.nature).verdict(Calibrated(max_ece=0.05))
    assert verdict.passed
    assert "stays within 0.050" in verdict.message


@pytest.mark.parametrize(("shift", "message"), [(0.2, "too high"), (-0.2, "too low")])
def test_shifted_probabilities_fail_and_the_message_has_the_direction(trial: Any, shift: float, message: str) -> None:
    case = trial(rows=5000)
    verdict = case.but(probability=np.clip(case.nature + shift, 0, 1)).verdict(Calibrated(max_ece=0.05))
    assert not verdict.passed
    assert message in verdict.message


def test_the_declared_number_of_bins_is_used(trial: Any) -> None:
    case = trial()
    verdict = case.verdict(Calibrated(max_ece=0.5, bins=4))
    assert verdict.measured == BinarySample(case.truth, case.probability).tally().ece(bins=4)
    assert verdict.evidence["bins"] == 4


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), bound=st.floats(0.01, 0.9), step=st.floats(0, 1))
def test_moving_each_tenth_to_its_own_share_never_turns_pass_into_fail(trial: Any, seed: int, bound: float, step: float) -> None:
    case, gate = trial(rows=200, seed=seed, noise=0.0), Calibrated(max_ece=bound)
    tenth = np.argsort(np.argsort(case.probability)) // 20
    share = np.array([case.truth[tenth == part].mean() for part in range(10)])
    mean = np.array([case.probability[tenth == part].mean() for part in range(10)])
    moved = case.probability + step * (share - mean)[tenth] / 20
    tenth_after = np.argsort(np.argsort(moved)) // 20
    assume((tenth_after == tenth).all() and moved.min() >= 0 and moved.max() <= 1)  # the tenths must stay the same rows
    before, after = case.verdict(gate), case.but(probability=moved).verdict(gate)
    assert after.measured <= before.measured + 1e-12
    assert after.passed or not before.passed
