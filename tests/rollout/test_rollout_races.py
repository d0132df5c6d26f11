"""Concurrent changes during a look at a rollout: a decision on an old state is not applied to a new one."""

from pathlib import Path
from typing import Any

import pytest

from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import Home
from mlops_assets.promotion.ledger import ConcurrentWrite
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.rollout.rollouts import Rollouts
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.rollout import Canary
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.digest import digest
from tests.promotion.model_line import ModelLine, model

QUICK = Canary(shadow_rows=1, steps=(0.5, 1.0), step_rows=1)


class Line(ModelLine):
    """Versions 1 and 2 were champions, and version 3 is in the shadow of version 2."""

    def __init__(self, root: Path, *, risk: str = "medium") -> None:
        super().__init__(root, risk=risk)
        self.use_case: UseCase = self.use_case.model_copy(update={"rollout": QUICK})
        self.promotions = Promotions(self.use_case, self.ledger, self.deployment, self.keys)
        home = Home(root)
        self.log, self.shadow_log = (PredictionLog(folder, self.use_case) for folder in (home.prediction_log, home.shadow_log))
        self.rollouts = Rollouts(self.promotions, self.log, self.shadow_log, DeltaTables(home.tables), home.rollouts)
        self.bless(1, 2)
        if risk == "high":
            self.approve(1), self.approve(2)
        self.promote(1, 2)
        self.bless(3)
        if risk == "high":
            self.approve(3)
        assert self.look().plan

    def look(self) -> Any:
        return self.rollouts.advance(by="the sensor", at=self.now(), why="a test")

    def score(self) -> None:
        """One more request that the shadow answered too: enough to go on."""
        now, plan = self.now(), self.state().plan
        assert plan
        version = plan.shadow or 3
        row = dict.fromkeys(self.shadow_log.schema) | {"prediction_id": "p", "answered_at": now, "event_timestamp": now}
        row |= {"plan": plan.number, "arm": "shadow", "model_version": version, "model_digest": digest(model(version))}
        row |= {"probability": 0.3, "champion_probability": 0.3, "decision": False, "challenger_failed": False}
        row |= {"call": 1, "model_ms": 2.0}
        self.shadow_log.append([row])
        self.shadow_log.flush()

    def go_back_meanwhile(self) -> None:
        """A person is quicker, after the look has read the ledger."""
        self.ledger.before = lambda: self.promotions.roll_back(**self.attribution(by="bob"))


@pytest.fixture
def trial(tmp_path: Path) -> Line:
    return Line(tmp_path)


def test_a_blessing_and_a_refusal_are_recorded_whatever_others_write_meanwhile(trial: Line):
    for act in (lambda: trial.bless(4), lambda: trial.promotions.refuse(3, reason="It leaks.", by="judge", at=trial.now())):
        trial.ledger.before = lambda: trial.promotions.refuse(2, reason=f"{trial.now()}", by="bob", at=trial.now())
        act()
    assert trial.kinds()[-4:] == ["refusal", "blessing", "refusal", "refusal"] and 3 in trial.state().refusals


def test_two_rollbacks_of_the_same_challenger_do_not_roll_back_the_champion_too(trial: Line):
    trial.go_back_meanwhile()
    with pytest.raises(ConcurrentWrite, match="rollback by bob"):
        trial.rollouts.advance(by="the sensor", at=trial.now() + QUICK.give_up_after, why="a test")
    plan = trial.state().plan
    assert plan and plan.champion == 2 and trial.kinds()[-2:] == ["plan", "rollback"]


def test_a_challenger_that_a_person_rolled_back_does_not_advance(trial: Line):
    trial.score()
    trial.go_back_meanwhile()
    with pytest.raises(ConcurrentWrite, match="rollback by bob"):
        trial.look()
    assert trial.state().challenger_version is None and trial.look().plan is None


def test_a_challenger_that_was_refused_is_rolled_back_instead_of_advanced(trial: Line):
    trial.score()
    trial.promotions.refuse(3, reason="It leaks.", by="judge", at=trial.now())
    step = trial.look()
    assert step.plan.rollout == "" and step.plan.champion == 2 and "It leaks." in step.message
    assert trial.kinds()[-1] == "rollback" and trial.look().plan is None


def test_a_rollout_whose_approval_expired_stays_at_its_step_until_it_is_approved_again(tmp_path: Path):
    trial = Line(tmp_path, risk="high")
    trial.score()
    trial.bless(3, evaluation_digest="f" * 64)
    with trial.unchanged():
        assert "version 3 waits for an approval" in trial.look().message
    trial.approve(3)
    assert trial.look().plan.share == 0.5
