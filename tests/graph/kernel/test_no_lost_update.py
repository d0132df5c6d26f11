"""Whatever happens to a small graph, once nothing is requested any more it holds what a full rebuild gives, after few runs."""

import datetime as dt
from collections.abc import Callable
from contextlib import ExitStack

import dagster as dg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.graph.kernel.story import DAYS, OURS, PARENTS, TICK, Conditions, Story, running_story

pytestmark = pytest.mark.slow

LAST = DAYS[4]  # the newest that has landed
DAY, ASSET, VALUE = st.sampled_from(DAYS), st.sampled_from([*PARENTS]), st.integers(1, 9)
EAGER = dg.AutomationCondition.eager()
# Without the restriction to the newest partition, and without that to upstream partitions that all exist.
EAGER_ANY_DAY = EAGER.without(dg.AutomationCondition.in_latest_time_window())
EAGER_WHOLE = EAGER.without(~dg.AutomationCondition.any_deps_missing())
# One of the tables, one of the features that look back on them, and one of what has no partitions. Six days have at most three
# unbroken ranges, each with a run of its own. A range that fails is made in parts, and each part is followed.
RUNS_OF_AN_UPDATE, RANGES, RUNS_OF_A_FAULT = 3, 3, 4


class Updates(RuleBasedStateMachine):
    """Each rule is one update, failure or restart; many of them happen while runs are queued or at work."""

    conditions: Conditions = OURS

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.story: Story = self.open.enter_context(running_story(self.conditions))
        self.queued = list[dg.RunRequest]()
        self.updates, self.faults, self.counted = 1, 0, 0

    def teardown(self) -> None:
        self.check()
        self.open.close()

    # --- what lands ---------------------------------------------------------------------------------------------------------

    @rule(day=DAY, value=VALUE)
    def a_day_lands_or_is_corrected(self, day: str, value: int) -> None:
        self.update("orders", day, value)

    @rule(first=st.integers(0, 3), value=VALUE)
    def days_land_together(self, first: int, value: int) -> None:
        for day in DAYS[first : first + 3]:
            self.update("orders", day, value)

    @rule(day=DAY)
    def the_rows_of_a_day_are_retracted_or_the_day_is_waived(self, day: str) -> None:
        self.update("orders", day, None)

    @rule(value=VALUE)
    def the_snapshot_is_replaced(self, value: int) -> None:
        self.update("rates", None, value)

    @rule()
    def the_landing_sensor_looks(self) -> None:
        self.story.report()

    @rule(asset=ASSET)
    def code_changes_and_is_loaded(self, asset: str) -> None:
        self.story.codes[asset] += 1
        self.updates += RANGES
        self.story.restart()

    # --- what runs ----------------------------------------------------------------------------------------------------------

    @rule(seconds=st.integers(1, 90))
    def the_daemon_looks_and_its_runs_wait_in_the_queue(self, seconds: int) -> None:
        if not self.queued:  # Dagster stores the queued runs of a tick before the next one
            self.queued = self.story.tick(dt.timedelta(seconds=seconds))
            self.updates += bool(self.queued)

    @rule()
    def a_queued_run_ends(self) -> None:
        if self.queued:
            self.story.run(self.queued.pop(0))

    @rule(day=DAY, value=VALUE, by_hand=st.booleans())
    def a_day_lands_while_a_run_is_at_work(self, day: str, value: int, by_hand: bool) -> None:
        def during() -> None:
            self.update("orders", day, value)
            self.story.report()
            self.tick_while_runs_are_at_work()
            if by_hand:
                self.story.run_by_hand(day)

        self.story.during.append(during)
        self.updates += 1

    @rule(value=VALUE)
    def the_snapshot_is_replaced_while_a_run_is_at_work(self, value: int) -> None:
        self.story.during.append(lambda: (self.update("rates", None, value), self.story.report())[0])
        self.updates += 1

    @rule(day=DAY)
    def a_person_makes_a_day_by_hand(self, day: str) -> None:
        if ("orders", day) in self.story.landed:
            self.story.run_by_hand(day)
            self.updates += 1

    @rule(asset=ASSET, times=st.integers(1, 2))
    def runs_fail(self, asset: str, times: int) -> None:
        self.story.faults[asset] += times
        self.faults += times

    @rule()
    def the_worker_of_a_queued_run_is_killed(self) -> None:
        if self.queued:
            self.story.kill(self.queued.pop(0))
            self.faults += 1

    @rule(is_stored=st.booleans())
    def the_daemon_restarts(self, is_stored: bool) -> None:
        self.story.restart(forget=not is_stored)

    @rule(launched=st.integers(0, 2), is_stored=st.booleans())
    def the_daemon_dies_in_a_tick(self, launched: int, is_stored: bool) -> None:
        """Some of the runs that it has requested have started."""
        if self.queued:
            return
        for request in self.story.tick()[:launched]:
            self.story.run(request)
            self.updates += 1
        self.story.restart(forget=not is_stored)

    def update(self, table: str, day: str | None, value: int | None) -> None:
        self.updates += self.story.landed.get((table, day), "") != value
        self.story.land(table, day, value)

    def tick_while_runs_are_at_work(self) -> None:
        assert self.story.tick() == []

    # --- what holds ---------------------------------------------------------------------------------------------------------

    @rule()
    def all_is_well_once_it_settles(self) -> None:
        self.check()

    def check(self) -> None:
        for request in self.queued:
            self.story.run(request)
        self.queued = []
        self.story.settle()
        assert self.story.stored == self.story.rebuilt()
        runs, self.counted = self.story.runs - self.counted, self.story.runs
        assert runs <= RUNS_OF_AN_UPDATE * self.updates + RUNS_OF_A_FAULT * self.faults
        self.updates, self.faults = 1, sum(self.story.faults.values())


SHARED = settings(deadline=None, suppress_health_check=[*HealthCheck], phases=[Phase.explicit, Phase.generate])
TestUpdates = Updates.TestCase
TestUpdates.settings = settings(SHARED, max_examples=1, stateful_step_count=6)


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestManyUpdates(Updates.TestCase):
    settings = settings(SHARED, max_examples=8, stateful_step_count=25)


# --- pinned stories -----------------------------------------------------------------------------------------------------------


def is_right_after(happens: Callable[[Story], object], conditions: Conditions) -> bool:
    """Whether the last day is right in the end, after its correction went well."""
    with running_story(conditions) as story:
        story.tick()
        story.land("rates", None, 1)
        for day in DAYS[:5]:
            story.land("orders", day, 1)
        story.settle()
        story.land("orders", LAST, 2)
        story.settle()
        assert story.stored == story.rebuilt()
        story.land("orders", LAST, 3)
        happens(story)
        story.settle()
        return story.stored == story.rebuilt()


def it_lands_again_while_its_run_is_at_work(story: Story) -> None:
    story.report()
    story.during.append(lambda: (story.land("orders", LAST, 4), story.report()))


def a_run_by_hand_overtakes_its_run(story: Story) -> None:
    """It has read the newest file, and what it has written is then overwritten."""
    story.report()
    story.during.append(lambda: (story.land("orders", LAST, 4), story.report(), story.run_by_hand(LAST)))


def its_run_fails_once(story: Story) -> None:
    story.faults["valid"] = 1


def the_daemon_dies_before_it_starts_the_run_that_it_has_requested(story: Story) -> None:
    story.report()
    assert story.tick(3 * TICK)
    story.restart()


def an_older_day_is_corrected(story: Story) -> None:
    story.land("orders", DAYS[0], 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "happens",
    [
        it_lands_again_while_its_run_is_at_work,
        a_run_by_hand_overtakes_its_run,
        its_run_fails_once,
        the_daemon_dies_before_it_starts_the_run_that_it_has_requested,
        an_older_day_is_corrected,
    ],
)
def test_an_update_that_eager_conditions_lose_is_not_lost(happens: Callable[[Story], object]) -> None:
    assert is_right_after(happens, OURS)
    assert not is_right_after(happens, (EAGER_ANY_DAY, EAGER_WHOLE))


def test_eager_conditions_as_they_are_make_the_newest_day_alone() -> None:
    with running_story((EAGER, EAGER)) as story:
        story.tick()
        for day in DAYS[:5]:
            story.land("orders", day, 1)
        assert story.settle() == 0


def test_a_job_by_hand_that_is_at_work_is_waited_for() -> None:
    """Dagster records no selection of assets for the run of a whole job."""
    with running_story() as story:
        story.land("orders", LAST, 1)
        story.report()
        requests: list[dg.RunRequest] = []
        story.during.append(lambda: requests.extend(story.tick()))
        story.run_by_hand(LAST)
        assert requests == [] and len(story.made) == 2
        assert story.settle() == 0


def test_changed_code_makes_again_what_was_made_by_it_and_what_follows() -> None:
    """One run where the last asset has all of its parents in it."""
    with running_story() as story:
        story.land("rates", None, 1)
        for day in DAYS:
            story.land("orders", day, 1)
        story.settle()
        for name, follows, runs in (("raw", 5, 1), ("feature", 3, 2), ("report", 1, 1)):
            story.codes[name] += 1
            story.restart()
            story.made.clear()
            assert story.settle() == runs
            assert [one for one, _ in story.made] == [*PARENTS][-follows:]
            assert story.stored == story.rebuilt()
        story.restart()
        assert story.settle() == 0
