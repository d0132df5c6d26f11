"""A small use case with tagged columns: will this order be paid back? The tests of lineage and of NoPii declare their own variants."""

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.feature import Features, FeatureView, Label
from mlops_assets.spec.gate import NoPii
from mlops_assets.spec.request_feature import RequestFeature
from mlops_assets.spec.source import Files
from mlops_assets.spec.split import TimeSplit
from mlops_assets.spec.task import Binary
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.spec.use_case import UseCase

CUSTOMER = Column(name="customer", dtype="string", pii="hashed", description="Number of the customer.")
EMAIL = Column(name="email", dtype="string", pii="left_out", description="Where to write to.")
ORDERS = Contract(
    table="orders",
    description="What is predicted.",
    columns=(
        Column(name="number", dtype="int", description="Of the order."),
        CUSTOMER,
        EMAIL,
        Column(name="basket", dtype="float", min=0, max=900, description="Price of all things."),
        Column(name="ordered_at", dtype="datetime", description="When."),
    ),
    unique=("number",),
)
CUSTOMERS = Contract(
    table="customers",
    description="Who buys.",
    columns=(
        CUSTOMER,
        EMAIL,
        Column(name="age", dtype="int", nullable=True, min=16, max=99, pii="hashed", description="Years."),
        Column(name="country", dtype="string", description="Where they live."),
        Column(name="joined_at", dtype="datetime", description="Since when."),
    ),
    unique=("customer",),
)
PAYMENTS = Contract(
    table="payments",
    description="What was paid.",
    columns=(
        CUSTOMER,
        Column(name="paid_at", dtype="datetime", description="When."),
        Column(name="amount", dtype="float", min=0, max=900, description="How much."),
    ),
    unique=("customer", "paid_at"),
)


def orders(requests: pl.LazyFrame) -> pl.LazyFrame:
    return requests.with_columns(event_timestamp="ordered_at", large=pl.col("basket") > 100)


def spending(tables: Any, start: datetime, end: datetime) -> pl.LazyFrame:
    """Per customer and day. `payments` counts rows, and so reads its keys alone."""
    rows = tables["payments"].filter(pl.col("paid_at").is_between(start, end, closed="left"))
    return rows.group_by("customer", event_timestamp=pl.col("paid_at").dt.truncate("1d")).agg(
        spent=pl.col("amount").sum(), payments=pl.len(), who=pl.col("customer").first().str.slice(0, 2)
    )


def profile(tables: Any, start: datetime, end: datetime) -> pl.LazyFrame:
    """Of the customers whose age is known."""
    known = tables["customers"].filter(pl.col("age").is_not_null(), pl.col("joined_at").is_between(start, end, closed="left"))
    return known.select(
        "customer",
        "country",
        event_timestamp="joined_at",
        years=pl.col("age").cast(pl.Float64),
        provider=pl.col("email").str.split("@").list.last(),
        home=pl.col("country") + "/" + pl.col("customer"),
    )


def no_label(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.select("customer", paid_back=pl.lit(1), known_at="paid_at")


def view(name: str, table: str, transform: Any) -> FeatureView:
    return FeatureView(name=name, description=f"{name}.", tables=(table,), entity=("customer",), transform=transform)


def shop(
    *,
    numeric: tuple[str, ...],
    categorical: tuple[str, ...] = (),
    request_features: tuple[RequestFeature, ...] = (),
    entity_rows: Any = orders,
    tags: bool = True,
) -> UseCase:
    """The use case with these inputs."""
    contracts = (ORDERS, CUSTOMERS, PAYMENTS) if tags else tuple(untagged(table) for table in (ORDERS, CUSTOMERS, PAYMENTS))
    return UseCase(
        name="shop",
        owner="team:shop",
        question="Will this order be paid?",
        first_day=date(2020, 1, 1),
        sources=tuple(Files(table=contract.table) for contract in contracts),
        contracts=contracts,
        features=Features(
            service="shop_v1",
            views=(view("spending", "payments", spending), view("profile", "customers", profile)),
            request_table="orders",
            request=("number", "customer", "email", "basket", "ordered_at"),
            request_features=request_features,
            entity_rows=entity_rows,
            numeric=numeric,
            categorical=categorical,
        ),
        task=Binary(label=Label(name="paid_back", table="payments", key=("number",), transform=no_label)),
        split=TimeSplit(test=timedelta(days=1), validation=timedelta(days=1)),
        trainer=HistGradientBoosting(),
        gates=(NoPii(),),
    )


def untagged(contract: Contract) -> Contract:
    return contract.but(columns=tuple(column.but(pii=None) for column in contract.columns))
