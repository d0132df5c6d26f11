"""A flat table of orders without any fault, the use case that reads it, and what its findings are read from."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mlops_assets.evaluation.read_rows import inspect_tables
from mlops_assets.inspection.inspected import Inspected
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.feature import Features, Label
from mlops_assets.spec.request_feature import PredictionMoment
from mlops_assets.spec.source import Files
from mlops_assets.spec.split import TimeSplit
from mlops_assets.spec.task import Binary
from mlops_assets.spec.use_case import UseCase

START, NOW = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)
DAYS, PER_DAY = 100, 20
COLUMNS = {
    "number": "int", "shop": "string", "ordered_at": "datetime", "paid_at": "datetime", "closed_at": "datetime", "amount": "float",
    "visits": "int", "channel": "string", "city": "string", "returned": "string",
}  # fmt: skip
ORDERS = Contract(
    table="orders",
    description="What was ordered, and whether it came back.",
    columns=tuple(Column(name=name, dtype=dtype, nullable=True, description=".") for name, dtype in COLUMNS.items()),  # pyright: ignore
    unique=("number",),
    day="ordered_at",
)
USE_CASE = UseCase(
    name="orders",
    owner="team:shop",
    question="Will this order come back?",
    first_day=date(2024, 1, 1),
    sources=(Files(table="orders"),),
    contracts=(ORDERS,),
    features=Features(
        request=("number", "shop", "ordered_at", "amount", "visits", "channel", "city"),
        request_features=(PredictionMoment(column="ordered_at"),),
        numeric=("amount", "visits"),
        categorical=("channel", "city"),
    ),
    task=Binary(label=Label(name="returned", known_at="closed_at"), positive="yes"),
    split=TimeSplit(test=timedelta(days=20), validation=timedelta(days=10), label_delay=timedelta(days=2)),
)


def orders(seed: int = 0, per_day: int = PER_DAY) -> pl.DataFrame:
    """A third of them come back, more often of one channel and after many visits."""
    rng, rows = np.random.default_rng(seed), DAYS * per_day
    channel, visits, amount = rng.choice(["web", "app", "shop"], rows), rng.poisson(3, rows), rng.lognormal(3, 1, rows).round(2)
    chance = 1 / (1 + np.exp(1 - 0.8 * (channel == "app") - 0.2 * (visits - 3)))
    moment = pl.Series([START + timedelta(days=index // per_day, minutes=7 * (index % per_day)) for index in range(rows)])
    return pl.DataFrame({
        "number": np.arange(rows), "shop": [f"s{index % PER_DAY}" for index in range(rows)],
        "ordered_at": moment, "paid_at": moment + timedelta(hours=1), "closed_at": moment + timedelta(days=1),
        "amount": amount, "visits": visits, "channel": channel, "city": rng.choice(["Bonn", "Köln", "Trier"], rows),
        "returned": np.where(rng.random(rows) < chance, "yes", "no"), "day": moment.dt.date(),
    }).cast({"ordered_at": pl.Datetime("us", "UTC"), "paid_at": pl.Datetime("us", "UTC"), "closed_at": pl.Datetime("us", "UTC")})  # fmt: skip


def features(**fields: Any) -> UseCase:
    return USE_CASE.but(features=USE_CASE.features.but(**fields))


def inspected(rows: pl.DataFrame, use_case: UseCase = USE_CASE, refused: pl.DataFrame | None = None) -> Inspected:
    return inspect_tables(use_case, {"orders": rows}, {} if refused is None else {"orders": refused}, now=NOW)


def write(rows: pl.DataFrame, path: Path) -> Path:
    rows.drop("day").write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    return path
