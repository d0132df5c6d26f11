"""Answers count for the models that gave them: a ledger that was restored from a backup uses plan numbers again."""

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.home import Home
from mlops_assets.promotion.deployment import Deployment, Plan
from mlops_assets.rollout.decision import Decision
from mlops_assets.training.digest import digest
from tests.promotion.model_line import model
from tests.rollout.test_rollout_races import QUICK, Line

HARM = 300  # failed calls, which end a rollout where they count
OLD, NEW = 4, 5  # the versions that have the same plan number, before and after the ledger was restored
OWN = 1  # NEW's row in the shadow, before the canary


@dataclass
class Restored:
    line: Line
    plan: Plan

    def log(self, version: int, rows: int = HARM, *, is_failed: bool = False, at: datetime | None = None) -> None:
        """Rows of the plan's number that `version` answered next to the champion, or failed to answer."""
        line, shadow, now = self.line, self.plan.shadow is not None, at or self.line.now()
        served = 2 if is_failed and not shadow else version
        row = dict.fromkeys(line.log.schema) | {"answered_at": now, "event_timestamp": now, "plan": self.plan.number}
        row |= {"arm": "shadow" if shadow else "champion" if is_failed else "challenger", "challenger_failed": is_failed}
        row |= {"model_version": served, "model_digest": digest(model(served)), "decision": False, "model_ms": 2.0}
        row |= {"probability": 0.9, "champion_probability": 0.1 if shadow else None, "latency_ms": 3.0}
        log = line.shadow_log if shadow else line.log
        log.append([row | {"prediction_id": f"{now}-{n}", "call": hash((now, n)), "temp": float(n)} for n in range(rows)])
        log.flush()

    def look(self) -> Decision:
        decision = self.line.look().decision
        assert decision
        return decision

    def know_outcomes(self) -> None:
        """Of every logged answer."""
        rows = pl.concat([self.line.log.read()[0], self.line.shadow_log.read()[0]]).filter(~pl.col("challenger_failed"))
        path = self.line.rollouts.tables.path(names.stage(self.line.use_case.name, "outcomes"))
        rows.with_columns(late=0).write_delta(str(path), mode="overwrite")

    @property
    def evidence(self) -> Path:
        return self.line.rollouts.folder / self.line.use_case.name / "rollout.json"

    @property
    def aside(self) -> Path:
        return self.line.rollouts.folder / "aside.json"


@pytest.fixture(params=["shadow", "canary"])
def restored(tmp_path: Path, request: pytest.FixtureRequest) -> Restored:
    """Version NEW runs under the plan number that OLD had, which failed in every call; its evidence is kept aside."""
    line, ledger, backup = Line(tmp_path), tmp_path / "ledger.db", tmp_path / "backup.db"
    line.promotions.roll_back(**line.attribution())
    shutil.copy(ledger, backup)
    plans = list[Plan]()
    for version in (OLD, NEW):
        shutil.copy(backup, ledger)
        kept = line.state().plan
        assert kept
        Deployment(Home(tmp_path).deployments, line.use_case.name).publish(kept, replace_newer=True)
        line.ledger.accept(line.use_case.name)
        line.bless(version)
        plans.append(line.look().plan)
        if request.param == "canary":
            Restored(line, plans[-1]).log(version, 1)  # all that the shadow needs
            plans[-1] = line.look().plan
        if version == OLD:
            before = Restored(line, plans[-1])
            before.log(OLD, is_failed=True)
            assert before.look().kind == "roll_back"
            shutil.copy(before.evidence, before.aside)
    assert plans[0].number == plans[1].number and plans[0].versions != plans[1].versions
    return Restored(line, plans[1])


def counted(decision: Decision) -> dict[str, int]:
    return {finding.test: finding.challenger_rows for finding in decision.findings}


def test_answers_of_another_version_under_the_same_number_do_not_count(restored: Restored):
    restored.evidence.unlink()  # so that all logs are read again
    restored.log(OLD)  # by a server that was late to read the new plan
    decision = restored.look()
    assert decision.kind == "hold" and max(counted(decision).values()) <= OWN


def test_outcomes_of_another_version_under_the_same_number_do_not_count(restored: Restored):
    restored.log(OLD)
    restored.know_outcomes()
    assert counted(restored.look())["quality"] <= OWN


def test_stored_evidence_of_another_rollout_under_the_same_number_is_not_used(restored: Restored):
    shutil.copy(restored.aside, restored.evidence)
    assert restored.look().kind == "hold"


def test_answers_and_outcomes_of_the_version_itself_count_also_after_the_evidence_is_lost(restored: Restored):
    restored.log(NEW, HARM)
    restored.know_outcomes()
    restored.evidence.unlink()
    decision = restored.look()
    assert decision.kind in ("advance", "roll_back")
    assert min(counted(decision)["score"], counted(decision)["quality"]) > 100  # of so many, some hashes coincide


def test_a_rollout_that_lost_its_evidence_still_ends_in_time(restored: Restored):
    restored.evidence.unlink()
    at = restored.line.now() + QUICK.give_up_after
    decision = restored.line.rollouts.advance(by="the sensor", at=at, why="a test").decision
    assert decision and decision.kind == "roll_back" and "Given up" in decision.reason
