"""Any order of deliveries, trainings, promotions, rollbacks and keys on two lines leaves both as a recomputation says."""

import datetime as dt
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mlops_assets.foundation import names
from tests.integration.story import BAD, CUSTOMERS, DAYS, ROWS, Line, open_lines

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

LINES, TABLES, SEEDS = st.integers(0, 1), st.sampled_from(sorted(ROWS)), st.integers(0, 99)
AFTER = dt.datetime(2024, 4, 1, tzinfo=dt.UTC)


class Stories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        folder = self.open.enter_context(TemporaryDirectory())
        instance = self.open.enter_context(dg.DagsterInstance.ephemeral(tempdir=folder))
        self.lines = open_lines(Path(folder), instance)
        self.changed: set[int] = set()

    def teardown(self) -> None:
        for line in self.lines:
            if line.service:
                line.service.stop()
        self.open.close()

    def deliver(self, line: int, table: str, day: dt.date, *, seed: int, bad: int = 0, kept: int = 99) -> None:
        build, column = ROWS[table]
        rows = build(day, seed)[:kept]
        self.lines[line].deliver(table, day, [row | ({column: BAD} if index < bad else {}) for index, row in enumerate(rows)])
        self.changed.add(line)

    @initialize(seed=SEEDS)
    def every_day_has_landed_once(self, seed: int) -> None:
        for line in range(len(self.lines)):
            for day in DAYS:
                for table in ROWS:
                    self.deliver(line, table, day, seed=seed)

    @rule(line=LINES, table=TABLES, day=st.sampled_from(DAYS), seed=SEEDS, bad=st.integers(0, 2))
    def a_day_is_corrected_and_rows_are_retracted(self, line: int, table: str, day: dt.date, seed: int, bad: int) -> None:
        self.deliver(line, table, day, seed=seed, bad=bad)

    @rule(line=LINES, table=TABLES, day=st.sampled_from(DAYS), seed=SEEDS)
    def a_day_fails_its_checks(self, line: int, table: str, day: dt.date, seed: int) -> None:
        self.deliver(line, table, day, seed=seed, bad=5)

    @rule(line=LINES, table=TABLES, day=st.sampled_from(DAYS), kept=st.integers(0, 3))
    def a_day_is_delivered_almost_empty(self, line: int, table: str, day: dt.date, kept: int) -> None:
        self.deliver(line, table, day, seed=0, kept=kept)

    @precondition(lambda self: any(line.can_train() for line in self.lines))
    @rule()
    def models_are_trained(self) -> None:
        for number, line in enumerate(self.lines):
            if line.can_train():
                line.train()
                self.changed.add(number)

    @rule(line=LINES)
    def keys_are_rotated(self, line: int) -> None:
        self.lines[line].rotate_keys()

    @rule(line=LINES)
    def the_champion_is_rolled_back(self, line: int) -> None:
        plan = self.lines[line].deployment.plan()
        if plan and plan.previous is not None:
            self.lines[line].roll_back()
            assert self.lines[line].deployment.plan().champion == plan.previous  # type: ignore[union-attr]

    @invariant()
    def every_delivered_row_is_accepted_or_in_quarantine_with_a_reason(self) -> None:
        for line in self._changed():
            for table in ROWS:
                key = line.use_case.contract(table).unique
                validated = line.rows(names.validated(line.use_case.name, table), *key, "day")
                expected = Counter(tuple(row[name] for name in (*key, "day")) for row in line.accepted(table))
                assert Counter(tuple(row.values()) for row in validated) == expected
                refused = line.rows(names.quarantine(line.use_case.name, table), "reasons")
                assert len(refused) == line.refused(table) and all(row["reasons"] for row in refused)

    @invariant()
    def online_equals_what_was_accepted(self) -> None:
        for line in self._changed():
            assert line.online(CUSTOMERS, AFTER) == [line.last_paid(customer, AFTER) for customer in CUSTOMERS]

    @invariant()
    def the_training_set_equals_a_recomputation(self) -> None:
        for line in self._changed():
            if line.trained is not None:
                columns = ("number", "amount", "purpose", "defaulted", "last_paid", "split")
                found = line.rows(names.stage(line.use_case.name, "training_set"), *columns)
                assert sorted(found, key=lambda row: row["number"]) == line.trained
                line.trained = None

    @invariant()
    def the_champion_of_the_ledger_serves(self) -> None:
        for line in self.lines:
            if plan := line.promotions.state().plan:
                assert line.ask()["model_version"] == plan.champion
                assert not line.placed.faults() and not line.ledger.verify(line.use_case.name)
        self.changed.clear()

    def _changed(self) -> list[Line]:
        return [self.lines[number] for number in sorted(self.changed)]


Stories.TestCase.settings = settings(
    max_examples=4,
    stateful_step_count=10,
    deadline=None,
    suppress_health_check=[*HealthCheck],
    phases=[Phase.explicit, Phase.generate],  # a step takes seconds, so that shrinking would take hours
)
TestStories = Stories.TestCase
