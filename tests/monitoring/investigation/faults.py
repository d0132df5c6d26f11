"""Faults of the eight kinds, of different sizes, columns and days, for the line of small_line.py."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.monitoring.investigation.cause import Kind
from mlops_assets.monitoring.investigation.evidence import Alarm
from tests.monitoring.investigation.small_line import CHANNELS, DAYS, HOUR, World, come_late, load, midnight, weather

Inject = Callable[[World], None]
NO_LABELS = Alarm(
    "performance", Verdict.NOT_ENOUGH_DATA, "12 known outcomes in the window; a verdict needs 1,000.", labelled=True
)


class Fault(NamedTuple):
    kind: Kind
    name: str
    inject: Inject


FAULTS: list[Fault] = []


def fault(kind: Kind, *arguments: tuple[Any, ...]) -> Callable[[Callable[..., Inject]], Callable[..., Inject]]:
    """Adds the fault with each of these arguments."""

    def add(make: Callable[..., Inject]) -> Callable[..., Inject]:
        for one in arguments:
            FAULTS.append(Fault(kind, f"{make.__name__} {' '.join(map(str, one))}", make(*one)))
        return make

    return add


def since(day: int, moment: str = "day") -> pl.Expr:
    return pl.col(moment) >= (midnight(day) if moment != "day" else midnight(day).date())


def change(world: World, table: str, column: str, day: int, new: pl.Expr, where: pl.Expr | bool = True) -> None:
    rows = getattr(world, table)
    setattr(world, table, rows.with_columns(pl.when(since(day) & where).then(new).otherwise(pl.col(column)).alias(column)))


@fault(Kind.PARTITION, ("readings", 46, 10), ("readings", 51, 5), ("orders", 52, 4), ("orders", 50, 6))
def never_lands(table: str, day: int, days: int) -> Inject:
    return lambda world: world.absent.update((table, one) for one in range(day, day + days))


@fault(Kind.PARTITION, ("readings", 49, 3), ("readings", 53, 2), ("orders", 48, 4))
def lands_late(table: str, day: int, days: int) -> Inject:
    def inject(world: World) -> None:
        for one in range(day, day + days):
            world.landed_at[table, one] = midnight(day + days + 1) + 6 * HOUR

    return inject


@fault(Kind.PARTITION, ("readings", 50), ("orders", 51))
def is_refused(table: str, day: int) -> Inject:
    def inject(world: World) -> None:
        for one in range(day, DAYS):
            world.absent.add((table, one))
            world.failed[table, one] = "bad_rows_within_bound: 61% of the rows break the contract"

    return inject


@fault(Kind.PARTITION, (52, 0.35), (49, 0.5))
def has_few_rows(day: int, share: float) -> Inject:
    """Of the delivery of orders; those of the requests that are answered are all there."""

    def inject(world: World) -> None:
        full, kept = world.orders, np.random.default_rng(day).random(len(world.orders)) < share
        world.request = lambda rows: full.filter(
            pl.col("ordered_at").is_between(rows["ordered_at"].min(), rows["ordered_at"].max())
        )
        world.orders = full.filter(pl.Series(kept) | ~since(day))

    return inject


@fault(Kind.SCHEMA, ("temp", 47, 1.8, 32.0), ("wind", 50, 3.6, 0.0), ("temp", 52, 1.0, 273.15), ("wind", 45, 1.943844, 0.0))
def readings_in_another_unit(column: str, day: int, factor: float, offset: float) -> Inject:
    return lambda world: change(world, "readings", column, day, pl.col(column) * factor + offset)


@fault(Kind.SCHEMA, ("amount", 48, 100.0), ("weight", 51, 1000.0), ("weight", 44, 2.204623), ("amount", 53, 7.4))
def orders_in_another_unit(column: str, day: int, factor: float) -> Inject:
    return lambda world: change(world, "orders", column, day, pl.col(column) * factor)


@fault(Kind.SCHEMA, ("channel", 49, "upper"), ("channel", 52, "codes"), ("site", 47, "upper"))
def categories_renamed(column: str, day: int, how: str) -> Inject:
    codes = {"web": "W10", "app": "A20", "phone": "P30", "shop": "S40"}
    new = pl.col(column).str.to_uppercase() if how == "upper" else pl.col(column).replace(codes)
    return lambda world: change(world, "orders", column, day, new)


@fault(Kind.SCHEMA, ("readings", "temp", 50), ("orders", "amount", 51))
def column_is_empty(table: str, column: str, day: int) -> Inject:
    return lambda world: change(world, table, column, day, pl.lit(None, pl.Float64()))


def _weather(**new: pl.Expr) -> Callable[..., pl.LazyFrame]:
    return lambda tables, start, end: weather(tables, start, end).with_columns(**new)


def _load(**new: pl.Expr) -> Callable[..., pl.LazyFrame]:
    return lambda tables, start, end: load(tables, start, end).with_columns(**new)


@fault(
    Kind.TRANSFORM,
    ("weather", 48, False, "temp", pl.col("temp") * 1.8 + 32), ("weather", 50, True, "temp", pl.col("temp") + 7),
    ("weather", 46, False, "wind", pl.col("wind").log1p()), ("weather", 52, True, "wind", pl.col("wind").clip(0, 3)),
    ("load", 49, False, "load", pl.col("load") / 24), ("load", 51, True, "mean_weight", pl.col("mean_weight") * 0.6),
    ("load", 47, False, "mean_weight", pl.col("mean_weight").floor()),
)  # fmt: skip
def other_code(view: str, day: int, refill: bool, column: str, new: pl.Expr) -> Inject:
    make = _weather if view == "weather" else _load
    return lambda world: world.code.update({view: (day, make(**{column: new}), refill)})


@fault(Kind.STALE_VIEW, ("weather", 48), ("weather", 51), ("load", 50), ("load", 46))
def not_online(view: str, day: int) -> Inject:
    return lambda world: world.stale_online.update({view: day})


@fault(Kind.STALE_VIEW, ("weather", 50), ("load", 51), ("weather", 45))
def not_filled(view: str, day: int) -> Inject:
    return lambda world: world.stale_features.update({view: day})


@fault(
    Kind.SKEW,
    ("temp", 50, 1.0, pl.col("temp") + 4), ("temp", 48, 0.3, pl.lit(0.0)), ("wind", 52, 1.0, pl.lit(None, pl.Float64())),
    ("load", 49, 0.5, pl.col("load").shift(40)), ("mean_weight", 46, 0.15, pl.col("mean_weight") * 2),
    ("wind", 53, 1.0, pl.col("wind").round(0)), ("temp", 51, 0.5, pl.col("temp") * 1.8 + 32),
)  # fmt: skip
def served_differently(column: str, day: int, share: float, new: pl.Expr) -> Inject:
    """Some of the servers serve other values of the column."""
    hit = (pl.int_range(pl.len()) * 7919 % 100) < 100 * share

    def serve(rows: pl.DataFrame) -> pl.DataFrame:
        is_hit = since(day, "event_timestamp") & hit
        return rows.with_columns(pl.when(is_hit).then(new).otherwise(pl.col(column)).cast(pl.Float64()).alias(column))

    return lambda world: setattr(world, "serve", serve)


@fault(Kind.SEGMENT, ("temp", 47, "s11", 25.0), ("wind", 50, "s10", 14.0), ("temp", 45, "s09", -22.0))
def one_site_differs(column: str, day: int, site: str, by: float) -> Inject:
    return lambda world: change(world, "readings", column, day, pl.col(column) + by, pl.col("site") == site)


@fault(Kind.SEGMENT, ("amount", 48, "app", 6.0), ("weight", 51, "web", 0.3), ("amount", 45, "phone", 5.0))
def one_channel_differs(column: str, day: int, channel: str, factor: float) -> Inject:
    return lambda world: change(world, "orders", column, day, pl.col(column) * factor, pl.col("channel") == channel)


@fault(Kind.SEGMENT, ("site", 48, "s00", 0.3), ("site", 51, "s12", 0.25))
def one_value_grows(column: str, day: int, value: str, share: float) -> Inject:
    is_hit = (pl.int_range(pl.len()) * 7919 % 100) < 100 * share
    return lambda world: change(world, "orders", column, day, pl.lit(value), is_hit)


@fault(Kind.POPULATION, ("amount", 47, 0.8, 0.0), ("weight", 49, 0.0, 2.5), ("amount", 44, 0.45, 0.0), ("weight", 51, -0.5, 0.0))
def customers_change(column: str, day: int, growth: float, more: float) -> Inject:
    """At once where `more`, else over the days."""
    age = (pl.col("day") - midnight(day).date()).dt.total_days().cast(pl.Float64()) / 4
    new = pl.col(column) + more if more else pl.col(column) * (growth * age.clip(0, 1)).exp()

    def inject(world: World) -> None:
        change(world, "orders", column, day, new)
        world.orders = come_late(world.orders)

    return inject


@fault(Kind.POPULATION, ("temp", 46, 9.0), ("temp", 48, -8.0))
def season_changes(column: str, day: int, by: float) -> Inject:
    age = (pl.col("day") - midnight(day).date()).dt.total_days().cast(pl.Float64()) / 5
    return lambda world: change(world, "readings", column, day, pl.col(column) + by * age.clip(0, 1))


@fault(Kind.POPULATION, (48,), (45,))
def other_mix(day: int) -> Inject:
    """Channels change places, so that no single one explains it."""
    draws = np.random.default_rng(day).choice(CHANNELS, DAYS * 120, p=[0.1, 0.2, 0.3, 0.4])
    return lambda world: change(world, "orders", "channel", day, pl.Series(draws))


@fault(Kind.RELATION, (46, 1.0), (50, 1.0), (44, 0.5), (48, 0.6))
def large_orders_come_in_time(day: int, share: float) -> Inject:
    is_hit = (pl.int_range(pl.len()) * 7919 % 100) < 100 * share
    return lambda world: change(world, "orders", "late", day, 1 - pl.col("late"), is_hit)


@fault(Kind.RELATION, (45,), (49,))
def all_orders_come_late(day: int) -> Inject:
    return lambda world: change(world, "orders", "late", day, pl.lit(1), (pl.int_range(pl.len()) % 10) < 9)


def _stop(day: int, share: float) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda rows: rows.filter(~since(day) | ((pl.int_range(pl.len()) * 7919 % 1000) < 1000 * share))


@fault(Kind.TOO_FEW, (42, 0.0), (43, 0.02), (41, 0.1), (44, 0.0))
def fewer_requests(day: int, share: float) -> Inject:
    return lambda world: setattr(world, "request", _stop(day, share))


@fault(Kind.TOO_FEW, (1,), (2,))
def no_labels(_: int) -> Inject:
    return lambda world: setattr(world, "alarms", (NO_LABELS,))
