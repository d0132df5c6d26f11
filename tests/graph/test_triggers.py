"""The sensors that look outside: one report for a delivery, and one for a burst of answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.graph.triggers import TICKS_TO_A_PAUSE, build_triggers
from mlops_assets.ingestion.landing import Landing
from mlops_assets.resources import LandingResource, PredictionLogResource, WarehouseResource
from mlops_assets.use_cases.flight_delay import USE_CASE

SENSORS = {sensor.name: sensor for sensor in build_triggers(USE_CASE)["sensors"]}


class Log:
    """The bytes of a prediction log, and its sensor ticked by hand."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.file = folder / USE_CASE.name / "000001.jsonl"
        self.file.parent.mkdir()
        self.resources = {"prediction_log": PredictionLogResource(folder=str(folder))}
        self.cursor: str | None = None

    def answer(self) -> None:
        with self.file.open("a") as file:
            file.write("one more\n")

    def tick(self) -> bool:
        """Whether the sensor has reported."""
        with dg.build_sensor_context(self.instance, cursor=self.cursor, resources=self.resources) as context:
            result = SENSORS["flight_delay_prediction_log"].evaluate_tick(context)
        self.cursor = result.cursor
        return bool(result.asset_events)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Log(tmp_path, instance)


def test_a_burst_of_answers_is_reported_once_at_its_end(log: Log) -> None:
    reported = []
    for _ in range(4):
        log.answer()
        reported.append(log.tick())
    assert [*reported, log.tick(), log.tick()] == [False, False, False, False, True, False]


def test_steady_traffic_is_reported_now_and_then(log: Log) -> None:
    reported = []
    for _ in range(2 * (TICKS_TO_A_PAUSE + 1)):
        log.answer()
        reported.append(log.tick())
    assert sum(reported) == 2


def test_without_answers_nothing_is_reported(log: Log) -> None:
    assert [log.tick(), log.tick()] == [False, False]


def test_every_landed_file_is_reported_once_and_again_when_it_changes(tmp_path: Path, january: list[Any]) -> None:
    landing = Landing(tmp_path)
    for delivery in january:
        landing.put(USE_CASE.name, delivery.table, day=delivery.partition, rows=delivery.rows)

    def reported(instance: dg.DagsterInstance) -> int:
        folder = str(tmp_path)
        resources = {"landing": LandingResource(folder=folder), "warehouse": WarehouseResource(folder=folder)}
        with dg.build_sensor_context(instance=instance, resources=resources) as context:
            evaluated = SENSORS["flight_delay_landing"].evaluate_tick(context)
        for event in evaluated.asset_events:  # as the daemon does
            instance.report_runless_asset_event(event)
        keys = [dg.AssetKey(names.landing(USE_CASE.name, table)) for table in {delivery.table for delivery in january}]
        made = dg.DagsterEventType.ASSET_MATERIALIZATION
        return sum(len(instance.get_event_records(dg.EventRecordsFilter(made, key))) for key in keys)

    with dg.DagsterInstance.ephemeral() as instance:
        assert [reported(instance), reported(instance)] == [len(january)] * 2
        changed = january[0]
        landing.put(USE_CASE.name, changed.table, day=changed.partition, rows=changed.rows.head(1))
        assert reported(instance) == len(january) + 1
