"""The cascade on a small graph: parent (landed outside) -> child -> grandchild, which looks two days back.

On request, `newest` is another child of child, without partitions.

Real runs, the real event log and the real automation sensor, ticked by hand.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import polars as pl
import pytest

from mlops_assets.foundation.calendars import UTC_DAYS
from mlops_assets.foundation.delta_tables import OtherGrain
from mlops_assets.foundation.names import LANDING
from mlops_assets.foundation.stored_schema import MustMigrate
from mlops_assets.graph.kernel.asset_metadata import CADENCE, STAGE, WHEN_CHANGED
from mlops_assets.graph.kernel.assets import asset
from mlops_assets.graph.kernel.automation import build_automation
from mlops_assets.graph.kernel.conditions import (
    DAILY,
    EVERY_PARENT,
    LANDED_PARENTS,
    LONGEST_RETRY,
    LONGEST_WAIT,
    RETRY,
    RUNS_A_RETRY,
    SETTLE,
    build_cascade,
)
from mlops_assets.graph.kernel.tables import ONE_RUN, looking_back

NEWEST = dg.AssetKey("newest")
DAYS = dg.DailyPartitionsDefinition("2013-01-01", end_date="2013-01-11")
PARENT, CHILD, GRANDCHILD = (dg.AssetKey(name) for name in ("parent", "child", "grandchild"))
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def day(number: int) -> str:
    return dt.date(2013, 1, number).isoformat()


@dataclass
class Line:
    """The graph, its instance and what the sensor remembers between ticks. `during` runs in the child's body."""

    instance: dg.DagsterInstance
    tags: dict[str, str] = field(default_factory=dict)
    during: Callable[[], None] = lambda: None
    settle_for: dt.timedelta = dt.timedelta(0)
    with_newest: bool = False
    code: str = "child-1"
    cursor: str | None = None
    made: list[tuple[str, list[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        options: dict[str, Any] = {
            "partitions_def": DAYS,
            "backfill_policy": ONE_RUN,
            "automation_condition": build_cascade(EVERY_PARENT, self.settle_for),
            "tags": self.tags,
        }

        @asset(key=CHILD, deps=[["parent"]], description="", code_version=self.code, **options)
        def child(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            self.made.append(("child", sorted(context.partition_keys)))
            self.during()
            return dg.MaterializeResult()

        @dg.asset(
            deps=[dg.AssetDep("child", partition_mapping=looking_back(dt.timedelta(days=2), UTC_DAYS, UTC_DAYS))], **options
        )
        def grandchild(context: dg.AssetExecutionContext) -> None:
            self.made.append(("grandchild", sorted(context.partition_keys)))

        @dg.asset(deps=["child"], automation_condition=build_cascade(LANDED_PARENTS, self.settle_for))
        def newest() -> None:
            self.made.append(("newest", []))

        self.sensor = build_automation("tiny", dg.AssetSelection.all())
        parent = dg.AssetSpec("parent", partitions_def=DAYS, tags={STAGE: LANDING})
        assets = [parent, child, grandchild, *[newest][: self.with_newest]]
        self.definitions = dg.Definitions(assets, sensors=[self.sensor], executor=dg.in_process_executor)
        self.repository = self.definitions.get_repository_def()
        self.job = self.definitions.resolve_implicit_global_asset_job_def()

    def land(self, *numbers: int) -> None:
        for number in numbers:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(PARENT, partition=day(number)))

    def tick(self) -> list[dg.RunRequest]:
        context = dg.build_sensor_context(
            self.instance, self.cursor, repository_def=self.repository, sensor_name=self.sensor.name
        )
        evaluated = self.sensor.evaluate_tick(context)
        self.cursor = evaluated.cursor
        return [*(evaluated.run_requests or [])]

    def run(self, request: dg.RunRequest) -> bool:
        keys = [*(request.asset_selection or [])]
        done = self.job.execute_in_process(
            asset_selection=keys,
            instance=self.instance,
            tags=request.tags,
            partition_key=request.partition_key,
            raise_on_error=False,
        )
        return done.success

    def settle(self, most: int = 6) -> list[tuple[str, list[str]]]:
        """Ticks and runs until nothing is requested; the materialized assets, in order."""
        before = len(self.made)
        for _ in range(most):
            requests = self.tick()
            if not requests:
                return self.made[before:]
            for request in requests:
                self.run(request)
        raise AssertionError(f"still asking after {most} ticks: {self.made[before:]}")


@pytest.fixture
def line() -> Iterator[Line]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Line(instance)


def every_day(*numbers: int) -> list[str]:
    return [day(number) for number in numbers]


def test_several_landed_days_become_one_run_over_their_range(line: Line) -> None:
    line.land(1, 2, 3, 4)
    (request,) = line.tick()
    assert {*(request.asset_selection or [])} == {CHILD, GRANDCHILD}
    assert [request.tags[name] for name in RANGE] == [day(1), day(4)]
    assert line.run(request)
    assert line.made == [("child", every_day(1, 2, 3, 4)), ("grandchild", every_day(1, 2, 3, 4))]
    assert line.tick() == []


class Clock:
    """Evaluates the conditions of a line at any time, counted from the last delivery; `wanted` are all partitions it requests."""

    def __init__(self, line: Line) -> None:
        self.line, self.at, self.cursor = line, dt.datetime.now(dt.UTC), None

    def land(self, *numbers: int) -> None:
        self.line.land(*numbers)
        self.at = dt.datetime.now(dt.UTC)

    def wanted(self, after: dt.timedelta) -> dict[str, set[str]]:
        everything, now = dg.AssetSelection.all(), self.at + after
        result = dg.evaluate_automation_conditions(
            self.line.definitions, self.line.instance, everything, evaluation_time=now, cursor=self.cursor
        )
        self.cursor = result.cursor
        wanted = {key.path[-1]: result.get_requested_partitions(key) for key in (CHILD, GRANDCHILD)}
        return {name: {str(day) for day in days} for name, days in wanted.items() if days}


SECOND = dt.timedelta(seconds=1)


def both(*numbers: int) -> dict[str, set[str]]:
    return {name: {*every_day(*numbers)} for name in ("child", "grandchild")}


def test_a_burst_of_deliveries_becomes_one_cascade_once_it_has_ended() -> None:
    """However long it takes: the sensor that reports the files looks every five seconds, and each look finds some more."""
    with dg.DagsterInstance.ephemeral() as instance:
        clock = Clock(Line(instance, settle_for=SETTLE))
        for number in range(1, 7):
            clock.land(number)
            assert clock.wanted(SETTLE - 2 * SECOND) == {}
        assert clock.wanted(SETTLE - SECOND) == {}
        assert clock.wanted(SETTLE + SECOND) == both(1, 2, 3, 4, 5, 6)


def test_a_delivery_that_is_known_to_be_whole_does_not_wait_until_the_next_file_lands() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        clock = Clock(Line(instance, settle_for=SETTLE))
        clock.land(1, 2)
        instance.report_runless_asset_event(dg.AssetObservation(PARENT))
        assert clock.wanted(0 * SECOND) == both(1, 2)
        clock.land(3)
        assert clock.wanted(SECOND) == {}
        assert clock.wanted(SETTLE + SECOND).keys() == {"child", "grandchild"}


def test_a_stream_of_deliveries_that_never_ends_postpones_a_cascade_by_a_bounded_time() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        clock = Clock(Line(instance, settle_for=dt.timedelta(days=1)))
        clock.land(1)
        assert clock.wanted(0 * SECOND) == {}
        began = clock.at
        for number in range(2, 7):
            clock.line.land(number)
            assert clock.wanted(number * LONGEST_WAIT / 7) == {}
        assert clock.wanted(LONGEST_WAIT - SECOND) == {}
        assert clock.wanted(LONGEST_WAIT) == both(1, 2, 3, 4, 5, 6)
        assert clock.wanted(LONGEST_WAIT + SECOND) == {}, "the next wait begins"
        assert clock.at == began


def test_a_delivery_after_a_failed_run_is_tried_once_it_has_settled() -> None:
    """A condition that is true only in the tick after the delivery would be over by then."""

    def fail() -> None:
        raise ValueError("the delivery is broken")

    with dg.DagsterInstance.ephemeral() as instance:
        clock = Clock(Line(instance, settle_for=SETTLE, during=fail))
        clock.land(1)
        assert not clock.line.run(dg.RunRequest(asset_selection=[CHILD, GRANDCHILD], partition_key=day(1)))
        assert clock.wanted(2 * SETTLE) == {}
        clock.land(1)
        assert clock.wanted(SECOND) == clock.wanted(6 * SECOND) == {}
        assert clock.wanted(SETTLE + SECOND) == both(1)


def test_nothing_is_requested_while_nothing_has_landed(line: Line) -> None:
    assert line.tick() == []


def test_a_day_whose_earlier_days_have_not_landed_waits(line: Line) -> None:
    """The look-back is needed whole: day 4 without day 3 would be wrong, and would look finished."""
    line.land(1, 2)
    line.settle()
    line.land(4)
    assert line.settle() == [("child", [day(4)])]
    line.land(3)
    assert line.settle() == [("child", [day(3)]), ("grandchild", every_day(3, 4))]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_day_that_lands_again_makes_itself_and_its_look_back_children_stale(line: Line, number: int) -> None:
    line.land(1, 2, 3, 4, 5)
    line.settle()
    line.land(number)
    assert line.settle() == [("child", [day(number)]), ("grandchild", every_day(number, number + 1, number + 2))]


def test_a_parent_that_lands_again_while_its_child_runs_is_not_lost(line: Line) -> None:
    line.land(1, 2)
    line.during = lambda: line.land(2)
    (request,) = line.tick()
    assert line.run(request)
    line.during = lambda: None
    assert line.settle() == [("child", [day(2)]), ("grandchild", every_day(2))]


def test_a_parent_that_lands_again_between_two_ticks_is_made_once(line: Line) -> None:
    line.land(1)
    line.settle()
    line.land(1)
    line.land(1)
    assert line.settle() == [("child", [day(1)]), ("grandchild", [day(1)])]


def test_a_failed_child_waits_until_its_parent_has_changed(line: Line) -> None:
    def fail() -> None:
        raise ValueError("the delivery is broken")

    line.land(1)
    line.during = fail
    (request,) = line.tick()
    assert not line.run(request)
    assert [line.tick() for _ in range(3)] == [[], [], []]
    line.during = lambda: None
    line.land(1)
    assert line.settle() == [("child", [day(1)]), ("grandchild", [day(1)])]


def test_a_child_that_was_made_before_and_fails_is_tried_again_with_a_new_parent_only(line: Line) -> None:
    def fail() -> None:
        raise ValueError("the delivery is broken")

    line.land(1, 2)
    line.settle()
    line.during = fail
    line.land(2)
    (request,) = line.tick()
    assert not line.run(request)
    assert [line.tick() for _ in range(3)] == [[], [], []]
    line.during = lambda: None
    line.land(2)
    assert line.settle() == [("child", [day(2)]), ("grandchild", [day(2)])]


def test_days_that_failed_together_are_tried_in_halves_until_the_bad_day_is_alone(line: Line) -> None:
    def fail() -> None:
        if day(3) in line.made[-1][1]:
            raise ValueError("the third day is broken")

    line.land(1, 2, 3, 4, 5)
    line.during = fail
    runs = [days for name, days in line.settle(10) if name == "child"]
    assert runs == [every_day(1, 2, 3, 4, 5), every_day(1, 2), every_day(3, 4), every_day(5), every_day(3), every_day(4)]
    made = [days for name, days in line.made if name == "grandchild"]
    assert made == [every_day(1, 2)], "the days after look back on the third"
    line.land(3)
    line.during = lambda: None
    first, *rest = line.settle()
    assert first == ("child", [day(3)])
    assert sorted(day for name, days in rest for day in days if name == "grandchild") == every_day(3, 4, 5)
    assert line.tick() == []


def test_days_that_failed_together_for_a_temporary_reason_are_requested_by_the_next_tick(line: Line) -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    line.land(1, 2, 3, 4)
    line.during = fail
    (request,) = line.tick()
    assert not line.run(request)
    line.during = lambda: None
    assert [days for name, days in line.settle() if name == "child"] == [every_day(1, 2), every_day(3, 4)]
    assert line.tick() == []


def test_a_fault_of_all_days_is_tried_the_later_the_more_runs_fail() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    with dg.DagsterInstance.ephemeral() as instance:
        line = Line(instance, during=fail)
        line.land(*range(1, 11))
        runs = [len(days) for name, days in line.settle(10) if name == "child"]
        assert runs == [10, 5, 5, 2, 2, 2, 2, 2]  # and not the ten single days
        clock, pause = Clock(line), RETRY * 5 / RUNS_A_RETRY
        assert clock.wanted(pause - 60 * SECOND) == {}
        assert clock.wanted(pause + 60 * SECOND)["child"] == {*every_day(*range(1, 11))}


OF_EVERY_DAY: dict[str, Exception] = {
    "the transform uses a name that is not defined": NameError("name 'amuont' is not defined"),
    "a library is not installed": ModuleNotFoundError("No module named 'holidays'"),
    "no row has the column": pl.exceptions.ColumnNotFoundError("amuont"),
    "the table has another type": MustMigrate("the table has another type. Run `mlops migrate` first."),
    "the table has another grain": OtherGrain("its rows are stored by days"),
}


@pytest.mark.parametrize("name", OF_EVERY_DAY)
def test_a_mistake_that_every_day_has_waits_as_one_run_until_the_code_has_changed(name: str) -> None:
    def fail() -> None:
        raise OF_EVERY_DAY[name]

    with dg.DagsterInstance.ephemeral() as instance:
        line = Line(instance, during=fail)
        line.land(*range(1, 11))
        assert [len(days) for _, days in line.settle()] == [10]
        assert Clock(line).wanted(30 * LONGEST_RETRY) == {}
        corrected = Line(instance, code="child-2")
        assert corrected.settle() == [("child", every_day(*range(1, 11))), ("grandchild", every_day(*range(1, 11)))]


def test_assets_downstream_of_a_table_with_a_mistake_wait_with_it() -> None:
    def fail() -> None:
        raise OF_EVERY_DAY["no row has the column"]

    with dg.DagsterInstance.ephemeral() as instance:
        line = Line(instance)
        line.land(1, 2)
        line.settle()
        assert Line(instance, code="child-2", during=fail).settle() == [("child", every_day(1, 2))]
        assert Line(instance, code="child-3").settle() == [("child", every_day(1, 2)), ("grandchild", every_day(1, 2))]


def test_a_corrected_file_is_tried_alone_while_the_other_days_wait_for_the_code() -> None:
    def fail() -> None:
        raise OF_EVERY_DAY["no row has the column"]

    with dg.DagsterInstance.ephemeral() as instance:
        line = Line(instance, during=fail)
        line.land(*range(1, 11))
        line.settle()
        line.land(4)
        assert line.settle() == [("child", [day(4)])]


def test_after_a_clock_was_set_back_nothing_waits_for_the_later_times() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    with dg.DagsterInstance.ephemeral() as instance:
        clock = Clock(Line(instance, settle_for=SETTLE, during=fail))
        clock.land(1)
        assert clock.wanted(SECOND) == {}
        assert clock.wanted(-dt.timedelta(days=1)) == both(1)
        assert not clock.line.run(dg.RunRequest(asset_selection=[CHILD, GRANDCHILD], partition_key=day(1)))
        assert clock.wanted(SETTLE + SECOND) == {}
        assert clock.wanted(-dt.timedelta(days=1)) == both(1)


def test_a_day_that_failed_is_tried_again_after_a_pause() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    with dg.DagsterInstance.ephemeral() as instance:
        clock = Clock(Line(instance, during=fail))
        clock.land(1)
        assert not clock.line.run(dg.RunRequest(asset_selection=[CHILD, GRANDCHILD], partition_key=day(1)))
        assert clock.wanted(RETRY - SECOND) == {}
        assert clock.wanted(RETRY + 60 * SECOND) == both(1)


@pytest.mark.parametrize("near", [CHILD, PARENT])
def test_nothing_is_requested_while_a_run_makes_the_asset_or_its_parent(line: Line, near: dg.AssetKey) -> None:
    unfinished = dg.DagsterRun(
        job_name="by_hand",
        run_id="0d000000-0000-4000-8000-000000000001",
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset([near]),
    )
    line.instance.add_run(unfinished)
    line.land(1)
    assert line.tick() == []
    line.instance.report_run_canceled(unfinished)
    assert line.settle() == [("child", [day(1)]), ("grandchild", [day(1)])]


def test_a_run_of_another_asset_blocks_nothing(line: Line) -> None:
    elsewhere = frozenset([dg.AssetKey("elsewhere")])
    run = dg.DagsterRun(
        job_name="by_hand",
        run_id="0d000000-0000-4000-8000-000000000002",
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=elsewhere,
    )
    line.instance.add_run(run)
    line.land(1)
    assert len(line.tick()) == 1


def test_days_with_gaps_between_them_are_made_by_one_run_where_files_come_irregularly() -> None:
    """One run over the range, whose days between are made again and stay the same."""
    with dg.DagsterInstance.ephemeral() as instance:
        line = Line(instance, tags={CADENCE: WHEN_CHANGED})
        line.land(1, 2, 3, 4, 5)
        line.settle()
        line.land(1, 5)
        (request,) = line.tick()
        assert [request.tags[name] for name in RANGE] == [day(1), day(5)]


def test_a_day_that_has_not_landed_delays_only_its_dependents(line: Line) -> None:
    line.land(1, 2, 4, 5)
    line.settle()
    assert sorted(line.made) == [("child", every_day(1, 2)), ("child", every_day(4, 5)), ("grandchild", every_day(1, 2))]
    line.land(3)
    line.settle()
    assert sorted(line.made[3:]) == [("child", every_day(3)), ("grandchild", every_day(3, 4, 5))]


@pytest.mark.parametrize("days", [(1, 2, 3), (1,)])
def test_an_asset_without_partitions_joins_the_run_of_its_parent(days: tuple[int, ...]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        line = Line(instance, with_newest=True)
        line.land(*days)
        (request,) = line.tick()
        assert {*(request.asset_selection or [])} == {CHILD, GRANDCHILD, NEWEST}
        assert line.run(request)
        assert line.made[-1] == ("newest", []) or line.made[-2] == ("newest", [])
        assert line.tick() == []


def test_an_asset_without_partitions_follows_once_where_its_parent_takes_two_runs() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        line = Line(instance, with_newest=True)
        line.land(1, 2, 4, 5)
        line.settle()
        assert sorted(line.made[:-1]) == [("child", every_day(1, 2)), ("child", every_day(4, 5)), ("grandchild", every_day(1, 2))]
        assert line.made[-1] == ("newest", [])


def test_a_daily_asset_is_made_once_a_day_whatever_its_parents_do() -> None:
    @dg.asset
    def parent() -> None: ...

    @dg.asset(deps=[parent], automation_condition=DAILY)
    def page() -> None: ...

    def requested(hours: int, cursor: Any = None) -> tuple[int, Any]:
        at = dt.datetime(2013, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=hours)
        result = dg.evaluate_automation_conditions([parent, page], instance=instance, cursor=cursor, evaluation_time=at)
        return result.total_requested, result.cursor

    with dg.DagsterInstance.ephemeral() as instance:
        _, cursor = requested(1)
        count, cursor = requested(25, cursor)
        assert count == 0, "it has never been made"
        dg.materialize([parent, page], instance=instance)
        counts: list[int] = []
        for hours in (26, 30, 49, 50, 73, 74):
            count, cursor = requested(hours, cursor)
            counts.append(count)
        assert counts == [0, 0, 1, 0, 1, 0]
