"""The demand before an hour, and the label."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from mlops_assets.use_cases import polars_later as pl

HOUR = timedelta(hours=1)
ENDED = HOUR - timedelta(microseconds=1)  # the last moment of an hour, which is in its partition
# The hours before the newest known one; the predicted hour begins an hour after that one has ended.
LAGS_H = {"demand_before_1h": 0, "demand_before_2h": 1, "demand_same_hour_yesterday": 22, "demand_same_hour_last_week": 166}

Tables = Mapping[str, "pl.LazyFrame"]


def recent_demand(tables: Tables, start: datetime, end: datetime) -> pl.LazyFrame:
    """Known when an hour has ended."""
    hours = tables["rentals"].select("starts_at", "bikes", event_timestamp=pl.col("starts_at") + ENDED)
    rows = hours.filter(pl.col("event_timestamp").is_between(start, end, closed="left"))
    for name, lag in LAGS_H.items():
        earlier = hours.select(pl.col("bikes").cast(pl.Float64).alias(name), starts_at=pl.col("starts_at") + lag * HOUR)
        rows = rows.join(earlier, on="starts_at", how="left")
    return rows.select("event_timestamp", *LAGS_H)


def rented_bikes(rentals: pl.LazyFrame) -> pl.LazyFrame:
    return rentals.select("starts_at", "bikes", known_at=pl.col("starts_at") + ENDED)
