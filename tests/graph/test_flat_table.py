"""Requests and labels in one table, which is the usual flat file: from landed rows to a training set and a trained candidate."""

import datetime as dt
import random
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from mlops_assets.features.featurize import label_rows
from mlops_assets.foundation import names
from tests.cli.loans import LOANS
from tests.graph.loan_line import LoanLine, running_loans

pytestmark = pytest.mark.integration

FIRST, LAST = LOANS.first_day, dt.date(2024, 3, 8)


def _applications(day: dt.date) -> pl.DataFrame:
    chance, midnight = random.Random(day.toordinal()), dt.datetime.combine(day, dt.time(), dt.UTC)
    rows = [
        {
            "number": 50 * (day - FIRST).days + number + 1,
            "customer": f"c{number % 9}",
            "amount": chance.uniform(5, 90),
            "purpose": chance.choice(("car", "home")),
            "insured": number % 2 == 0,
            "applied_at": midnight + dt.timedelta(minutes=number),
            "ended_at": midnight + dt.timedelta(hours=2, minutes=number),
            "defaulted": number % 3 == 0,
        }
        for number in range(50)
    ]
    return pl.DataFrame(rows).with_columns(pl.col("defaulted").cast(pl.Int64))


def _payments(day: dt.date) -> pl.DataFrame:
    at = dt.datetime.combine(day, dt.time(), dt.UTC)
    return pl.DataFrame([{"customer": f"c{number}", "paid_at": at, "paid": 1.5 * number} for number in range(9)])


def test_a_flat_table_becomes_a_training_set_and_a_candidate(tmp_path: Path) -> None:
    with running_loans(tmp_path) as line:
        for day in (FIRST + dt.timedelta(days=number) for number in range((LAST - FIRST).days + 1)):
            line.land("applications", day, _applications(day))
            line.land("payments", day, _payments(day))
        assert line.run(
            *line.stages("applications", "payments"), names.feature("loans", "last_payment"), first=FIRST, last=LAST
        ).success
        assert line.run(["loans", "training_set"], ["loans", "candidate"]).success
        candidate = metadata_of(line, ["loans", "candidate"])
        applications = line.tables.scan(names.validated("loans", "applications"))
        rows = line.rows(names.stage("loans", "training_set"))
        applied, features, trained = (
            metadata_of(line, path)
            for path in (
                names.validated("loans", "applications"),
                names.feature("loans", "last_payment"),
                ["loans", "training_set"],
            )
        )
    assert len(rows) == applications.collect().height == label_rows(LOANS, applications, applications).collect().height == 400
    learned = rows.filter(pl.col("split") != "test").height
    assert f"trained on {learned} rows" in str(candidate["summary"].value) and learned < len(rows)
    assert rows["defaulted"].to_list() == [int(number % 3 == 0) for _ in range(8) for number in range(50)]
    assert rows["last_paid"].to_list() == [1.5 * (number % 9) for _ in range(8) for number in range(50)]
    of_contract, of_view, of_training = (
        {column.name: column for column in metadata["dagster/column_schema"].schema.columns}
        for metadata in (applied, features, trained)
    )
    assert of_contract["applied_at"].type == of_view["event_timestamp"].type == "timestamp (UTC)"
    assert of_contract["amount"].constraints.other, "the bounds of the contract"
    amount = LOANS.columns("applications")["amount"]
    assert of_contract["amount"].description == amount.description
    assert of_training["amount"].description == f"{amount.description} From validated_applications.amount."
    assert of_training["defaulted"].description == "1: it was not paid back. From validated_applications.defaulted."
    assert of_training["last_paid"].description.endswith("From features_last_payment.last_paid.")
    assert of_view["last_paid"].description.endswith("validated_payments.paid_at.")
    deps = trained["dagster/column_lineage"].value.deps_by_column
    parents = {
        name: {(dep.asset_key.path[-1], dep.column_name) for dep in deps[name]} for name in ("last_paid", "defaulted", "amount")
    }
    assert parents == {
        "last_paid": {("features_last_payment", "last_paid")},
        "defaulted": {("validated_applications", "defaulted")},
        "amount": {("validated_applications", "amount")},
    }
    for metadata in (applied, features, trained):
        texts = [str(value.value) for value in metadata.values()]
        assert not [text for text in texts if "c3" in text], "the event log keeps values of customers"


def metadata_of(line: LoanLine, path: list[str]) -> Any:
    event = line.instance.get_latest_materialization_event(dg.AssetKey(path))
    assert event and event.asset_materialization
    return event.asset_materialization.metadata
