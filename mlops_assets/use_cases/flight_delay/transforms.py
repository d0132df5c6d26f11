"""The transforms of the flight-delay line in pure Polars: one function per feature view, and the label."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from mlops_assets.use_cases import polars_later as pl

LATE_MINUTES = 15
# Rates of few flights shrink towards the long-run share of late arrivals in the United States (about one in five,
# https://www.transtats.bts.gov/OT_Delay/OT_DelayCause1.asp), which has the weight of two flights.
PRIOR_RATE, PRIOR_FLIGHTS = 0.2, 2
# One storm day must not dominate a mean: departure delays count from half an hour early to three hours late.
DELAY_BOUNDS = (-30, 180)

Tables = Mapping[str, "pl.LazyFrame"]


def late_label(outcomes: pl.LazyFrame) -> pl.LazyFrame:
    """Key, `late` (arrived more than 15 minutes after schedule) and when that became known."""
    late = (pl.col("arr_delay") > LATE_MINUTES).cast(pl.Int8)
    return outcomes.select("carrier", "flight", "origin", "sched_dep", late=late, known_at="arr_time")


def origin_weather(tables: Tables, start: datetime, end: datetime) -> pl.LazyFrame:
    """The hourly observation of an airport, with the rain and the change of pressure of the last three hours."""
    hours = tables["weather"].sort("origin", "observed_at")
    # By time and not by rows: some hours are missing.
    before = hours.select("origin", pl.col("observed_at").dt.offset_by("3h"), pressure_before="pressure")
    return (
        hours.join(before, on=["origin", "observed_at"], how="left", maintain_order="left")
        .with_columns(
            precip_3h=pl.col("precip").rolling_sum_by("observed_at", window_size="3h").over("origin"),
            pressure_change_3h=pl.col("pressure") - pl.col("pressure_before"),
        )
        .rename({"observed_at": "event_timestamp"})
        .filter(_within(start, end))
        .select("origin", "event_timestamp", "temp", "dewp", "humid", "wind_speed", "wind_gust", "precip_3h",
                "pressure", "pressure_change_3h", "visib")
    )  # fmt: skip


def origin_delays(tables: Tables, start: datetime, end: datetime) -> pl.LazyFrame:
    return _delays(tables, start, end, keys=["origin"], windows=["2h", "4h", "24h"], means=["2h", "24h"])


def carrier_delays(tables: Tables, start: datetime, end: datetime) -> pl.LazyFrame:
    return _delays(tables, start, end, keys=["carrier"], windows=["6h", "24h", "7d"], means=["24h"])


def route_delays(tables: Tables, start: datetime, end: datetime) -> pl.LazyFrame:
    return _delays(tables, start, end, keys=["origin", "dest"], every="6h", windows=["7d", "30d"], means=[])


def route_schedule(tables: Tables, start: datetime, end: datetime) -> pl.LazyFrame:
    """The distance of every route in the day's schedule, which is known a day ahead."""
    day = pl.col("sched_dep").dt.truncate("1d")
    flights = tables["schedule"].with_columns(event_timestamp=day).filter(_within(start, end))
    return flights.group_by("origin", "dest", "event_timestamp").agg(pl.col("distance").mean())


def tail_delays(tables: Tables, start: datetime, end: datetime) -> pl.LazyFrame:
    """How late each aircraft arrived, from the moment it arrived."""
    arrivals = tables["outcomes"].filter(pl.col("tailnum").is_not_null()).rename({"arr_time": "event_timestamp"})
    delay = pl.col("arr_delay").cast(pl.Float64)
    return arrivals.filter(_within(start, end)).select("tailnum", "event_timestamp", tail_last_arr_delay=delay)


def plane(tables: Tables, start: datetime, end: datetime) -> pl.LazyFrame:
    """Seats and year of manufacture of an aircraft, from the end of the day on which its registration landed."""
    known = pl.col("day").cast(pl.Datetime("us")).dt.replace_time_zone("UTC") + pl.duration(hours=23, minutes=59, seconds=59)
    planes = tables["planes"].with_columns(event_timestamp=known).filter(_within(start, end))
    return planes.select("tailnum", "event_timestamp", pl.col("seats", "built").cast(pl.Float64))


def _within(start: datetime, end: datetime) -> pl.Expr:
    return pl.col("event_timestamp").is_between(start, end, closed="left")


def _delays(
    tables: Tables, start: datetime, end: datetime, *, keys: list[str], windows: list[str], means: list[str], every: str = "1h"
) -> pl.LazyFrame:
    """The late rate in rolling `windows` and the mean delay in `means`, per key on a regular grid of moments; a moment counts
    the outcomes known at or before it. The last window is the longest. A key without an outcome in it has no row, so that the
    rows depend neither on keys that appear later nor on how many days are computed at once.
    """
    # The microsecond counts an outcome known exactly on the grid in that moment.
    moment = (pl.col("arr_time") - pl.duration(microseconds=1)).dt.truncate(every).dt.offset_by(every)
    counts = tables["outcomes"].group_by(*keys, event_timestamp=moment).agg(
        flights=pl.len().cast(pl.Float64),
        late=(pl.col("arr_delay") > LATE_MINUTES).sum().cast(pl.Float64),
        delay=pl.col("dep_delay").clip(*DELAY_BOUNDS).sum().cast(pl.Float64),
    )  # fmt: skip
    length = int(windows[-1][:-1])
    longest = timedelta(days=length) if windows[-1].endswith("d") else timedelta(hours=length)
    moments = pl.datetime_range(start - longest, end, every, closed="left", time_unit="us", time_zone="UTC", eager=True)
    grid = pl.LazyFrame({"event_timestamp": moments})
    filled = counts.select(keys).unique().join(grid, how="cross").join(counts, on=[*keys, "event_timestamp"], how="left")
    sums = [
        pl.col(count).fill_null(0).rolling_sum_by("event_timestamp", window_size=window).over(keys).alias(f"{count}_{window}")
        for count in ("flights", "late", "delay")
        for window in windows
    ]
    name, known = "route" if len(keys) > 1 else keys[0], pl.col(f"flights_{windows[-1]}") > 0
    rates = {f"{name}_late_rate_{window}": _mean("late", window, prior=PRIOR_RATE) for window in windows}
    delays = {f"{name}_dep_delay_{window}": _mean("delay", window, prior=0) for window in means}
    rolled = filled.sort(*keys, "event_timestamp").with_columns(sums).filter(known & _within(start, end))
    return rolled.select(*keys, "event_timestamp", **rates, **delays)


def _mean(count: str, window: str, *, prior: float) -> pl.Expr:
    """Per flight, shrunk towards `prior`."""
    return (pl.col(f"{count}_{window}") + PRIOR_FLIGHTS * prior) / (pl.col(f"flights_{window}") + PRIOR_FLIGHTS)
