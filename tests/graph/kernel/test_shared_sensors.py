"""One sensor for many use cases: each gets its own cursor and runs, and one that fails or hangs does not stop the others."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg
import pytest
import sqlalchemy
from sqlalchemy import event

from mlops_assets.graph.kernel import shared_sensors
from mlops_assets.graph.kernel.automation import BY_EVENT, WholeRuns, build_automation
from mlops_assets.graph.kernel.changes import Change
from mlops_assets.graph.kernel.conditions import EVERY_PARENT, build_cascade
from mlops_assets.graph.kernel.dagster_internals import DATA_VERSION
from mlops_assets.graph.kernel.shared_sensors import MAX_ENTITIES, MAX_IDLE_S, SHARED, Idle, SensorsFailed, share_sensors
from mlops_assets.graph.kernel.switch import switch_of
from tests.graph.kernel.switching import switch

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


def without_switches(definitions: Mapping[str, dg.Definitions]) -> list[dg.SensorDefinition]:
    return [sensor for sensor in share_sensors(definitions) if sensor.name not in map(switch_of, definitions)]


class Daemon:
    """Ticks the shared sensor of these use cases, and stores its cursor where the tick succeeds."""

    def __init__(self, instance: dg.DagsterInstance, looks: dict[str, Look], **tags: str) -> None:
        own = {name: definitions(name, look, **tags) for name, look in looks.items()}
        (self.sensor,) = without_switches(own)
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


def test_a_tick_that_is_late_goes_on_after_the_one_that_took_long(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_sensors, "MAX_EVENTS", 5)
    looked = list[str]()

    def look(name: str) -> Look:
        def evaluate(_context: dg.SensorEvaluationContext) -> dg.SensorResult:
            looked.append(name)
            events = [dg.AssetMaterialization(name)] * shared_sensors.MAX_EVENTS
            return dg.SensorResult(asset_events=events)

        return evaluate

    daemon = Daemon(instance, {name: look(name) for name in "abc"})
    for name in "abca":
        assert daemon.tick().skip_message == f"{name}_look: 5 reported."
    assert looked == ["a", "b", "c", "a"]
    assert [len(instance.fetch_materializations(dg.AssetKey(name), limit=99).records) for name in "abc"] == [10, 5, 5]


def test_those_that_wait_for_events_are_not_evaluated_without_one(instance: dg.DagsterInstance) -> None:
    daemon = Daemon(instance, {"a": counting, "b": counting}, **{BY_EVENT: "0"})
    for _ in range(3):
        assert daemon.tick().skip_message == "a_look, b_look: nothing"
    assert daemon.cursors == {"a_look": "1", "b_look": "1"}
    instance.report_runless_asset_event(dg.AssetMaterialization(["a", "files"]))
    daemon.tick()
    assert daemon.cursors == {"a_look": "2", "b_look": "1"}, "an event of a is no event of b"


def test_an_event_without_an_asset_is_of_the_use_case_of_its_run(instance: dg.DagsterInstance) -> None:
    @dg.asset(key=["a", "rows"], check_specs=[dg.AssetCheckSpec("fine", asset=["a", "rows"])])
    def rows() -> dg.MaterializeResult:  # pyright: ignore[reportMissingTypeArgument, reportUnknownParameterType]
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])

    daemon = Daemon(instance, {"a": counting, "b": counting}, **{BY_EVENT: "0"})
    daemon.tick()
    dg.materialize([rows], instance=instance)  # a run begins, makes, checks and ends
    daemon.tick()
    failed = dg.AssetCheckEvaluation(dg.AssetKey(["a", "rows"]), "fine", passed=False)
    instance.report_runless_asset_event(failed)
    daemon.tick()
    assert daemon.cursors == {"a_look": "3", "b_look": "1"}
    training.execute_in_process(instance=instance)  # without an asset: it may be of any
    daemon.tick()
    assert daemon.cursors == {"a_look": "4", "b_look": "2"}


IDLE = Idle(Change(7, 0.0), "c", at=15.0, took=0.1, reason="nothing")


def test_an_evaluation_holds_once_it_is_settled_until_an_event_or_another_cursor() -> None:
    assert IDLE.holds(Change(7, 0.0), "c", 14)
    assert not IDLE._replace(at=12.0).holds(Change(7, 0.0), "c", 14)
    assert not IDLE.holds(Change(8, 0.0), "c", 14)
    assert not IDLE.holds(Change(7, 0.0), None, 14)


@pytest.mark.parametrize(("use_cases", "seconds"), [(1, MAX_IDLE_S), (10, MAX_IDLE_S), (100, 200.0)])
def test_many_use_cases_are_evaluated_less_often_without_an_event(use_cases: int, seconds: float) -> None:
    assert IDLE.is_recent(IDLE.at + seconds - 1, use_cases)
    assert not IDLE.is_recent(IDLE.at + seconds, use_cases)


def test_events_of_a_stopped_use_case_wait_until_it_is_started_again(instance: dg.DagsterInstance) -> None:
    daemon = Daemon(instance, {"a": counting, "b": counting})
    switch(instance, switch_of("a"), on=False)
    for _ in range(2):
        assert (
            "a_look: Nothing runs by itself for a, as the sensor a_automation is stopped: start it." in daemon.tick().skip_message
        )
    assert daemon.cursors == {"b_look": "2"}
    switch(instance, switch_of("a"), on=True)
    daemon.tick()
    assert daemon.cursors == {"a_look": "1", "b_look": "3"}


def test_each_use_case_has_a_switch_that_is_on(instance: dg.DagsterInstance) -> None:
    sensors = {sensor.name: sensor for sensor in share_sensors({name: definitions(name, counting) for name in "ab"})}
    assert sensors.keys() == {"a_automation", "b_automation", "look"}
    assert sensors["a_automation"].default_status == dg.DefaultSensorStatus.RUNNING
    with dg.build_sensor_context(instance) as context:
        assert not sensors["a_automation"].evaluate_tick(context).run_requests


def automated(name: str) -> dg.Definitions:
    """Files, and rows that are made from them."""

    @dg.asset(key=[name, "rows"], deps=[dg.AssetKey([name, "files"])], automation_condition=build_cascade(EVERY_PARENT))
    def rows() -> None: ...

    target, tags = dg.AssetSelection.key_prefixes(name), {BY_EVENT: "0"}
    sensor = WholeRuns(f"{name}_automation", target=target, use_user_code_server=True, tags=tags)
    return dg.Definitions([dg.AssetSpec([name, "files"]), rows], sensors=[sensor])


class AutomationDaemon:
    """Ticks the automation sensor of these use cases, and counts the statements."""

    def __init__(self, instance: dg.DagsterInstance, names: str) -> None:
        own = {name: automated(name) for name in names}
        (self.sensor,) = without_switches(own)
        assets = [dg.Definitions(one.assets) for one in own.values()]
        self.definitions = dg.Definitions.merge(*assets, dg.Definitions(sensors=[self.sensor]))
        self.instance, self.cursor, self.statements = instance, None, 0

    def deliver(self, name: str, version: str) -> None:
        self.instance.report_runless_asset_event(dg.AssetMaterialization([name, "files"], tags={DATA_VERSION: version}))

    def tick(self) -> Any:
        def count(*_arguments: Any) -> None:
            self.statements += 1

        self.statements, repository = 0, self.definitions.get_repository_def()
        event.listen(sqlalchemy.Engine, "before_cursor_execute", count)
        try:
            context = dg.build_sensor_context(self.instance, self.cursor, repository_def=repository, sensor_name=self.sensor.name)
            with context:
                result = self.sensor.evaluate_tick(context)
        finally:
            event.remove(sqlalchemy.Engine, "before_cursor_execute", count)
        self.cursor = result.cursor
        return result

    def requested(self) -> list[Any]:
        return [request.asset_selection for request in self.tick().run_requests]


def test_the_statements_after_an_event_do_not_depend_on_the_number_of_use_cases(tmp_path: Any) -> None:
    statements = dict[str, tuple[int, int]]()
    for names in ("ab", "abcdefgh"):
        (folder := tmp_path / names).mkdir()
        with dg.DagsterInstance.local_temp(str(folder)) as instance:
            daemon = AutomationDaemon(instance, names)
            daemon.tick()
            daemon.tick()
            idle_statements = daemon.statements
            daemon.deliver("b", "1")
            daemon.tick()
            statements[names] = idle_statements, daemon.statements
    few, many = statements.values()
    assert few == many and many[0] <= 10 < many[1]


def test_no_delivery_is_lost_whatever_the_others_do(instance: dg.DagsterInstance) -> None:
    daemon = AutomationDaemon(instance, "abc")
    assert daemon.requested() == []
    daemon.deliver("b", "1")
    assert daemon.requested() == [[dg.AssetKey(["b", "rows"])]]
    assert daemon.requested() == [[dg.AssetKey(["b", "rows"])]], "a request is repeated until its run exists"
    daemon.deliver("c", "1")
    assert sorted(map(str, daemon.requested())) == sorted(str([dg.AssetKey([name, "rows"])]) for name in "bc")
    for name in "bc":
        dg.materialize([*(automated(name).assets or ())], instance=instance, selection=[dg.AssetKey([name, "rows"])])  # pyright: ignore[reportArgumentType]
    assert daemon.requested() == []
    daemon.deliver("b", "2")
    assert daemon.requested() == [[dg.AssetKey(["b", "rows"])]]


def test_a_delivery_to_a_stopped_use_case_is_used_once_it_is_started(instance: dg.DagsterInstance) -> None:
    daemon = AutomationDaemon(instance, "ab")
    daemon.tick()
    switch(instance, switch_of("a"), on=False)
    for name in "ab":
        daemon.deliver(name, "1")
    assert daemon.requested() == [[dg.AssetKey(["b", "rows"])]]
    switch(instance, switch_of("a"), on=True)
    assert [dg.AssetKey(["a", "rows"])] in daemon.requested()


def test_conditions_are_evaluated_after_a_reset_or_with_an_older_cursor(instance: dg.DagsterInstance) -> None:
    daemon = AutomationDaemon(instance, "a")
    for cursor in (None, "of a sensor of Dagster", None):
        daemon.cursor = cursor
        daemon.tick()
        assert daemon.statements > 10
    daemon.tick()
    assert daemon.statements <= 10


def test_automation_sensors_are_few_and_none_has_too_many_assets(instance: dg.DagsterInstance) -> None:
    def of(number: int, assets: int) -> dg.Definitions:
        own = [dg.asset(key=[f"u{number}", f"a{one}"])(lambda: None) for one in range(assets)]
        return dg.Definitions(
            own, sensors=[build_automation(f"u{number}_automation", dg.AssetSelection.key_prefixes(f"u{number}"))]
        )

    every = {f"u{number}": of(number, MAX_ENTITIES // 2) for number in range(5)}
    sensors = without_switches(every)
    graph = dg.Definitions.merge(*(dg.Definitions(own.assets) for own in every.values())).resolve_asset_graph()
    keys = [sensor.asset_selection.resolve(graph) for sensor in sensors if sensor.asset_selection]
    assert [len(own) for own in keys] == [MAX_ENTITIES, MAX_ENTITIES, MAX_ENTITIES // 2]
    assert set[dg.AssetKey]().union(*keys) == graph.get_all_asset_keys()
