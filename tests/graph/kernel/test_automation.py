"""The automation sensor of a use case on an idle platform: a tick without a new event costs one query."""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
import sqlalchemy

from mlops_assets.graph.kernel.automation import SETTLED_SECONDS, Idle, build_automation
from mlops_assets.graph.kernel.conditions import EVERY_PARENT, build_cascade
from mlops_assets.graph.kernel.dagster_internals import DATA_VERSION

FILES = dg.AssetSpec("files")


@dg.asset(deps=[FILES], automation_condition=build_cascade(EVERY_PARENT))
def rows() -> None:
    return None


SENSOR = build_automation("idle", dg.AssetSelection.all())
REPOSITORY = dg.Definitions(assets=[FILES, rows], sensors=[SENSOR]).get_repository_def()


class Daemon:
    """Ticks the sensor and counts the statements on the event log and the run storage."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.cursor, self.queries = instance, None, 0

    def count(self, *_arguments: Any) -> None:
        self.queries += 1

    def deliver(self, version: str) -> None:
        self.instance.report_runless_asset_event(dg.AssetMaterialization("files", tags={DATA_VERSION: version}))

    def tick(self) -> Any:
        self.queries = 0
        with dg.build_sensor_context(self.instance, self.cursor, repository_def=REPOSITORY, sensor_name=SENSOR.name) as context:
            evaluated = SENSOR.evaluate_tick(context)
        self.cursor = evaluated.cursor
        return evaluated

    def settle(self) -> None:
        """Two evaluations without a new event."""
        self.tick()
        time.sleep(SETTLED_SECONDS + 0.1)
        self.tick()


@pytest.fixture
def daemon(tmp_path: Any) -> Iterator[Daemon]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        daemon = Daemon(instance)
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", daemon.count)
        yield daemon
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", daemon.count)


def test_a_tick_without_a_new_event_asks_for_the_newest_event_only(daemon: Daemon):
    daemon.settle()
    assert daemon.queries > 5
    for _ in range(2):
        before = daemon.cursor
        assert not daemon.tick().run_requests
        assert daemon.queries <= 2 and daemon.cursor == before


def test_an_idle_tick_ends_with_the_next_event(daemon: Daemon):
    daemon.settle()
    daemon.tick()
    daemon.deliver("a")
    (requested,) = daemon.tick().run_requests
    assert requested.asset_selection == [rows.key]
    dg.materialize([FILES, rows], instance=daemon.instance)
    assert not daemon.tick().run_requests and daemon.queries > 5


def test_a_request_is_repeated_until_a_run_exists(daemon: Daemon):
    daemon.deliver("a")
    assert daemon.tick().run_requests and daemon.tick().run_requests


def test_conditions_are_evaluated_after_a_reset_of_the_cursor(daemon: Daemon):
    daemon.settle()
    daemon.cursor = None
    daemon.tick()
    assert daemon.queries > 5


@pytest.mark.parametrize(
    ("since", "at", "now", "holds"), [(0, 12, 17, False), (0, 15, 17, True), (0, 15, 74, True), (0, 15, 75, False)], ids=str
)
def test_an_evaluation_holds_for_a_minute_once_it_is_settled(daemon: Daemon, since: float, at: float, now: float, holds: bool):
    evaluated = daemon.tick()
    assert Idle(evaluated, 7, since, at).holds(7, evaluated.cursor, now) is holds
    assert not Idle(evaluated, 7, since, at).holds(8, evaluated.cursor, now)


def test_each_use_case_has_a_run_of_its_own(daemon: Daemon) -> None:
    def use_case(name: str) -> list[Any]:
        files = dg.AssetSpec([name, "files"])

        @dg.asset(key=[name, "rows"], deps=[files], automation_condition=build_cascade(EVERY_PARENT))
        def rows() -> None: ...

        return [files, rows]

    sensor = build_automation("both", dg.AssetSelection.all())
    repository = dg.Definitions([*use_case("a"), *use_case("b")], sensors=[sensor]).get_repository_def()
    for name in "ab":
        daemon.instance.report_runless_asset_event(dg.AssetMaterialization([name, "files"], tags={DATA_VERSION: "1"}))
    with dg.build_sensor_context(daemon.instance, repository_def=repository, sensor_name="both") as context:
        requests: Any = sensor.evaluate_tick(context).run_requests
    assert [request.asset_selection for request in requests] == [[dg.AssetKey(["a", "rows"])], [dg.AssetKey(["b", "rows"])]]
