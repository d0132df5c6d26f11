"""A contract changes in the life of a line: files, tables and features of both ages go on through the real graph."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.home import PROJECT, read_environment
from mlops_assets.graph.compile import build_use_case
from mlops_assets.graph.kernel.tables import build_io_managers
from mlops_assets.resources import build_resources
from mlops_assets.spec.contract import Column, MaxNovelShare
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS, PAYMENTS, VIEW
from tests.graph.conftest import Platform, failure

FIRST, SECOND = dt.date(2024, 3, 1), dt.date(2024, 3, 2)
VALIDATED, FEATURE = names.validated("loans", "payments"), names.feature("loans", "last_payment")
CUSTOMER, PAID_AT, PAID = PAYMENTS.columns
WHOLE, FRACTION = PAID.but(dtype="int"), PAID


def declared(*columns: Column, dropped: tuple[str, ...] = ()) -> UseCase:
    expected = (MaxNovelShare(column="paid", share=1),)
    payments = PAYMENTS.but(columns=(CUSTOMER, PAID_AT, *columns), expectations=expected, dropped=dropped)
    return LOANS.but(contracts=(LOANS.contracts[0], payments))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as opened:
        yield opened


def open_platform(instance: dg.DagsterInstance, home: Path, use_case: UseCase) -> Platform:
    environment = read_environment({"MLOPS_ENV": "test", "MLOPS_HOME": str(home)}, PROJECT)
    between = build_io_managers(str(environment.home.tables), str(home / "values"))
    shared = dg.Definitions(resources={**build_resources(environment), **between}, executor=dg.in_process_executor)
    return Platform(home, instance, dg.Definitions.merge(shared, build_use_case(use_case)))


def carry(instance: dg.DagsterInstance, home: Path, use_case: UseCase, day: dt.date, content: str) -> Platform:
    """The payments of a day, landed and carried to the feature table by the graph of this declaration."""
    platform = open_platform(instance, home, use_case)
    path = platform.landing.path("loans", "payments", day)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    tables = [name("loans", "payments") for name in (names.raw, names.validated, names.quarantine)]
    result = platform.materialize(*tables, FEATURE, first=day, last=day)
    assert result.success, failure(result)
    return platform


def read(platform: Platform, path: names.AssetPath, *columns: str) -> list[tuple[object, ...]]:
    return platform.rows(path).sort("day").select(columns).rows()


def test_a_fraction_is_kept_where_whole_numbers_are_stored(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    header = "customer,paid_at,paid\n"
    carry(instance, tmp_path, declared(WHOLE), FIRST, header + "c1,2024-03-01T09:00:00Z,12\n")
    platform = carry(instance, tmp_path, declared(FRACTION), SECOND, header + "c1,2024-03-02T09:00:00Z,12.5\n")
    assert read(platform, VALIDATED, "paid") == [(12.0,), (12.5,)]
    assert read(platform, FEATURE, "last_paid") == [(12.0,), (12.5,)]
    assert platform.rows(VALIDATED).schema["paid"] == pl.Float64


def test_a_column_comes_and_goes_and_old_days_can_be_made_again(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    old, new = "customer,paid_at,paid\nc1,2024-03-01T09:00:00Z,1\n", "customer,paid_at,paid,bank\nc1,2024-03-02T09:00:00Z,2,B\n"
    bank = Column(name="bank", dtype="string", description="Which bank.", since=SECOND)
    carry(instance, tmp_path, declared(PAID), FIRST, old)
    carry(instance, tmp_path, declared(PAID, bank), SECOND, new)
    platform = carry(instance, tmp_path, declared(PAID, bank), FIRST, old)
    assert read(platform, VALIDATED, "paid", "bank") == [(1.0, None), (2.0, "B")]
    platform = carry(instance, tmp_path, declared(PAID, dropped=("bank",)), SECOND, new)
    assert read(platform, VALIDATED, "paid", "bank") == [(1.0, None), (2.0, None)]
    assert platform.rows(names.quarantine("loans", "payments")).is_empty()


def test_a_table_is_read_as_declared_before_its_next_day_lands(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    carry(instance, tmp_path, declared(WHOLE), FIRST, "customer,paid_at,paid\nc1,2024-03-01T09:00:00Z,12\n")
    changed = declared(FRACTION, Column(name="bank", dtype="string", description="Which bank.", since=SECOND))
    reads_both = VIEW.but(transform=lambda tables, start, end: VIEW.transform(tables, start, end).with_columns(
        has_bank=tables["payments"].select(pl.col("bank").is_not_null().any()).collect().item()
    ))  # fmt: skip
    platform = open_platform(instance, tmp_path, changed.but(features=changed.features.but(views=(reads_both,))))
    result = platform.materialize(FEATURE, first=FIRST, last=FIRST)
    assert result.success, failure(result)
    assert read(platform, FEATURE, "last_paid", "has_bank") == [(12.0, False)]
    payer = (CUSTOMER.but(name="payer", renamed_from="customer"), PAID_AT, PAID)
    renamed = LOANS.but(contracts=(LOANS.contracts[0], PAYMENTS.but(columns=payer, unique=("payer",))))
    result = open_platform(instance, tmp_path, renamed).materialize(FEATURE, first=FIRST, last=FIRST)
    assert "still has customer (now payer). Run `mlops migrate` first" in failure(result)
