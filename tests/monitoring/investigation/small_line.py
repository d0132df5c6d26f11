"""A line of 60 days in memory, in which faults are injected where they happen: into deliveries, code, stores and requests.

Tables, transforms, point-in-time joins, request features and the drift, skew and data-age rules are those of the platform;
only Dagster, disks and servers are left out. Readings land at 04:00 of their day, orders at 02:00 of the next.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import polars as pl

from mlops_assets.features.featurize import fill_partitions
from mlops_assets.features.offline.point_in_time import Facts as ViewFacts
from mlops_assets.features.offline.point_in_time import join_facts
from mlops_assets.features.parity import compare_features
from mlops_assets.features.request_features import entity_rows
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.monitoring.data_age import monitor as judge_age
from mlops_assets.monitoring.investigation.evidence import Alarm, Delivery, Evidence, Refill, Relation
from mlops_assets.monitoring.investigation.gather import Facts, compare_code, gather
from mlops_assets.monitoring.investigation.relation import Sample, find_relation
from mlops_assets.monitoring.skew import monitor_skew
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.feature import Features, FeatureView, Label
from mlops_assets.spec.monitor import DataAge, Drift, Performance, Skew
from mlops_assets.spec.request_feature import PredictionMoment
from mlops_assets.spec.source import Files
from mlops_assets.spec.task import Binary
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics.drift import compare_profiles
from mlops_assets.statistics.estimation import Labelled
from mlops_assets.statistics.profile import profile_like, profile_reference
from mlops_assets.tasks import task_of

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
FIRST, DAYS, LIVE = date(2024, 3, 1), 60, 40  # the model is trained on the days before LIVE
SITES, CHANNELS = [f"s{number:02}" for number in range(12)], ["web", "app", "phone", "shop"]
ORDERS = 120  # a day
READINGS = Contract(
    table="readings",
    description="The weather of each site at night.",
    columns=(
        Column(name="site", dtype="string", description="Where."),
        Column(name="read_at", dtype="datetime", description="When."),
        Column(name="temp", dtype="float", nullable=True, description="Degrees Celsius."),
        Column(name="wind", dtype="float", nullable=True, description="Metres per second."),
    ),
    unique=("site", "read_at"),
    day="read_at",
)
ORDERED = Contract(
    table="orders",
    description="What was ordered, and whether it came late.",
    columns=(
        Column(name="number", dtype="int", description="Of the order."),
        Column(name="site", dtype="string", description="Where."),
        Column(name="channel", dtype="string", description="How."),
        Column(name="amount", dtype="float", nullable=True, description="Euros."),
        Column(name="weight", dtype="float", nullable=True, description="Kilograms."),
        Column(name="ordered_at", dtype="datetime", description="When."),
        Column(name="late", dtype="int", description="1: it came late."),
    ),
    unique=("number",),
    day="ordered_at",
)


def weather(tables: Any, start: datetime, end: datetime) -> pl.LazyFrame:
    rows = tables["readings"].filter(pl.col("read_at").is_between(start, end, closed="left"))
    return rows.select("site", "temp", "wind", event_timestamp="read_at")


def load(tables: Any, start: datetime, end: datetime) -> pl.LazyFrame:
    """Of each site on the day before, known at midnight."""
    rows = tables["orders"].filter(pl.col("ordered_at").is_between(start - DAY, end - DAY, closed="left"))
    midnight = (pl.col("ordered_at").dt.truncate("1d") + DAY).alias("event_timestamp")
    return rows.group_by("site", midnight).agg(load=pl.len().cast(pl.Float64()), mean_weight=pl.col("weight").mean())


def label(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("number", "late", known_at=pl.col("ordered_at") + DAY)


WEATHER = FeatureView(name="weather", description="Weather.", tables=("readings",), entity=("site",), transform=weather)
LOAD = FeatureView(name="load", description="Load.", tables=("orders",), entity=("site",), transform=load, lookback=DAY)
LINE = UseCase(
    name="orders",
    owner="team:shop",
    question="Will the order come late?",
    first_day=FIRST,
    sources=(Files(table="orders"), Files(table="readings")),
    contracts=(ORDERED, READINGS),
    features=Features(
        service="orders_v1",
        views=(WEATHER, LOAD),
        request_table="orders",
        request=("number", "site", "channel", "amount", "weight", "ordered_at"),
        request_features=(PredictionMoment(column="ordered_at"),),
        numeric=("amount", "weight", "temp", "wind", "load", "mean_weight"),
        categorical=("channel", "site"),
    ),
    task=Binary(label=Label(name="late", table="orders", key=("number",), transform=label)),
    monitors=(Drift(), Skew(), DataAge(max_age=timedelta(hours=30)), Performance()),
)
Rows = Callable[[pl.DataFrame], pl.DataFrame]
Rng = np.random.Generator


def midnight(day: int) -> datetime:
    return datetime.combine(FIRST, time(), UTC) + day * DAY


def champion() -> pl.Expr:
    """What it answers: large orders come late."""
    return (1 / (1 + (3 * (3.5 - pl.col("amount").log())).exp())).fill_null(0.5).fill_nan(0.5)


def come_late(orders: pl.DataFrame) -> pl.DataFrame:
    """As often as the champion has learned it, by draws of their own."""
    draws = pl.Series(np.random.default_rng(0).random(len(orders)))
    return orders.with_columns(late=(draws < champion()).cast(pl.Int64))


def make_orders(rng: Rng, days: int = DAYS) -> pl.DataFrame:
    size = days * ORDERS
    days_of = np.repeat(np.arange(days), ORDERS)
    seconds = rng.integers(8 * 3600, 20 * 3600, size)
    rows = pl.DataFrame(
        {
            "number": np.arange(size),
            "site": rng.choice(SITES, size, p=np.arange(6, 18) / np.arange(6, 18).sum()),
            "channel": rng.choice(CHANNELS, size, p=[0.4, 0.3, 0.2, 0.1]),
            "amount": np.round(rng.lognormal(3.5, 0.7, size), 2),
            "weight": np.round(rng.gamma(3.0, 1.5, size), 3),
            "seconds": days_of * 86_400 + seconds,
            "late": rng.integers(0, 2, size),
        }
    )
    rows = come_late(rows)  # fmt: skip
    at = (pl.lit(midnight(0)) + pl.duration(seconds="seconds")).cast(pl.Datetime("us", "UTC"))
    return rows.with_columns(ordered_at=at, day=at.dt.date()).drop("seconds").sort("ordered_at")


def make_readings(rng: Rng, days: int = DAYS) -> pl.DataFrame:
    size = days * len(SITES)
    rows = pl.DataFrame({
        "site": np.tile(SITES, days), "number": np.repeat(np.arange(days), len(SITES)),
        "temp": np.round(rng.normal(12, 6, size), 1), "wind": np.round(rng.gamma(2.0, 2.0, size), 1),
    })  # fmt: skip
    at = (pl.lit(midnight(0)) + pl.duration(days="number", hours=1)).cast(pl.Datetime("us", "UTC"))
    return rows.with_columns(read_at=at, day=at.dt.date()).drop("number")


@dataclass
class World:
    """What is true and what was delivered, and what a fault changes: `landed_at`, `failed` and `absent` by (table, day number);
    `code` are the transforms since a day, which fill all days again where `refill`; a view in `stale_online` got no online
    values since a day, one in `stale_features` was not filled since then. `serve` changes the logged answers.
    """

    orders: pl.DataFrame
    readings: pl.DataFrame
    landed_at: dict[tuple[str, int], datetime] = field(default_factory=dict)
    failed: dict[tuple[str, int], str] = field(default_factory=dict)
    absent: set[tuple[str, int]] = field(default_factory=set)
    code: dict[str, tuple[int, Callable[..., pl.LazyFrame], bool]] = field(default_factory=dict)
    stale_online: dict[str, int] = field(default_factory=dict)
    stale_features: dict[str, int] = field(default_factory=dict)
    request: Rows = lambda rows: rows
    serve: Rows = lambda rows: rows
    no_labels: bool = False
    alarms: tuple[Alarm, ...] = ()

    @classmethod
    def sound(cls, seed: int) -> "World":
        rng = np.random.default_rng(seed)
        return cls(make_orders(rng), make_readings(rng))

    def landing(self, table: str, day: int) -> datetime:
        usual = midnight(day) + (4 * HOUR if table == "readings" else DAY + 2 * HOUR)
        return self.landed_at.get((table, day), usual)

    def tables(self, until: datetime) -> dict[str, pl.LazyFrame]:
        """What is validated by then: of an absent partition nothing."""
        landed = {}
        for table in ("orders", "readings"):
            days = [day for day in range(DAYS) if (table, day) not in self.absent and self.landing(table, day) <= until]
            landed[table] = getattr(self, table).filter(pl.col("day").is_in([midnight(day).date() for day in days])).lazy()
        return landed

    def features(self, view: FeatureView, until: datetime) -> pl.DataFrame:
        """The feature table, with the moment since which each row was `available` online."""
        changed, code, refill = self.code.get(view.name, (DAYS, view.transform, False))
        first_new = 1 if refill and midnight(changed) <= until else changed
        rows = (
            pl.concat([self._fill(view, until), self._fill(view.but(transform=code), until)], how="vertical_relaxed")
            if first_new < DAYS
            else self._fill(view, until)
        )
        is_new = pl.int_range(pl.len()) >= len(rows) // 2 if first_new < DAYS else pl.lit(False)
        rows = rows.filter(is_new == (pl.col("partition") >= first_new))
        days = range(1, min(DAYS, self.stale_features.get(view.name, DAYS)))
        filled = {
            day: self.landing(*(("readings", day) if view is WEATHER or view.name == "weather" else ("orders", day - 1)))
            + HOUR / 4
            for day in days
        }
        online = {
            day: midnight(DAYS) if day >= self.stale_online.get(view.name, DAYS) else at
            for day, at in filled.items()
            if at <= until
        }
        at = pl.col("partition").replace_strict(online, default=None, return_dtype=pl.Datetime("us", "UTC"))
        return rows.with_columns(available=at).drop_nulls("available")

    def _fill(self, view: FeatureView, until: datetime) -> pl.DataFrame:
        rows = fill_partitions(LINE, view, self.tables(until), first=midnight(1).date(), last=midnight(DAYS - 1).date())
        return rows.with_columns(partition=(pl.col("day") - FIRST).dt.total_days())


class Store:
    """The features as the tables give them by now."""

    def __init__(self, features: Mapping[str, pl.DataFrame], timestamp: str = "event_timestamp") -> None:
        self.features, self.timestamp = features, timestamp

    def historical(self, entity_rows: pl.DataFrame) -> pl.DataFrame:
        joined = entity_rows
        for view, rows in self.features.items():
            values = {
                name: name for name in rows.columns if name not in ("site", "day", "available", "partition", "event_timestamp")
            }
            known = rows.with_columns(**{f"{view} at": "event_timestamp"})
            facts = ViewFacts(
                view, known.lazy(), {"site": "site"}, values | {f"{view} at": f"{view} at"}, self.timestamp, "event_timestamp"
            )
            joined = join_facts(joined, [facts], event_timestamp="event_timestamp")
        return joined


def serve(world: World, now: datetime) -> pl.DataFrame:
    """The prediction log of the live days."""
    requests = world.request(world.orders.filter(pl.col("ordered_at").is_between(midnight(LIVE), now)))
    rows = entity_rows(LINE.features, requests.lazy().select(*LINE.features.request)).collect()
    # A refill overwrites what is online as of then: what was served before came from the tables of before.
    features = {view.name: world.features(view, now) for view in LINE.features.views}
    for name, (day, _, refill) in world.code.items():
        if refill:
            before = World(**{**vars(world), "code": {}}).features(next(v for v in LINE.features.views if v.name == name), now)
            early, late = before.filter(pl.col("partition") < day), features[name].filter(pl.col("partition") >= day)
            features[name] = pl.concat([early, late.select(early.columns)])
    looked_up = Store(features, "available").historical(rows)
    ages = [
        ((pl.col("event_timestamp") - pl.col(f"{name} at")).dt.total_seconds().cast(pl.Float64())).alias(name)
        for name in features
    ]
    logged = looked_up.with_columns(
        pl.struct(ages).alias("feature_age_s"), prediction_id=pl.format("p{}", "number"), features_from=pl.lit("online"),
        answered_at="event_timestamp",
    ).drop(f"{name} at" for name in features)  # fmt: skip
    return world.serve(logged.sort("event_timestamp"))


def train(world: World) -> pl.DataFrame:
    """A sample of the champion's training rows."""
    before = World(**{**vars(world), "code": {}})
    orders = before.orders.filter(pl.col("ordered_at").is_between(midnight(3), midnight(LIVE), closed="left"))
    rows = entity_rows(LINE.features, orders.lazy().select(*LINE.features.request)).collect()
    features = {view.name: before.features(view, midnight(LIVE)) for view in LINE.features.views}
    return (
        Store(features).historical(rows).join(orders.select("number", "late"), on="number").select(*LINE.features.inputs, "late")
    )


def relation(served: pl.DataFrame, trained: pl.DataFrame, world: World, now: datetime) -> Relation | None:
    """As the outcomes show it, of which a label is known after a day."""
    task, known = task_of(LINE.task), served.join(world.orders.select("number", "late"), on="number", maintain_order="left")
    if world.no_labels:
        return None
    known = known.filter(pl.col("event_timestamp") < now - DAY).with_columns(probability=champion())
    training, answered = (Sample(rows["late"].to_numpy(), rows.drop("late")) for rows in (trained, known))
    evaluated = Labelled(training.truth, trained.select(champion().alias("output"))["output"].to_numpy())
    return find_relation(task, evaluated, training=training, known=answered)


def deliveries(world: World, now: datetime) -> list[Delivery]:
    landed_files: list[Delivery] = []
    counts = {table: dict(getattr(world, table).group_by("day").len().iter_rows()) for table in ("orders", "readings")}
    for table, rows_of in counts.items():
        for day in range(DAYS):
            landed, absent = world.landing(table, day), (table, day) in world.absent
            failed = world.failed.get((table, day), "")
            is_missing = landed > now or (absent and not failed)
            if is_missing and midnight(day + 1) + LINE.freshness.raw > now:
                continue  # not due yet
            rows = 0 if absent or is_missing else rows_of.get(midnight(day).date(), 0)
            key = midnight(day).date().isoformat()
            landed_files.append(
                Delivery(table, key, midnight(day), midnight(day + 1), None if is_missing else landed, rows, failed=failed)
            )
    return landed_files


def refills(world: World, now: datetime) -> list[Refill]:
    refilled: list[Refill] = []
    for view in LINE.features.views:
        if view.name in world.code:
            day, code, _ = world.code[view.name]
            before = World(**{**vars(world), "code": {}}).features(view, now).filter(pl.col("partition") == 10)
            new = view.but(transform=code)
            refilled.append(
                compare_code(LINE, new, before, partition=midnight(10).date(), tables=world.tables(now), at=midnight(day))
            )
    return refilled


def judge(reference: pl.DataFrame, served: pl.DataFrame, store: Store, *, is_silent: bool) -> list[Alarm]:
    """The alarms as the monitors of the use case give them."""
    spec, alarms = Drift(min_rows=500), []
    profiles = profile_reference(reference, LINE.features.numeric, LINE.features.categorical)
    if len(served) < spec.min_rows:
        return [Alarm("drift", Verdict.NOT_ENOUGH_DATA, f"{len(served)} served requests in the window; a verdict needs 500.")]
    drifted = [one.name for one in compare_profiles(profiles, profile_like(profiles, served), spec) if one.drifted]
    if drifted:
        alarms.append(Alarm("drift", Verdict.ALARM, f"{len(drifted)} inputs have drifted.", tuple(drifted)))
    names = ["temp", "wind", "load", "mean_weight"]
    recomputed = store.historical(
        entity_rows(LINE.features, served.lazy().select(*LINE.features.request)).collect().with_columns(served["prediction_id"])
    )
    parity = compare_features(served, recomputed, features=names, relative=1e-6, absolute=1e-6)
    for result, monitor in (
        (monitor_skew(Skew(), parity), "skew"),
        (judge_age(LINE.monitors[2], served, use_case=LINE, champion=1, seed=0), "data_age"),
    ):
        if result.verdict is Verdict.ALARM:
            alarms.append(Alarm(monitor, result.verdict, result.message, tuple(result.symptoms)))
    return alarms


def investigated(world: World, *, now_day: int = 55) -> Evidence:
    """Of the alarms on a day, at noon; where no monitor sees anything, of an alarm of the performance."""
    now = midnight(now_day) + 21 * HOUR
    served, trained = serve(world, now), train(world)
    reference = trained.drop("late")
    store = Store({view.name: world.features(view, now) for view in LINE.features.views})
    alarms = [*world.alarms] or judge(reference, served, store, is_silent=False)
    alarms = alarms or [Alarm("performance", Verdict.ALARM, "auc 0.61 is below 0.7.", labelled=True)]
    return gather(
        LINE, alarms, served, reference=reference, tables=world.tables(now), store=store,
        facts=Facts(deliveries(world, now), refills(world, now), relation(served, trained, world, now)), start=midnight(LIVE), now=now,
    )  # fmt: skip
