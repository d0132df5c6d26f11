"""The demo's deliveries, on the real files: which rows are delivered, and that none is delivered early."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.ingestion.expectations import check_bad_share
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.validate import split_rows
from mlops_assets.use_cases.flight_delay import USE_CASE
from mlops_assets.use_cases.flight_delay.airline import Delivery, deliveries, package_folder

FIRST, LAST = date(2013, 1, 1), date(2014, 1, 1)  # the last flights of the local year land on New Year's Day in UTC
JULY = (date(2013, 7, 1), date(2013, 7, 2))


@pytest.fixture(scope="module")
def year() -> list[Delivery]:
    return list(deliveries(package_folder(), FIRST, LAST))


@pytest.fixture(scope="module")
def july() -> list[Delivery]:
    return list(deliveries(package_folder(), *JULY))


def rows_of(year: list[Delivery], table: str) -> pl.DataFrame:
    return pl.concat([item.rows.with_columns(delivered=item.partition) for item in year if item.table == table])


def test_every_fact_of_the_year_is_delivered_once(year: list[Delivery]) -> None:
    heights = {table: rows_of(year, table).height for table in ("schedule", "weather", "planes", "airports", "airlines")}
    assert heights == {"schedule": 336_776, "weather": 26_115, "planes": 3_322, "airports": 1_458, "airlines": 16}
    assert not rows_of(year, "schedule").select("carrier", "flight", "origin", "sched_dep").is_duplicated().any()


def test_cancelled_and_diverted_flights_never_have_an_outcome(year: list[Delivery]) -> None:
    assert rows_of(year, "outcomes").height == 336_776 - 9_430


def test_the_label_is_known_hours_after_the_schedule_as_measured(year: list[Delivery]) -> None:
    outcomes = rows_of(year, "outcomes")
    hours = (outcomes["arr_time"] - outcomes["sched_dep"]).dt.total_minutes() / 60
    assert hours.quantile(0.5) == pytest.approx(2.83, abs=0.01)
    assert hours.quantile(0.01) == pytest.approx(0.83, abs=0.01)
    assert hours.quantile(0.99) == pytest.approx(7.8, abs=0.1)
    assert hours.max() == pytest.approx(32.7, abs=0.01)


def test_an_outcome_is_delivered_on_the_day_of_its_arrival(year: list[Delivery]) -> None:
    outcomes = rows_of(year, "outcomes")
    assert (outcomes["arr_time"].dt.date() == outcomes["delivered"]).all()
    assert (outcomes["arr_time"] > outcomes["dep_time"]).all()
    overnight = outcomes.filter(pl.col("arr_time").dt.date() > pl.col("sched_dep").dt.date())
    assert overnight.height > 30_000


def test_an_arrival_agrees_with_the_delay_that_the_airline_reports(year: list[Delivery]) -> None:
    """An arrival on a wrong day or in a wrong zone would make the planned duration of its flight absurd."""
    hours = (pl.col("arr_time") - pl.col("sched_dep")).dt.total_minutes() / 60 - pl.col("arr_delay") / 60
    assert rows_of(year, "outcomes").select(hours.is_between(0.4, 12.5).all()).item()


def test_an_arrival_in_the_hour_that_clocks_skip_in_spring_follows_from_its_taxi_time(year: list[Delivery]) -> None:
    night = datetime(2013, 3, 10, 2, 45, tzinfo=UTC)
    flight = rows_of(year, "outcomes").row(by_predicate=(pl.col("sched_dep") == night) & (pl.col("dest") == "PBI"), named=True)
    assert flight["arr_time"] == datetime(2013, 3, 10, 7, 3, tzinfo=UTC)


def test_a_schedule_is_delivered_the_day_before_and_only_the_first_of_the_year_on_its_own_day(
    year: list[Delivery], july: list[Delivery]
) -> None:
    assert [item.partition for item in july if item.table == "schedule"] == [date(2013, 7, 2), date(2013, 7, 3)]
    until_the_second = year[: next(at for at, item in enumerate(year) if item.table == "outcomes") + 1]
    assert [item.partition for item in until_the_second if item.table == "schedule"] == [date(2013, 1, 1), date(2013, 1, 2)]


def test_a_day_delivered_alone_equals_that_day_of_the_year(year: list[Delivery], july: list[Delivery]) -> None:
    assert {item.table for item in july} == {"planes", "schedule", "weather", "outcomes"}
    for item in july:
        twin = next(other for other in year if (other.table, other.partition) == (item.table, item.partition))
        assert item.rows.equals(twin.rows)


def test_an_aircraft_is_delivered_with_the_first_schedule_that_names_it(year: list[Delivery]) -> None:
    departures = rows_of(year, "schedule").group_by("tailnum").agg(first=pl.col("sched_dep").min().dt.date())
    planes = rows_of(year, "planes").join(departures, on="tailnum")
    eve = pl.max_horizontal(pl.col("first") - timedelta(days=1), pl.lit(FIRST))
    assert planes.height == 3_322
    assert planes.select((pl.col("delivered") == eve).all()).item()


def test_the_airports_and_airlines_are_delivered_once_on_the_first_day(year: list[Delivery]) -> None:
    delivered = [(item.table, item.partition) for item in year if item.table in ("airports", "airlines")]
    assert delivered == [("airlines", FIRST), ("airports", FIRST)]


def test_deliveries_have_the_columns_of_the_contracts(year: list[Delivery]) -> None:
    for contract in USE_CASE.contracts:
        assert tuple(rows_of(year, contract.table).drop("delivered").columns) == contract.names


def test_a_wind_of_a_thousand_miles_an_hour_is_the_only_row_that_breaks_a_contract(year: list[Delivery], tmp_path: Path) -> None:
    """Of all weather, planes, airports and airlines, and of the flights of every tenth day."""
    landing, quarantined = Landing(tmp_path), list[str]()
    large = {"schedule", "outcomes"}
    delivered = [item for item in year if item.table not in large or item.partition.toordinal() % 10 == 0]
    for item in delivered:
        landing.put("flight_delay", item.table, day=item.partition, rows=item.rows)
    for contract in USE_CASE.contracts:
        days = [item.partition for item in delivered if item.table == contract.table]
        split = split_rows(landing.read("flight_delay", contract, days, required=True), contract)
        assert check_bad_share(split, contract).passed
        quarantined += split.quarantined["reasons"].to_list()
    assert quarantined == ["wind_speed: '1048.36058' is above 200"]
