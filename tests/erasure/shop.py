"""A small use case about customers, materialized by the real graph in a real home: orders, returns, models, predictions.

Customer ONE orders on the first three days only. Version 1 of the model is trained on these days, version 2 on later ones.
"""

import datetime as dt
import random
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from mlops_assets.foundation import names
from mlops_assets.foundation.home import Environment, read_environment
from mlops_assets.graph.evaluation import build_evaluation
from mlops_assets.graph.features import build_features
from mlops_assets.graph.ingestion import build_ingestion
from mlops_assets.graph.kernel.tables import build_io_managers
from mlops_assets.graph.serving import build_serving
from mlops_assets.graph.training import build_training
from mlops_assets.ingestion.landing import Landing
from mlops_assets.resources import build_resources
from mlops_assets.serving.log.keyed_hash import log_secret
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.feature import Features, FeatureView, Label, Tables
from mlops_assets.spec.gate import Floor
from mlops_assets.spec.source import Files
from mlops_assets.spec.split import TimeSplit
from mlops_assets.spec.task import Binary
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.spec.use_case import UseCase

FIRST, LAST = dt.date(2024, 3, 1), dt.date(2024, 3, 8)
DAYS = [FIRST + dt.timedelta(days=number) for number in range(8)]
ONE = "cst-7QXJ7"
OTHERS = [f"cst-{number}{number}B{number}Z" for number in range(1, 10)]
CITIES = ("Ulm", "Hof")

CUSTOMER = Column(
    name="customer_id",
    dtype="string",
    pattern=r"^cst-[0-9A-Z]{5}$",
    pii="hashed",
    identifies="customer",
    description="Who ordered.",
)
CITY = Column(name="city", dtype="string", allowed=CITIES, description="Where to.")
ORDER = Column(name="order_id", dtype="int", description="The order.")


def _between(rows: pl.LazyFrame, start: dt.datetime, end: dt.datetime) -> pl.LazyFrame:
    return rows.filter(pl.col("ordered_at").is_between(start, end, closed="left")).rename({"ordered_at": "event_timestamp"})


def customer_spend(tables: Tables, start: dt.datetime, end: dt.datetime) -> pl.LazyFrame:
    return _between(tables["orders"], start, end).select("customer_id", "event_timestamp", spent="amount")


def pair_spend(tables: Tables, start: dt.datetime, end: dt.datetime) -> pl.LazyFrame:
    return _between(tables["orders"], start, end).select("customer_id", "city", "event_timestamp", spent_there="amount")


def city_spend(tables: Tables, start: dt.datetime, end: dt.datetime) -> pl.LazyFrame:
    orders = _between(tables["orders"], start, end)
    return orders.group_by("city", "event_timestamp").agg(city_spent=pl.col("amount").sum())


def order_rows(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.with_columns(event_timestamp=pl.col("ordered_at"))


def returned_label(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("order_id", "returned", "known_at")


SHOP = UseCase(
    name="shop",
    owner="team:shop",
    question="Will this order come back?",
    first_day=FIRST,
    last_day=LAST,
    sources=(Files(table="orders"), Files(table="returns"), Files(table="customers", only_when_changed=True)),
    contracts=(
        Contract(
            table="orders",
            description="Orders.",
            columns=(
                ORDER, CUSTOMER, CITY,
                Column(name="ordered_at", dtype="datetime", description="When."),
                Column(name="amount", dtype="float", description="Euros."),
            ),
            unique=("order_id",),
            day="ordered_at",
            max_bad_share=0.5,
        ),
        Contract(
            table="returns",
            description="What came back.",
            columns=(
                ORDER, CUSTOMER,
                Column(name="known_at", dtype="datetime", description="When it was known."),
                Column(name="returned", dtype="int", description="1: it came back."),
            ),
            unique=("order_id",),
            day="known_at",
        ),
        Contract(table="customers", description="Customers.", columns=(CUSTOMER, CITY), unique=("customer_id",)),
    ),
    features=Features(
        service="shop_v1",
        views=(
            FeatureView(name="customer_spend", description="By customer.", tables=("orders",), entity=("customer_id",), transform=customer_spend),
            FeatureView(name="pair_spend", description="By customer and city.", tables=("orders",), entity=("customer_id", "city"), transform=pair_spend),
            FeatureView(name="city_spend", description="By city.", tables=("orders",), entity=("city",), transform=city_spend),
        ),
        request_table="orders",
        request=("order_id", "customer_id", "city", "ordered_at", "amount"),
        entity_rows=order_rows,
        numeric=("amount", "spent", "spent_there", "city_spent"),
        categorical=("city",),
    ),
    task=Binary(label=Label(name="returned", table="returns", key=("order_id",), transform=returned_label)),
    split=TimeSplit(test=dt.timedelta(days=1), validation=dt.timedelta(days=1), max_train=dt.timedelta(days=2)),
    trainer=HistGradientBoosting(max_iter=3, min_samples_leaf=5),
    gates=(Floor(metric="auc", bound=0.1),),
)  # fmt: skip

REPO = """
from feature_repo.objects import build_objects
from tests.erasure.shop import SHOP
globals().update(build_objects(SHOP))
"""


def environment_of(root: Path, redis_url: str = "sqlite") -> Environment:
    """The home at `root`/home, the project with its feature_repo at `root`."""
    variables = {
        "MLOPS_ENV": "test",
        "MLOPS_HOME": str(root / "home"),
        "MLOPS_ONLINE_STORE": redis_url,
        "MLOPS_SERVICE_URL": "http://127.0.0.1:9",
    }
    return read_environment(variables, root)


def orders(day: dt.date, *, dearer: float = 0.0) -> pl.DataFrame:
    """Fifty orders of a day, the same each time; ONE's are the first three of its days."""
    chance, midnight = random.Random(day.toordinal()), dt.datetime.combine(day, dt.time(), dt.UTC)
    buyers = ([ONE] * 3 if day < DAYS[3] else []) + [OTHERS[number % len(OTHERS)] for number in range(50)]
    rows = [
        {
            "order_id": day.toordinal() * 1000 + number,
            "customer_id": buyer,
            "city": chance.choice(CITIES),
            "ordered_at": midnight + dt.timedelta(minutes=10 * number),
            "amount": round(chance.uniform(5, 90), 2) + dearer,
        }
        for number, buyer in enumerate(buyers)
    ]
    return pl.DataFrame(rows)


def returns(day: dt.date) -> pl.DataFrame:
    known = orders(day).with_columns(
        known_at=pl.col("ordered_at") + dt.timedelta(hours=1), returned=(pl.col("order_id") * 7919 % 3 == 0)
    )
    return known.select("order_id", "customer_id", "known_at", pl.col("returned").cast(pl.Int64))


class Shop:
    """The graph of SHOP on one home; `is_recorded`: Dagster's records are in the home as in production."""

    def __init__(self, root: Path, *, is_recorded: bool = False) -> None:
        self.environment = environment_of(root)
        self.home = self.environment.home
        self._dagster, self._is_recorded = self.home.dagster if is_recorded else root / "dagster", is_recorded
        self._dagster.mkdir(parents=True)
        (root / "feature_repo").mkdir()
        (root / "feature_repo" / "declared.py").write_text(REPO)
        assets = [*build_ingestion(SHOP), *build_features(SHOP), *build_training(SHOP), *build_evaluation(SHOP)]
        assets += build_serving(SHOP)
        between = build_io_managers(str(self.home.tables), str(self.home.root / "values"))
        resources = {**build_resources(self.environment), **between}
        self._definitions = dg.Definitions(assets=assets, resources=resources, executor=dg.in_process_executor)

    def materialize(self, *assets: names.AssetPath, first: dt.date = FIRST, last: dt.date = LAST) -> None:
        days = {"dagster/asset_partition_range_start": first.isoformat(), "dagster/asset_partition_range_end": last.isoformat()}
        job, keys = self._definitions.resolve_implicit_global_asset_job_def(), [dg.AssetKey(path) for path in assets]
        instances = dg.DagsterInstance
        with (
            instances.local_temp(str(self._dagster)) if self._is_recorded else instances.ephemeral(str(self._dagster)) as instance
        ):
            job.execute_in_process(asset_selection=keys, instance=instance, tags=days)

    def carry(self, first: dt.date, last: dt.date) -> None:
        tables = [contract.table for contract in SHOP.contracts]
        views = [view.name for view in SHOP.features.views]
        paths = [name("shop", table) for name in (names.raw, names.validated, names.quarantine) for table in tables]
        self.materialize(
            *paths, *(name("shop", view) for name in (names.feature, names.online) for view in views), first=first, last=last
        )

    def train(self) -> None:
        self.materialize(names.stage("shop", "training_set"), names.stage("shop", "candidate"))

    def take_up_answers(self) -> None:
        self.materialize(names.stage("shop", "predictions"), names.stage("shop", "outcomes"))

    def land(self) -> None:
        landing = Landing(self.home.landing)
        for day in DAYS:
            landing.put("shop", "orders", day=day, rows=orders(day))
            landing.put("shop", "returns", day=day, rows=returns(day))
        customers = pl.DataFrame({"customer_id": [ONE, *OTHERS], "city": [CITIES[number % 2] for number in range(10)]})
        landing.put("shop", "customers", day=FIRST, rows=customers)
        with landing.path("shop", "orders", FIRST).open("a") as file:
            file.write(
                f"1, {ONE},Ulm,2024-03-01T01:00:00Z,5\n2,{ONE},Ulm,2024-03-01T01:00:00Z,dear\n3,{ONE},Ulm\n4,{OTHERS[0]},Ulm\n"
            )

    def answer(self, log: Path, arm: str) -> list[str]:
        """Logs an answer for each order of two days; the ids of those that are not ONE's."""
        secret = log_secret(self.home.keys)
        rows = pl.concat([orders(DAYS[1]), orders(DAYS[7])]).to_dicts()
        writer, ids = PredictionLog(log, SHOP, secret=secret, segment_bytes=20_000), []
        for row in rows:
            logged: dict[str, Any] = dict.fromkeys(writer.schema) | row
            logged |= {
                "prediction_id": f"{arm}-{row['order_id']}",
                "answered_at": row["ordered_at"],
                "event_timestamp": row["ordered_at"],
            }
            writer.append(
                [logged | {"arm": arm, "probability": 0.5, "decision": False, "model_version": 1, "features_from": "online"}]
            )
            ids += [logged["prediction_id"]] if row["customer_id"] != ONE else []
        writer.flush()
        return ids


def carried_shop(root: Path) -> Shop:
    """Everything filled by the platform itself, with older versions of every table."""
    shop = Shop(root)
    shop.land()
    shop.carry(FIRST, DAYS[3])
    shop.train()
    shop.carry(DAYS[4], LAST)
    shop.train()
    Landing(shop.home.landing).put("shop", "orders", day=DAYS[1], rows=orders(DAYS[1], dearer=1.0))
    shop.carry(DAYS[1], DAYS[1])
    for log, arm in ((shop.home.prediction_log, "champion"), (shop.home.shadow_log, "shadow")):
        shop.answer(log, arm)
    shop.take_up_answers()
    shop.take_up_answers()
    return shop
