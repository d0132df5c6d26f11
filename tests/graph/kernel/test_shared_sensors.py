"""One sensor for many use cases: each gets its own cursor and runs, and one that fails or hangs does not stop the others."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import pytest

from mlops_assets.graph.kernel import shared_sensors
from mlops_assets.graph.kernel.automation import build_automation
from mlops_assets.graph.kernel.shared_sensors import BY_EVENT, MAX_ENTITIES, SHARED, SensorsFailed, share_sensors

Look = Callable[[dg.SensorEvaluationContext], Any]


@dg.job
def training() -> None: ...


def definitions(name: str, look: Look, **tags: str) -> dg.Definitions:
    job = training.with_hooks(set())
    sensor = dg.SensorDefinition(name=f"{name}_look", evaluation_fn=look, tags={SHARED: "look", **tags}, job=job)
    return dg.Definitions(sensors=[sensor], jobs=[job])


def counting(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    context.update_cursor(str(int(context.cursor or 0) + 1))
    return dg.SkipReason("nothing")


def training_again(_context: dg.SensorEvaluationContext) -> dg.RunRequest:
    return dg.RunRequest(run_key="first")


def failing(_context: dg.SensorEvaluationContext) -> dg.SkipReason:
    raise OSError("the disk is full")


class Daemon:
    """Ticks the shared sensor of these use cases, and stores its cursor where the tick succeeds."""

    def __init__(self, instance: dg.DagsterInstance, looks: dict[str, Look], **tags: str) -> None:
        (self.sensor,) = share_sensors([definitions(name, look, **tags) for name, look in looks.items()])
        self.instance, self.cursor = instance, None

    def tick(self) -> Any:
        with dg.build_sensor_context(self.instance, self.cursor) as context:
            result = self.sensor.evaluate_tick(context)
        self.cursor = result.cursor
        return result

    @property
    def cursors(self) -> dict[str, str]:
        return json.loads(self.cursor or "{}")


@pytest.fixture
def instance(tmp_path: Any) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def test_each_use_case_has_its_own_cursor(instance: dg.DagsterInstance) -> None:
    daemon = Daemon(instance, {"a": counting, "b": counting})
    assert daemon.tick().skip_message == "a_look, b_look: nothing"
    daemon.tick()
    assert daemon.cursors == {"a_look": "2", "b_look": "2"}


def test_one_that_fails_is_named_and_the_others_go_on(instance: dg.DagsterInstance) -> None:
    daemon = Daemon(instance, {"a": failing, "b": counting})
    for _ in range(3):
        with pytest.raises(SensorsFailed, match="^a_look · OSError: the disk is full$"):
            daemon.tick()
    daemon.sensor = Daemon(instance, {"a": counting, "b": counting}).sensor
    daemon.tick()
    assert daemon.cursors == {"a_look": "1", "b_look": "4"}, "a tick that failed has forgotten a cursor"


def test_runs_of_the_others_start_where_one_fails(instance: dg.DagsterInstance) -> None:
    daemon = Daemon(instance, {"a": failing, "b": training_again, "c": training_again})
    requests = daemon.tick().run_requests
    # Dagster starts no second run for a run key of one sensor.
    assert [request.run_key for request in requests] == ["b_look first", "c_look first"]


def test_a_tick_that_is_late_goes_on_after_the_one_that_took_long(instance: dg.DagsterInstance) -> None:
    looked = list[str]()

    def look(name: str) -> Look:
        def evaluate(_context: dg.SensorEvaluationContext) -> dg.SensorResult:
            looked.append(name)
            events = [dg.AssetMaterialization(name)] * shared_sensors.MAX_EVENTS
            return dg.SensorResult(asset_events=events)

        return evaluate

    daemon = Daemon(instance, {name: look(name) for name in "abc"})
    for _ in range(4):
        assert len(daemon.tick().asset_events) == shared_sensors.MAX_EVENTS
    assert looked == ["a", "b", "c", "a"]


def test_those_that_wait_for_events_are_not_evaluated_without_one(instance: dg.DagsterInstance) -> None:
    daemon = Daemon(instance, {"a": counting}, **{BY_EVENT: "true"})
    for _ in range(3):
        assert daemon.tick().skip_message == "a_look: nothing"
    assert daemon.cursors == {"a_look": "1"}
    instance.report_runless_asset_event(dg.AssetMaterialization("files"))
    daemon.tick()
    assert daemon.cursors == {"a_look": "2"}


def test_automation_sensors_are_few_and_none_has_too_many_assets(instance: dg.DagsterInstance) -> None:
    def automated(number: int, assets: int) -> dg.Definitions:
        own = [dg.asset(key=[f"u{number}", f"a{one}"])(lambda: None) for one in range(assets)]
        return dg.Definitions(
            own, sensors=[build_automation(f"u{number}_automation", dg.AssetSelection.key_prefixes(f"u{number}"))]
        )

    every = [automated(number, MAX_ENTITIES // 2) for number in range(5)]
    sensors = [*share_sensors(every)]
    graph = dg.Definitions.merge(*(dg.Definitions(own.assets) for own in every)).resolve_asset_graph()
    keys = [sensor.asset_selection.resolve(graph) for sensor in sensors if sensor.asset_selection]
    assert [len(own) for own in keys] == [MAX_ENTITIES, MAX_ENTITIES, MAX_ENTITIES // 2]
    assert set[dg.AssetKey]().union(*keys) == graph.get_all_asset_keys()
