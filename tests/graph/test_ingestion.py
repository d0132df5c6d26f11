"""Broken deliveries through the real graph: a clear message, nothing lost, nothing doubled."""

import datetime as dt
from typing import Any

import polars as pl
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.names import BAD_SHARE
from tests.graph.conftest import FIRST, LAST, land
from tests.graph.line import Line, failed_checks, failure

VALIDATED, QUARANTINE = names.validated("flight_delay", "schedule"), names.quarantine("flight_delay", "schedule")


def of(january: list[Any], table: str, day: dt.date = FIRST) -> Any:
    return next(delivery for delivery in january if delivery.table == table and delivery.partition == day)


def land_schedule(platform: Line, rows: pl.DataFrame) -> None:
    platform.landing.put("flight_delay", "schedule", day=FIRST, rows=rows)


def land_text(platform: Line, text: bytes) -> None:
    path = platform.landing.path("flight_delay", "schedule", FIRST)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)


def test_a_sound_day_passes_whole(platform: Line, january: list[Any]) -> None:
    rows = of(january, "schedule").rows
    land_schedule(platform, rows)
    result = platform.ingest("schedule", FIRST)
    assert result.success
    assert len(platform.rows(VALIDATED)) == len(rows)
    assert platform.rows(QUARANTINE).is_empty()


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("distance", "-5", "distance"),
        ("sched_dep", "2013-01-02T25:10:00Z", "is not a datetime"),
        ("carrier", "united", "carrier"),
    ],
)
def test_one_bad_row_is_quarantined_and_the_others_are_validated(
    platform: Line, january: list[Any], column: str, value: str, reason: str
) -> None:
    rows = of(january, "schedule").rows
    land_schedule(platform, rows)
    path = platform.landing.path("flight_delay", "schedule", FIRST)
    landed = pl.read_csv(path, infer_schema=False)
    landed[7, column] = value
    landed.write_csv(path)
    assert platform.ingest("schedule", FIRST).success
    quarantined = platform.rows(QUARANTINE)
    assert len(quarantined) == 1
    assert reason in str(quarantined["reasons"].to_list())
    assert len(platform.rows(VALIDATED)) == len(rows) - 1


def test_a_duplicated_key_is_kept_once(platform: Line, january: list[Any]) -> None:
    rows = of(january, "schedule").rows
    land_schedule(platform, pl.concat([rows, rows.head(3)]))
    assert platform.ingest("schedule", FIRST).success
    assert len(platform.rows(VALIDATED)) == len(rows)
    assert len(platform.rows(QUARANTINE)) == 3


def test_a_day_with_too_many_bad_rows_is_not_used(platform: Line, january: list[Any]) -> None:
    rows = of(january, "schedule").rows.with_columns(distance=pl.when(pl.int_range(pl.len()) > 9).then(-1.0).otherwise(100.0))
    land_schedule(platform, rows)
    result = platform.ingest("schedule", FIRST)
    assert "bad_rows_within_bound" in failed_checks(result)
    assert platform.rows(VALIDATED).is_empty()
    reasons = platform.rows(QUARANTINE).sort("source_line")["reasons"]
    assert len(reasons) == len(rows), "every row is kept, with a reason"
    assert reasons.str.starts_with("the day is refused: schedule · bad_share · 2013-01-02: ").sum() == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda text: b"", "empty"), (lambda text: text.replace(b"tailnum", b"tail_number", 1), "tail_number")],
)
def test_an_unreadable_file_is_a_refused_day_with_its_name_and_the_remedy(
    platform: Line, january: list[Any], change: Any, message: str
) -> None:
    land_schedule(platform, of(january, "schedule").rows)
    sound = platform.landing.path("flight_delay", "schedule", FIRST).read_bytes()
    assert platform.ingest("schedule", FIRST).success
    before = len(platform.rows(VALIDATED))
    land_text(platform, change(sound))
    result = platform.ingest("schedule", FIRST)
    problem = failed_checks(result)[BAD_SHARE]
    assert result.success and "2013-01-02.csv" in problem and message in problem
    assert len(platform.rows(VALIDATED)) == before, "what had been validated before stays"
    (reason,) = platform.rows(QUARANTINE)["reasons"]
    assert message in reason


def test_an_unreadable_file_delays_no_other_day_of_its_run(platform: Line, january: list[Any]) -> None:
    land(platform, [delivery for delivery in january if delivery.table == "schedule"])
    land_text(platform, b"")
    assert platform.ingest("schedule", FIRST - dt.timedelta(days=1), LAST).success
    landed = {delivery.partition for delivery in january if delivery.table == "schedule" and delivery.partition <= LAST}
    assert {*platform.rows(VALIDATED)["day"]} == landed - {FIRST}


def test_a_truncated_file_loses_only_its_last_line_to_quarantine(platform: Line, january: list[Any]) -> None:
    rows = of(january, "schedule").rows
    land_schedule(platform, rows)
    path = platform.landing.path("flight_delay", "schedule", FIRST)
    path.write_bytes(path.read_bytes()[:-25])
    assert platform.ingest("schedule", FIRST).success
    assert len(platform.rows(VALIDATED)) == len(rows) - 1
    assert len(platform.rows(QUARANTINE)) == 1


def test_a_day_that_lands_twice_is_there_once(platform: Line, january: list[Any]) -> None:
    land(platform, [delivery for delivery in january if delivery.table == "schedule"])
    assert platform.ingest("schedule", first=FIRST, last=LAST).success
    whole = platform.rows(VALIDATED).sort(pl.all())
    land_schedule(platform, of(january, "schedule").rows)
    assert platform.ingest("schedule", FIRST).success
    assert platform.rows(VALIDATED).sort(pl.all()).equals(whole)


def test_a_missing_day_names_the_file_that_is_awaited(platform: Line) -> None:
    result = platform.ingest("schedule", FIRST)
    assert not result.success
    assert "2013-01-02.csv" in failure(result)


def test_one_run_over_many_days_equals_one_run_a_day(platform: Line, january: list[Any]) -> None:
    land(platform, [delivery for delivery in january if delivery.table == "weather"])
    path = names.validated("flight_delay", "weather")
    assert platform.ingest("weather", first=FIRST, last=LAST).success
    at_once = platform.rows(path).sort(pl.all())
    for offset in range((LAST - FIRST).days + 1):
        day = FIRST + dt.timedelta(days=offset)
        assert platform.ingest("weather", first=day, last=day).success
    assert platform.rows(path).sort(pl.all()).equals(at_once)
