"""A route by hand next to the declared rollout: no step changes it until it is handed over or ended."""

from pathlib import Path
from typing import Any

import pytest

from mlops_assets.promotion.deployment import IllegalRoute
from mlops_assets.promotion.promotion_state import promotion_state_of
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.rollout.decision import decide
from mlops_assets.rollout.evidence import RolloutState
from mlops_assets.rollout.rollouts import Rollouts
from mlops_assets.spec.rollout import AtOnce
from tests.rollout.rollout_traffic import TASK
from tests.rollout.test_rollout_races import QUICK, Line


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """Version 2 serves; version 3 was in the declared rollout's shadow and was rolled back; version 4 waits."""
    line = Line(tmp_path)
    line.promotions.roll_back(**line.attribution())
    line.bless(4)
    return line


def declare(line: Line, rollout: Any) -> None:
    line.use_case = line.use_case.model_copy(update={"rollout": rollout})
    line.promotions = Promotions(line.use_case, line.ledger, line.deployment, line.keys)
    line.rollouts = Rollouts(line.promotions, line.log, line.shadow_log, line.rollouts.tables, line.rollouts.folder)


@pytest.mark.parametrize("rollout", [QUICK, AtOnce()], ids=["in steps", "at once"])
@pytest.mark.parametrize(
    "route",
    [
        {"challenger": 3, "share": 0.1},
        {"challenger": 3, "share": 1.0},
        {"challenger": 3, "share": 0.0},
        {"shadow": 3},
        {"challenger": 3, "share": 0.5, "split": "ab", "shadow": 1},
    ],
    ids=str,
)
def test_no_step_changes_a_route_by_hand_and_each_says_so(line: Line, rollout: Any, route: dict[str, Any]):
    declare(line, rollout)
    plan = line.promotions.route(**route, **line.attribution())
    line.score()
    with line.unchanged():
        late = line.now() + QUICK.give_up_after
        for step in (line.look(), line.rollouts.advance(by="the sensor", at=late, why="a test")):
            assert step.plan is None and plan.rollout in step.message
            assert "by hand" in step.message and "`mlops route flight_delay --hand-over`" in step.message


def test_a_rollout_that_a_person_takes_over_is_by_hand_even_at_the_same_share(tmp_path: Path):
    trial = Line(tmp_path)
    assert not trial.state().by_hand
    trial.promotions.route(shadow=3, **trial.attribution())
    trial.score()
    assert trial.state().by_hand and trial.kinds()[-2:] == ["plan", "plan"]
    with trial.unchanged():
        trial.look()
        trial.promotions.route(shadow=3, **trial.attribution())  # the same again


def test_a_route_that_is_handed_over_starts_the_declared_rollout_which_then_goes_on(line: Line):
    line.promotions.route(challenger=4, share=0.75, **line.attribution())
    plan = line.rollouts.hand_over(by="ana", at=line.now(), why="it looks good")
    assert (plan.rollout, plan.reason) == ("shadow: version 4", "handed over: it looks good; a rollout begins")
    assert not line.state().by_hand and dict(line.state().shares) == {plan.number: 0.0}
    line.score()
    assert line.look().plan.rollout == "canary: 50% to version 4"


def test_a_route_that_is_handed_over_to_a_rollout_at_once_serves(line: Line):
    declare(line, AtOnce())
    line.promotions.route(challenger=4, share=0.75, **line.attribution())
    assert line.rollouts.hand_over(by="ana", at=line.now(), why="it looks good").champion == 4


def test_only_a_route_by_hand_is_handed_over(line: Line):
    for _ in range(2):
        with line.unchanged(), pytest.raises(IllegalRoute, match="no rollback or route by hand is in force"):
            line.rollouts.hand_over(by="ana", at=line.now(), why="it looks good")
        line.look()  # the declared rollout of version 4 starts


def test_once_a_route_by_hand_is_ended_the_waiting_version_starts(line: Line):
    line.promotions.route(challenger=3, share=0.1, **line.attribution())
    line.promotions.route(**line.attribution())
    assert not line.state().by_hand
    assert line.look().plan.rollout == "shadow: version 4"


def test_a_route_by_hand_of_an_earlier_release_is_known_by_the_reason_that_the_command_gave_it(line: Line):
    plan = {"champion": 2, "previous": 1, "challenger": 3, "share": 1.0, "split": "canary", "shadow": None}
    body = {"version": 3, "plan": plan, "reason": "route: first look", "evidence": {}}
    line.ledger.append("flight_delay", "plan", body, by="ana", at=line.now())
    assert line.look().plan is None and line.state().challenger_version == 3
    body["reason"] = "it may begin now; a rollout begins"
    line.ledger.append("flight_delay", "plan", body, by="the rollout sensor", at=line.now())
    assert not promotion_state_of("flight_delay", line.ledger.records("flight_delay")).by_hand


def test_a_share_that_no_declared_step_exceeds_finishes_when_it_has_all_it_needs(line: Line):
    state = RolloutState.begin(QUICK, edges=(0.5,), claims=2, at=line.now()).entering(1.0, line.now())
    assert decide(QUICK, state, task=TASK, now=line.now()).kind == "hold"
    assert decide(QUICK.model_copy(update={"step_rows": 0}), state, task=TASK, now=line.now()).kind == "finish"
