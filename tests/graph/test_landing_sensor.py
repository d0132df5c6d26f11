"""The landing sensor with entries that cannot be read: an alarm on their own table, and every other file is processed."""

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.graph.kernel.dagster_internals import data_versions, newest_check
from mlops_assets.graph.landing import ALL_DELIVERED, ALL_READABLE, describe_missing
from mlops_assets.graph.triggers import build_triggers
from mlops_assets.ingestion.delivery import complete
from mlops_assets.ingestion.landing import Landing
from mlops_assets.resources import LandingResource, WarehouseResource
from mlops_assets.spec.grain import Daily, Grain, Hourly, Monthly, Weekly
from mlops_assets.spec.source import Files
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.graph.line import Line

TRIGGERS = build_triggers(USE_CASE)
SENSOR = next(sensor for sensor in TRIGGERS["sensors"] if sensor.name == "flight_delay_landing")


class Sensed:
    def __init__(self, root: Path, instance: dg.DagsterInstance) -> None:
        self.landing, self.instance = Landing(root), instance

    def tick(self) -> int:
        """Ticks the sensor, reports its events as the daemon does, and returns how many there were."""
        events = self.evaluate()
        for event in events:
            self.instance.report_runless_asset_event(event)
        return len(events)

    def evaluate(self) -> list[Any]:
        home = self.landing.root
        resources = {
            "landing": LandingResource(folder=str(home)), "warehouse": WarehouseResource(folder=str(home / "tables")),
        }  # fmt: skip
        with dg.build_sensor_context(instance=self.instance, resources=resources) as context:
            return [*SENSOR.evaluate_tick(context).asset_events]

    def reported(self) -> int:
        tables = [dg.AssetKey(names.landing(USE_CASE.name, source.table)) for source in USE_CASE.sources]
        return sum(len(data_versions(self.instance, key, partitioned=True)) for key in tables)

    def alarm(self, table: str, check: str = ALL_READABLE) -> Any:
        key = dg.AssetCheckKey(dg.AssetKey(names.landing(USE_CASE.name, table)), check)
        record = newest_check(self.instance, key)
        return record and record.event.asset_check_evaluation


@pytest.fixture
def line(tmp_path: Path, january: list[Any]) -> Iterator[Sensed]:
    with dg.DagsterInstance.ephemeral() as instance:
        line = Sensed(tmp_path, instance)
        for delivery in january:
            line.landing.put(USE_CASE.name, delivery.table, day=delivery.partition, rows=delivery.rows)
        yield line


def test_bad_entries_raise_an_alarm_once_and_every_other_file_is_reported(line: Sensed, january: list[Any]) -> None:
    os.mkfifo(line.landing.root / USE_CASE.name / "weather" / "2013-02-01.csv")
    (line.landing.root / USE_CASE.name / "weather" / "2013-2-2.csv").write_bytes(b"")
    assert (line.tick(), line.reported()) == (len(january) + 1, len(january))
    alarm = line.alarm("weather")
    assert not alarm.passed
    assert alarm.description == (
        "weather/2013-02-01.csv · it is a folder, a pipe or a device; legal: a file. Remove it. "
        "weather/2013-2-2.csv · the name is not that of one day; legal: <YYYY-MM-DD>.csv. Rename it."
    )
    assert line.alarm("schedule") is None
    assert line.tick() == 0


def test_a_complete_delivery_is_reported_once_and_only_while_no_file_has_landed_since(line: Sensed, january: list[Any]) -> None:
    weather = line.landing.root / USE_CASE.name / "weather"
    complete(line.landing.root, USE_CASE.name)
    *files, whole = line.evaluate()
    assert len(files) == len(january) and isinstance(whole, dg.AssetObservation)
    assert line.tick() == len(january) + 1 and line.tick() == 0

    complete(line.landing.root, USE_CASE.name)
    (weather / "2013-01-01.csv").write_bytes((weather / "2013-01-01.csv").read_bytes())  # in place, by the next delivery
    assert line.tick() == 0
    complete(line.landing.root, USE_CASE.name)
    assert line.tick() == 1
    (weather / "2013-02-01.csv").write_bytes(b"")
    assert not any(isinstance(event, dg.AssetObservation) for event in line.evaluate())


def test_a_damaged_record_of_refused_files_is_an_alarm_of_its_table_and_every_file_is_reported(
    line: Sensed, january: list[Any]
) -> None:
    record = line.landing.refusals(USE_CASE.name, "weather").path
    record.write_bytes(b"{")
    assert (line.tick(), line.reported()) == (len(january) + 1, len(january))
    assert line.alarm("weather").description.startswith("weather/../.weather.refused.json · the record of the refused files is")
    record.unlink()
    assert line.tick() == 1 and line.alarm("weather").passed


def test_the_alarm_ends_when_the_entry_is_corrected(line: Sensed, january: list[Any]) -> None:
    entry = line.landing.root / USE_CASE.name / "weather" / "2013-02-01.csv"
    entry.symlink_to("nowhere")
    line.tick()
    entry.unlink()
    assert line.tick() == 1
    assert line.alarm("weather").passed and line.reported() == len(january)


@pytest.mark.parametrize(
    ("wrong", "table"), [("flight_delay/wether", "weather"), ("flight_delays/weather", USE_CASE.sources[0].table)]
)
def test_a_folder_with_nearly_the_right_name_is_an_alarm_until_it_is_renamed(
    line: Sensed, january: list[Any], wrong: str, table: str
) -> None:
    folder = line.landing.root / wrong
    folder.mkdir(parents=True)
    (folder / "2013-02-01.csv").write_bytes(b"")
    line.tick()
    meant, wrong_folder = ("weather", wrong) if table == "weather" else ("flight_delay", "flight_delays")
    assert f"so nothing in it is read. Is it {meant}? Rename it." in line.alarm(table).description
    assert line.alarm(table).description.startswith(f"{wrong_folder}/ is the folder of no ")
    assert (line.tick(), line.reported()) == (0, len(january))
    (line.landing.root / wrong_folder).rename(line.landing.root / "archive")
    assert line.tick() == 1 and line.alarm(table).passed


@pytest.mark.parametrize("day", ["2012-12-31", "2013-12-31"])
def test_a_day_outside_the_declared_ones_raises_an_alarm(line: Sensed, january: list[Any], day: str) -> None:
    (line.landing.root / USE_CASE.name / "weather" / f"{day}.csv").write_bytes(b"")
    line.tick()
    assert (
        f"weather/{day}.csv · it is not read: the declared days are 2013-01-01 to 2013-12-30."
        in line.alarm("weather").description
    )
    assert line.reported() == len(january)


def test_many_entries_with_one_fault_are_one_sentence(line: Sensed) -> None:
    for day in range(1, 30):
        (line.landing.root / USE_CASE.name / "weather" / f"2014-01-{day:02}.csv").write_bytes(b"")
    line.tick()
    text = line.alarm("weather").description
    assert text.startswith("weather/2014-01-01.csv and 28 more · it is not read: the declared days are") and len(text) < 200


def test_a_file_above_the_declared_size_is_not_read(line: Sensed, january: list[Any]) -> None:
    path = line.landing.path(USE_CASE.name, "weather", january[0].partition)
    os.truncate(path, 2_000_000_000)
    line.tick()
    assert "2,000,000,000 bytes; legal: at most 100,000,000" in line.alarm("weather").description
    assert line.reported() == len(january) - 1


def test_a_tick_reports_so_many_files_and_the_oldest_days_of_every_table_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 100
    monkeypatch.setattr("mlops_assets.graph.landing.MAX_EVENTS", most)
    days = [(USE_CASE.first_day + dt.timedelta(days=number)).isoformat() for number in range(30)]
    places = [(day, source.table) for source in USE_CASE.sources for day in days]
    assert len(places) > most
    for day, table in places:
        path = tmp_path / USE_CASE.name / table / f"{day}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(day)
    with dg.DagsterInstance.ephemeral() as instance:
        events = Sensed(tmp_path, instance).evaluate()
    reported = [(event.partition, event.asset_key.path[-1].removeprefix("landed_")) for event in events]
    assert [day for day, _ in reported] == sorted(day for day, _ in places)[:most]
    assert len({*reported}) == most


def test_the_check_can_be_run_by_hand(platform: Line) -> None:
    (platform.landing.root / USE_CASE.name / "weather" / "2013-02-01.csv").mkdir(parents=True)
    check = next(check for check in TRIGGERS["checks"] if check.check_key.asset_key.path[-1] == "landed_weather")
    stores = {
        "landing": LandingResource(folder=str(platform.landing.root)),
        "warehouse": WarehouseResource(folder=str(platform.home)),
    }
    result = dg.materialize([check], selection=dg.AssetSelection.checks(check), resources=stores)
    (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed and "weather/2013-02-01.csv · it is a folder" in (evaluation.description or "")


def test_a_file_that_does_not_come_raises_an_alarm_until_it_does(line: Sensed, january: list[Any]) -> None:
    missing = line.landing.root / USE_CASE.name / "weather" / "2013-01-02.csv"
    content = missing.read_bytes()
    missing.unlink()
    line.tick()
    alarm = line.alarm("weather", ALL_DELIVERED)
    assert not alarm.passed and alarm.description == (
        "weather · no file has landed for 2013-01-02, and what looks back on them waits. Deliver them, or, where nothing is to "
        "come, `mlops waive flight_delay weather 2013-01-02 --why …`."
    )
    assert line.alarm("schedule", ALL_DELIVERED) is None and line.tick() == 0
    missing.write_bytes(content)
    assert line.tick() == 2 and line.alarm("weather", ALL_DELIVERED).passed


@pytest.mark.parametrize(
    ("grain", "newest", "last_day"),
    [
        (Daily(), "2013-01-02", "date(2013, 1, 2)"),
        (Daily(tz="America/New_York"), "2013-01-02", "date(2013, 1, 2)"),
        (Hourly(tz="America/New_York"), "2013-01-02T23", "date(2013, 1, 2)"),
        (Weekly(), "2012-12-31", "date(2013, 1, 6)"),
        (Monthly(), "2013-01", "date(2013, 1, 31)"),
    ],
    ids=repr,
)
def test_deliveries_that_have_ended_need_a_last_day_which_the_message_names(grain: Grain, newest: str, last_day: str) -> None:
    source, now = Files(table="weather", grain=grain), dt.datetime(2016, 1, 1, tzinfo=dt.UTC)
    message = describe_missing(USE_CASE.but(last_day=None), source, [newest], now=now)
    assert message.endswith(f"up to now is due. Where no more come, declare last_day={last_day}."), message
    assert describe_missing(USE_CASE, source, [newest], now=now) == ""


def test_a_few_late_files_and_a_hole_in_the_past_do_not_ask_for_a_last_day() -> None:
    use_case, source = USE_CASE.but(last_day=None), Files(table="weather")
    now = dt.datetime(2013, 3, 4, 13, tzinfo=dt.UTC)
    message = describe_missing(use_case, source, ["2013-01-02", "2013-03-01"], now=now)
    assert "no file has landed for 2013-01-03," in message and "last_day" not in message
