"""After a rollback by a person nothing is trained or rolled out automatically until a person decides again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_assets.promotion.deployment import IllegalRoute
from mlops_assets.promotion.promotion_state import promotion_state_of
from tests.rollout.test_rollout_races import Line


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """Ana has rolled version 3 back, and version 4 was blessed since."""
    line = Line(tmp_path, risk="high")
    line.promotions.roll_back(by_hand=True, **line.attribution(reason="Newark is slow."))
    line.bless(4)
    return line


def test_no_rollout_starts_and_the_message_names_who_why_and_what_to_do(line: Line) -> None:
    line.ledger.append("flight_delay", "approval", {"version": 99}, by="ana", at=line.now())  # not of this use case's versions
    line.promotions.roll_back(by_hand=True, **line.attribution(reason="Newark is slow."))
    with line.unchanged():
        message = line.look().message
    assert message.startswith("Held since ana rolled back version 2 on 2013-07-01 12:")
    assert (
        "UTC: Newark is slow. Nothing is trained or rolled out by itself: `mlops route flight_delay --hand-over` lets" in message
    )


DECISIONS: dict[str, Callable[[Line], object]] = {
    "approve": lambda line: line.approve(4),
    "promote": lambda line: (line.approve(4), line.promote(4)),
    "hand over": lambda line: line.rollouts.hand_over(by="bob", at=line.now(), why="It is fast again."),
}


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_person_decides_what_follows(line: Line, decision: str) -> None:
    assert line.state().hold
    DECISIONS[decision](line)
    assert not line.state().hold and not line.state().held_up(line.now())
    whole = promotion_state_of("flight_delay", line.ledger.records("flight_delay"))
    assert whole.hold is None and whole == line.state()


def test_once_it_is_handed_over_the_waiting_version_starts(line: Line) -> None:
    line.rollouts.hand_over(by="bob", at=line.now(), why="It is fast again.")
    line.approve(4)
    assert line.look().plan.rollout == "shadow: version 4"
    assert line.kinds()[-3:] == ["handover", "approval", "plan"]


def test_a_rollback_by_the_rollout_itself_holds_nothing_up(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.promotions.roll_back(**line.attribution(by="the rollout sensor"))
    line.bless(4)
    assert not line.state().hold and line.look().plan.rollout == "shadow: version 4"


def test_nothing_is_handed_over_twice(line: Line) -> None:
    line.rollouts.hand_over(by="bob", at=line.now(), why="It is fast again.")
    with line.unchanged(), pytest.raises(IllegalRoute, match="no rollback or route by hand is in force"):
        line.rollouts.hand_over(by="bob", at=line.now(), why="It is fast again.")
