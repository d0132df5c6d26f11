"""During a pause no rollout starts or advances, and a bad challenger is still rolled back."""

from datetime import timedelta
from pathlib import Path

import pytest

from mlops_assets.promotion.pauses import pause, resume
from tests.rollout.test_rollout_races import QUICK, Line


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """Version 3 is in the shadow of version 2, and a month of pause begins."""
    line = Line(tmp_path)
    at = line.now()
    pause(line.use_case.name, until=at + timedelta(days=365), why="a move", by="ana", at=at, ledger=line.ledger)
    return line


def test_no_step_is_taken_until_the_pause_ends(line: Line) -> None:
    line.score()
    with line.unchanged():
        assert "Paused by ana until" in line.look().message
    resume(line.use_case.name, why="moved", by="ana", at=line.now(), ledger=line.ledger)
    assert line.look().plan.rollout == "canary: 50% to version 3"


def test_no_rollout_starts_during_a_pause(line: Line) -> None:
    line.promotions.roll_back(**line.attribution())
    line.bless(4)
    with line.unchanged():
        assert line.look().message.startswith("Paused by ana until")


def test_a_rollout_is_rolled_back(line: Line) -> None:
    late = line.now() + QUICK.give_up_after
    step = line.rollouts.advance(by="the sensor", at=late, why="a test")
    assert step.plan and step.plan.champion == 2 and step.plan.shadow is None


def test_a_person_rolls_back_and_promotes(line: Line) -> None:
    line.promotions.roll_back(**line.attribution())
    assert line.promote(3).champion == 3
