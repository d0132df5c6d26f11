"""The example data: the hours of 2011 from the ISLP package, as a rental company delivers them."""

from collections.abc import Iterator
from datetime import date
from importlib.metadata import distribution
from pathlib import Path

import polars as pl

from mlops_assets.foundation.delivery import Delivery
from mlops_assets.use_cases.bike_demand import CONDITIONS, RENTALS, ZONE

# The set has temperatures, humidity and wind speed as shares of a range (Fanaee-T and Gama, 2014, doi:10.1007/s13748-013-0040-3).
SCALED = {
    "temperature": pl.col("temp") * 47 - 8, "felt_temperature": pl.col("atemp") * 66 - 16,
    "humidity": pl.col("hum") * 100, "wind_speed": pl.col("windspeed") * 67,
}  # fmt: skip


def example(first: date, last: date) -> Iterator[Delivery]:
    """Two files an hour: its conditions, and its rentals."""
    day = pl.col("starts_at").dt.convert_time_zone(ZONE).dt.date()
    for (hour,), rows in _hours().filter(day.is_between(first, last)).group_by("starts_at", maintain_order=True):
        for contract in (CONDITIONS, RENTALS):
            yield Delivery(contract.table, hour, rows.select(contract.names))


def _hours() -> pl.DataFrame:
    path = Path(str(distribution("ISLP").locate_file("ISLP/data/Bikeshare.csv")))
    hours = pl.read_csv(path)
    # The source counts by the clock; of the hour that comes twice in November it has one row.
    clock = pl.datetime(2011, 1, 1) + pl.duration(days=pl.col("day") - 1, hours="hr")
    return hours.with_columns(
        starts_at=clock.dt.replace_time_zone(ZONE, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC"),
        is_holiday=pl.col("holiday") == 1, is_working_day=pl.col("workingday") == 1,
        weather="weathersit", bikes="bikers", **SCALED,
    ).drop_nulls("starts_at").sort("starts_at")  # fmt: skip
