"""Servers read another plan than the ledger's: every change reports it, and none claims to be in force."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.promotion.deployment import Deployment, Plan
from mlops_assets.promotion.ledger import ConcurrentWrite
from mlops_assets.promotion.ledger_chain import DamagedLedger
from mlops_assets.promotion.promotions import PlanDisagrees, Promotions
from tests.promotion.model_line import ModelLine
from tests.rollout.test_rollout_races import Line

Act = Callable[[ModelLine], Any]
CHANGES: dict[str, Act] = {
    "rollback": lambda line: line.promotions.roll_back(**line.attribution()),
    "route": lambda line: line.promotions.route(challenger=3, share=0.1, **line.attribution()),
    "route to nothing": lambda line: line.promotions.route(**line.attribution()),
    "promotion": lambda line: line.promotions.promote(3, **line.attribution()),
    "promotion of the champion": lambda line: line.promotions.promote(line.state().plan.champion, **line.attribution()),  # type: ignore[union-attr]
}


def forge(line: ModelLine) -> None:
    plan = line.state().plan
    assert plan
    (line.folder / "plan.json").write_text(replace(plan, number=999, champion=3).to_json())


def restore_backup(line: ModelLine) -> None:
    """The ledger loses its newest records, and servers continue with their plan."""
    file = line.folder.parents[1] / "ledger.db"
    shutil.copy(file, file.with_suffix(".backup"))
    line.promotions.roll_back(**line.attribution())
    line.promotions.route(challenger=3, share=0.5, **line.attribution())
    shutil.copy(file.with_suffix(".backup"), file)


def restore_backup_and_bless(line: ModelLine) -> None:
    """The ledger's newest record has a higher number than the plan of servers."""
    restore_backup(line)
    for turn in range(4):
        line.promotions.refuse(9, reason=f"failure {turn}", by="ana", at=line.now())


@pytest.fixture(params=[forge, restore_backup, restore_backup_and_bless], ids=lambda act: act.__name__)
def ahead(request: pytest.FixtureRequest, line: ModelLine) -> ModelLine:
    """A line whose servers read a plan that the ledger does not have."""
    line.bless(1, 2, 3)
    line.promote(1, 2)
    request.param(line)
    return line


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_no_change_claims_success_while_servers_go_on_with_a_plan_that_the_ledger_does_not_have(ahead: ModelLine, change: Act):
    with ahead.unchanged(), pytest.raises(PlanDisagrees) as error:
        change(ahead)
    message = str(error.value)
    assert "flight_delay" in message and "in the ledger it is plan 5 (version 2)" in message
    assert "`mlops ledger mirror flight_delay --replace`" in message


def test_the_ledger_s_plan_replaces_a_newer_one_on_demand_and_the_other_is_kept(ahead: ModelLine):
    forged, plan = (ahead.folder / "plan.json").read_bytes(), ahead.state().plan
    assert plan
    ahead.deployment.publish(plan)
    assert ahead.deployment.plan() != plan
    Deployment(ahead.folder.parent, "flight_delay").publish(plan, replace_newer=True)
    (kept,) = ahead.folder.glob("replaced-plan-*.json")
    assert kept.read_bytes() == forged
    assert ahead.promotions.difference() is None
    ahead.ledger.accept("flight_delay")
    assert ahead.promotions.roll_back(**ahead.attribution()) == ahead.deployment.plan()


def test_a_ledger_that_lost_every_record_does_not_start_again_next_to_a_plan(line: ModelLine):
    line.bless(1)
    line.promote(1)
    root = line.folder.parents[1]
    (root / "ledger.db").unlink()
    with pytest.raises(DamagedLedger, match="the home is damaged, not new. Restore the file from its newest backup"):
        ModelLine(root).bless(1)


def test_a_plan_that_is_older_or_unreadable_is_a_difference_which_the_next_change_removes(line: ModelLine):
    line.bless(1, 2)
    first, _ = line.promote(1), line.promote(2)
    assert line.promotions.difference() is None
    for content in (first.to_json(), "{"):
        (line.folder / "plan.json").write_text(content)
        assert "`mlops ledger mirror flight_delay`" in (line.promotions.difference() or "")
        line.promotions.promote(line.state().plan.champion, **line.attribution())  # type: ignore[union-attr]
        assert line.promotions.difference() is None


class Slow(Deployment):
    """Another writer is quicker between the record and the publication."""

    before: Callable[[], object] | None = None

    def publish(self, plan: Plan, *, replace_newer: bool = False) -> None:
        before, self.before = self.before, None
        if before:
            before()
        super().publish(plan, replace_newer=replace_newer)


def test_the_error_of_a_late_writer_names_who_replaced_its_plan(line: ModelLine):
    line.bless(1, 2, 3)
    line.promote(1)
    slow = Slow(line.folder.parent, "flight_delay")
    slow.before = lambda: line.promotions.promote(3, **line.attribution(by="bob"))
    late = Promotions(line.use_case, line.ledger, slow, line.keys)
    with pytest.raises(ConcurrentWrite, match=r"plan 5 \(version 2\) is not in force: .* record 6 \(promotion by bob\)"):
        late.promote(2, **line.attribution())
    assert line.deployment.plan() == line.state().plan and line.kinds()[-2:] == ["promotion", "promotion"]


def test_a_step_of_a_rollout_says_that_plan_and_ledger_disagree_and_changes_nothing(tmp_path: Path):
    trial = Line(tmp_path)
    trial.score()
    forge(trial)
    with trial.unchanged():
        step = trial.look()
    assert step.plan is None and "servers read plan 999 (version 3" in step.message
    (trial.folder / "plan.json").unlink()
    assert trial.look().plan.share == 0.5


@pytest.mark.parametrize(
    "plan", [Plan(3, 2, 1, "", "", challenger=4, share=0.25, split="ab", shadow=5), Plan(3, 2, None, "", "")]
)
def test_a_server_serves_a_plan_when_everything_it_reports_is_the_same(plan: Plan):
    fields = ("champion", "challenger", "share", "split", "shadow")
    reported: dict[str, Any] = {"plan": 3, "since": "", **{name: getattr(plan, name) for name in fields}}
    assert plan.is_served(reported)
    for name in ("plan", *fields):
        assert not plan.is_served(reported | {name: 9})
    assert not plan.is_served({"plan": None, "champion": None})


def test_a_plan_file_of_an_earlier_release_has_no_digests_and_agrees(line: ModelLine):
    line.bless(1, 2)
    line.promote(1)
    file = line.folder / "plan.json"
    content = json.loads(file.read_text())
    del content["digests"]
    file.write_text(json.dumps(content))
    assert line.promotions.difference() is None
    file.write_text(json.dumps(content | {"champion": 2, "previous": 1}))
    assert "servers read" in (line.promotions.difference() or "")
