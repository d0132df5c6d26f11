"""Any order of deliveries, declarations, trainings, promotions, rollbacks, keys, restarts and backups leaves two lines in one home
as a recomputation says, and their servers answer every request.
"""

import datetime as dt
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mlops_assets.foundation import names
from mlops_assets.promotion.promotions import PlanDisagrees
from tests.graph.line import environment_of
from tests.stories.declarations import BAD, CUSTOMERS, DAYS, TABLES, VIEWS, Declared, feature_repo, rows_of
from tests.stories.story_line import AFTER, StoryLine, cause

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

NO_SERVER = 1  # the exit code of a command where no server confirms: the one of a story has no address
LINES, TABLE, DAY, SEEDS = st.integers(0, 1), st.sampled_from(TABLES), st.sampled_from(DAYS), st.integers(0, 99)


class Stories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        folder = Path(self.open.enter_context(TemporaryDirectory()))
        instance = self.open.enter_context(dg.DagsterInstance.ephemeral(tempdir=str(folder)))
        environment = environment_of(folder, {name: feature_repo(name, Declared()) for name in VIEWS})
        self.lines = [StoryLine(environment, name, instance) for name in VIEWS]
        self.ledger, self.backup = environment.home.root / "ledger.db", folder / "backup.db"
        self.changed = {0, 1}

    def teardown(self) -> None:
        for line in self.lines:
            if line.server:
                line.server.stop()
        self.open.close()

    def line(self, number: int) -> StoryLine:
        self.changed.add(number)
        return self.lines[number]

    def deliver(self, line: int, table: str, days: list[dt.date], *, seed: int, bad: int = 0, kept: int = 99) -> None:
        number = "amount" if table == "applications" else "paid"
        rows = {day: rows_of(table, day, seed)[:kept] for day in days}
        rows = {day: [row | ({number: BAD} if index < bad else {}) for index, row in enumerate(of)] for day, of in rows.items()}
        self.line(line).deliver(table, rows, seed)

    def train(self) -> None:
        for number, line in enumerate(self.lines):
            if line.can_train():
                self.line(number).train()

    @initialize(seed=SEEDS, landed=st.integers(3, len(DAYS)))
    def the_first_days_have_landed(self, seed: int, landed: int) -> None:
        for line in range(len(self.lines)):
            for table in TABLES:
                self.deliver(line, table, DAYS[:landed], seed=seed)
        self.train()

    # --- deliveries -------------------------------------------------------------------------------------------------------

    @rule(line=LINES, table=TABLE, day=DAY, seed=SEEDS, bad=st.integers(0, 2))
    def a_day_comes_late_or_is_corrected(self, line: int, table: str, day: dt.date, seed: int, bad: int) -> None:
        self.deliver(line, table, [day], seed=seed, bad=bad)

    @rule(line=LINES, table=TABLE, day=DAY, seed=SEEDS)
    def a_day_fails_its_checks(self, line: int, table: str, day: dt.date, seed: int) -> None:
        self.deliver(line, table, [day], seed=seed, bad=5)

    @rule(line=LINES, table=TABLE, day=DAY, kept=st.integers(0, 3))
    def rows_are_retracted_all_or_almost_all(self, line: int, table: str, day: dt.date, kept: int) -> None:
        self.deliver(line, table, [day], seed=0, kept=kept)

    @rule(line=LINES, table=TABLE, day=DAY)
    def a_file_cannot_be_read(self, line: int, table: str, day: dt.date) -> None:
        self.line(line).break_file(table, day)

    @precondition(lambda self: any(line.can_waive() for line in self.lines))
    @rule(place=st.integers(0, 99))
    def a_refused_day_is_waived(self, place: int) -> None:
        refused = [(number, *one) for number, line in enumerate(self.lines) for one in line.can_waive()]
        number, table, day = refused[place % len(refused)]
        self.line(number).waive(table, day)

    # --- declarations -----------------------------------------------------------------------------------------------------

    @rule(line=LINES, column=st.sampled_from(["whole_amounts", "whole_payments"]))
    def a_number_becomes_wider_or_narrower(self, line: int, column: str) -> None:
        story = self.line(line)
        is_whole = getattr(story.declared, column)
        assert story.change(replace(story.declared, **{column: not is_whole})) or not is_whole, "widening loses nothing"

    @rule(line=LINES, since=DAY)
    def a_column_comes(self, line: int, since: dt.date) -> None:
        declared = self.line(line).declared
        if declared.branch_since is None:
            assert self.lines[line].change(replace(declared, branch_since=since))

    @rule(line=LINES, column=st.sampled_from(["insured", "branch"]))
    def a_column_goes(self, line: int, column: str) -> None:
        declared = self.line(line).declared
        if declared.has(column):
            rest = declared.inputs - {column}
            assert self.lines[line].change(replace(declared, drops=declared.drops | {column}, inputs=rest))

    @rule(line=LINES)
    def a_column_is_renamed(self, line: int) -> None:
        assert self.line(line).change(replace(self.lines[line].declared, paid="euros"))

    @rule(line=LINES, column=st.sampled_from(["insured", "branch"]))
    def an_input_is_added_or_removed(self, line: int, column: str) -> None:
        declared = self.line(line).declared
        if declared.has(column):
            assert self.lines[line].change(replace(declared, inputs=declared.inputs ^ {column}))

    @rule(line=LINES)
    def a_feature_view_is_added_or_removed(self, line: int) -> None:
        declared = self.line(line).declared
        assert self.lines[line].change(replace(declared, has_total=not declared.has_total))

    # --- versions ---------------------------------------------------------------------------------------------------------

    @precondition(lambda self: any(line.can_train() for line in self.lines))
    @rule()
    def models_are_trained(self) -> None:
        self.train()

    @rule(line=LINES)
    def answers_are_joined_with_their_labels(self, line: int) -> None:
        if self.line(line).server:
            self.lines[line].join_answers()

    @rule(line=LINES)
    def what_serves_is_rolled_back(self, line: int) -> None:
        story = self.line(line)
        state = story.promotions.state()
        if state.plan and state.challenger_version is not None:
            story.roll_back()
            assert story.deployment.plan().versions == (state.plan.champion,)  # type: ignore[union-attr]
        elif state.previous_champion is not None:
            story.roll_back()
            assert story.deployment.plan().champion == state.previous_champion  # type: ignore[union-attr]

    @rule(line=LINES)
    def the_version_before_runs_next_to_the_champion(self, line: int) -> None:
        if version := self.line(line).promotions.state().previous_champion:
            self.lines[line].try_beside(version)

    @rule()
    def keys_are_rotated_and_the_old_one_is_revoked(self) -> None:
        keys = self.lines[0].keys
        if (before := keys.current()) is None:
            return
        keys.rotate()
        for line in self.lines:
            for version in line.placed.signed_with(before):
                if version in line.promotions.state().blessings:
                    line.placed.reissue(version, by="ada", at=cause()["at"])
            assert not line.placed.needing(before)
        keys.withdraw(before, needed_by=[])
        self.changed |= {0, 1}

    @rule(line=LINES)
    def servers_restart(self, line: int) -> None:
        if self.line(line).server:
            self.lines[line].serve()

    @precondition(lambda self: all(line.promotions.state().plan for line in self.lines))
    @rule()
    def the_ledger_is_backed_up(self) -> None:
        shutil.copy(self.ledger, self.backup)

    @precondition(lambda self: self.backup.exists())
    @rule()
    def the_ledger_is_restored(self) -> None:
        before = [line.promotions.state().plan for line in self.lines]
        shutil.copy(self.backup, self.ledger)
        for line, plan in zip(self.lines, before, strict=True):
            if line.promotions.state().plan != plan:
                assert line.promotions.difference()
                with pytest.raises(PlanDisagrees):
                    line.roll_back()
                assert "plan and ledger disagree" in line.command("status", line.name)
                line.command("ledger", "mirror", line.name, "--replace", exit_code=NO_SERVER)
            elif line.ledger.verify(line.name):  # records above the newest plan are gone
                assert "ledger: " in line.command("status", line.name)
                line.command("ledger", "mirror", line.name, "--replace", exit_code=NO_SERVER)
            assert line.deployment.plan() == line.promotions.state().plan
        self.changed |= {0, 1}

    # --- what holds after every step --------------------------------------------------------------------------------------

    @invariant()
    def every_delivered_row_is_accepted_or_in_quarantine_with_a_reason(self) -> None:
        for line in self._changed():
            for table in TABLES:
                columns = (*line.declared.columns[table], "day")
                stored = line.columns(names.validated(line.name, table), *columns)
                assert sorted(stored, key=str) == sorted(line.stored(table), key=str)
                refused = line.columns(names.quarantine(line.name, table), "reasons")
                assert len(refused) == line.refused(table) and all(reason for (reason,) in refused)

    @invariant()
    def online_equals_offline_and_what_was_accepted(self) -> None:
        for line in self._changed():
            expected = [line.paid(customer, AFTER) for customer in CUSTOMERS]
            assert line.online() == expected
            assert line.offline() == expected

    @invariant()
    def the_training_set_equals_a_recomputation(self) -> None:
        for line in self._changed():
            if line.trained is not None:
                rows = [tuple(row.values()) for row in line.trained]
                columns = line.trained[0]
                assert sorted(line.columns(names.stage(line.name, "training_set"), *columns)) == rows
                line.trained = None

    @invariant()
    def the_champion_serves_and_no_request_has_failed(self) -> None:
        for line in self.lines:
            line.check_what_serves()

    @invariant()
    def status_is_right(self) -> None:
        for line in self._changed():
            line.check_status()
        self.changed.clear()

    def _changed(self) -> list[StoryLine]:
        return [self.lines[number] for number in sorted(self.changed)]


# A step takes about a second, so that shrinking would take hours.
SHARED = settings(deadline=None, suppress_health_check=[*HealthCheck], phases=[Phase.explicit, Phase.generate])


# Drawn stories seldom have all of it: two thirds of the steps that the fixed draw of CI takes rotate keys or deliver a day.
WHOLE_STORY: tuple[tuple[str, dict[str, Any]], ...] = (
    ("a_day_comes_late_or_is_corrected", {"line": 0, "table": "applications", "day": DAYS[1], "seed": 5, "bad": 1}),
    ("a_day_fails_its_checks", {"line": 0, "table": "payments", "day": DAYS[2], "seed": 7}),
    ("a_refused_day_is_waived", {"place": 0}),
    ("rows_are_retracted_all_or_almost_all", {"line": 1, "table": "applications", "day": DAYS[0], "kept": 2}),
    ("a_file_cannot_be_read", {"line": 1, "table": "payments", "day": DAYS[2]}),
    ("models_are_trained", {}),
    ("a_number_becomes_wider_or_narrower", {"line": 0, "column": "whole_payments"}),
    ("a_number_becomes_wider_or_narrower", {"line": 0, "column": "whole_payments"}),
    ("a_column_comes", {"line": 0, "since": DAYS[1]}),
    ("a_day_comes_late_or_is_corrected", {"line": 0, "table": "applications", "day": DAYS[2], "seed": 8, "bad": 0}),
    ("an_input_is_added_or_removed", {"line": 0, "column": "branch"}),
    ("models_are_trained", {}),
    ("servers_restart", {"line": 0}),
    ("answers_are_joined_with_their_labels", {"line": 0}),
    ("the_version_before_runs_next_to_the_champion", {"line": 0}),
    ("what_serves_is_rolled_back", {"line": 0}),
    ("the_ledger_is_backed_up", {}),
    ("what_serves_is_rolled_back", {"line": 0}),
    ("the_ledger_is_restored", {}),
    ("a_feature_view_is_added_or_removed", {"line": 1}),
    ("a_column_is_renamed", {"line": 1}),
    ("a_column_goes", {"line": 1, "column": "insured"}),
    ("a_day_comes_late_or_is_corrected", {"line": 1, "table": "payments", "day": DAYS[2], "seed": 9, "bad": 0}),
    ("models_are_trained", {}),
    ("keys_are_rotated_and_the_old_one_is_revoked", {}),
    ("servers_restart", {"line": 1}),
)


def test_a_story_in_which_all_of_it_happens() -> None:
    assert {name for name, _ in WHOLE_STORY} == {one.function.__name__ for one in Stories.setup_state().rules}
    stories = Stories()
    try:
        stories.the_first_days_have_landed(seed=2, landed=len(DAYS))
        for name, arguments in (("the first days", {}), *WHOLE_STORY):
            happen: Any = getattr(stories, name, None)
            if happen:
                happen(**arguments)
            for invariant_ in Stories.setup_state().invariants:
                invariant_.function(stories)
        assert all(line.promotions.state().plan for line in stories.lines)
    finally:
        stories.teardown()


@pytest.mark.slow
class TestLongStories(Stories.TestCase):
    settings = settings(SHARED, max_examples=1, stateful_step_count=20)
