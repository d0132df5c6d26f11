"""A small legal use case, whose requests and labels are columns of one table, and the same with one thing changed."""

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from mlops_assets.spec.contract import Column, Contract, RowCountBand
from mlops_assets.spec.feature import Features, FeatureView, Label
from mlops_assets.spec.request_feature import PredictionMoment, RequestFeature
from mlops_assets.spec.source import Files
from mlops_assets.spec.split import TimeSplit
from mlops_assets.spec.task import Binary
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.spec.use_case import UseCase

DAY = timedelta(days=1)
APPLICATIONS = Contract(
    table="applications",
    description="Who asks for how much, and what became of it.",
    columns=(
        Column(name="number", dtype="int", min=1, max=10**6, description="Of the application."),
        Column(name="customer", dtype="string", pattern="^c[0-9]+$", description="Who asks."),
        Column(name="amount", dtype="float", min=0, max=10**6, description="Euros."),
        Column(name="purpose", dtype="string", allowed=("car", "home"), description="What for."),
        Column(name="insured", dtype="bool", description="Whether an insurance pays in the end."),
        Column(name="applied_at", dtype="datetime", description="When."),
        Column(name="ended_at", dtype="datetime", description="When the loan ended."),
        Column(name="defaulted", dtype="int", description="1: it was not paid back."),
    ),
    unique=("number",),
    day="ended_at",
    expectations=(RowCountBand(),),
)
PAYMENTS = Contract(
    table="payments",
    description="What was paid.",
    columns=(
        Column(name="customer", dtype="string", description="Who paid."),
        Column(name="paid_at", dtype="datetime", description="When."),
        Column(name="paid", dtype="float", description="Euros."),
    ),
    unique=("customer", "paid_at"),
    day="paid_at",
)


def application_rows(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.with_columns(event_timestamp="applied_at")


def last_payment(tables: Any, start: datetime, end: datetime) -> pl.LazyFrame:
    rows = tables["payments"].filter(pl.col("paid_at").is_between(start, end, closed="left"))
    return rows.select("customer", event_timestamp="paid_at", last_paid="paid")


def market(tables: Any, start: datetime, end: datetime) -> pl.LazyFrame:
    """The payments of all customers together, by hour."""
    rows = tables["payments"].filter(pl.col("paid_at").is_between(start, end, closed="left"))
    return rows.group_by(event_timestamp="paid_at").agg(all_paid=pl.col("paid").sum())


def default_label(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("number", "defaulted", known_at="ended_at")


VIEW = FeatureView(
    name="last_payment", description="Paid last.", tables=("payments",), entity=("customer",), transform=last_payment
)
MARKET = FeatureView(name="market", description="Paid by all.", tables=("payments",), transform=market)
LOANS = UseCase(
    name="loans",
    owner="team:credit",
    question="Will this loan be paid back?",
    first_day=date(2024, 3, 1),
    last_day=date(2024, 3, 8),
    sources=(Files(table="applications"), Files(table="payments")),
    contracts=(APPLICATIONS, PAYMENTS),
    features=Features(
        service="loans_v1",
        views=(VIEW,),
        request_table="applications",
        request=("number", "customer", "amount", "purpose", "applied_at"),
        request_features=(PredictionMoment(column="applied_at"),),
        numeric=("amount", "last_paid"),
        categorical=("purpose",),
    ),
    task=Binary(label=Label(name="defaulted", table="applications", key=("number",), transform=default_label)),
    split=TimeSplit(test=DAY, validation=DAY),
    trainer=HistGradientBoosting(max_iter=3, min_samples_leaf=5),
)

REPO = """
from feature_repo.objects import build_objects
from tests.cli.loans import LOANS
globals().update(build_objects(LOANS))
"""


def column(name: str, **fields: Any) -> UseCase:
    return contract(columns=tuple(one.but(**fields) if one.name == name else one for one in APPLICATIONS.columns))


def contract(**fields: Any) -> UseCase:
    return LOANS.but(contracts=(APPLICATIONS.but(**fields), PAYMENTS))


def features(**fields: Any) -> UseCase:
    return LOANS.but(features=LOANS.features.but(**fields))


def words(*request_features: RequestFeature, **fields: Any) -> UseCase:
    """The use case with these request features, too."""
    return features(request_features=(*LOANS.features.request_features, *request_features), **fields)


def label(**fields: Any) -> UseCase:
    return LOANS.but(task=LOANS.task.but(label=LOANS.label.but(**fields)))


def view(**fields: Any) -> UseCase:
    return features(views=(VIEW.but(**fields),))
