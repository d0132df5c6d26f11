"""A contract changes in the life of a line: files, tables and features of both ages work in the real graph."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.foundation import names
from mlops_assets.spec.contract import Column, MaxNovelShare
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS, PAYMENTS, VIEW
from tests.graph.line import Line, failure, running_line

FIRST, SECOND = dt.date(2024, 3, 1), dt.date(2024, 3, 2)
VALIDATED, FEATURE = names.validated("loans", "payments"), names.feature("loans", "last_payment")
CUSTOMER, PAID_AT, PAID = PAYMENTS.columns
WHOLE, FRACTION = PAID.but(dtype="int"), PAID


def declared(*columns: Column, dropped: tuple[str, ...] = ()) -> UseCase:
    expected = (MaxNovelShare(column="paid", share=1),)
    payments = PAYMENTS.but(columns=(CUSTOMER, PAID_AT, *columns), expectations=expected, dropped=dropped)
    return LOANS.but(contracts=(LOANS.contracts[0], payments))


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with running_line(tmp_path, LOANS) as line:
        yield line


def carry(line: Line, use_case: UseCase, day: dt.date, content: str) -> None:
    """The payments of a day, landed and carried to the feature table by the graph of this declaration."""
    line.declare(use_case)
    path = line.landing.path("loans", "payments", day)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    result = line.run(*line.stages("payments"), FEATURE, first=day)
    assert result.success, failure(result)


def read(line: Line, path: names.AssetPath, *columns: str) -> list[tuple[object, ...]]:
    return line.rows(path).sort("day").select(columns).rows()


def test_a_fraction_is_kept_where_whole_numbers_are_stored(line: Line) -> None:
    header = "customer,paid_at,paid\n"
    carry(line, declared(WHOLE), FIRST, header + "c1,2024-03-01T09:00:00Z,12\n")
    carry(line, declared(FRACTION), SECOND, header + "c1,2024-03-02T09:00:00Z,12.5\n")
    assert read(line, VALIDATED, "paid") == [(12.0,), (12.5,)]
    assert read(line, FEATURE, "last_paid") == [(12.0,), (12.5,)]
    assert line.rows(VALIDATED).schema["paid"] == pl.Float64


def test_a_column_comes_and_goes_and_old_days_can_be_made_again(line: Line) -> None:
    old, new = "customer,paid_at,paid\nc1,2024-03-01T09:00:00Z,1\n", "customer,paid_at,paid,bank\nc1,2024-03-02T09:00:00Z,2,B\n"
    bank = Column(name="bank", dtype="string", description="Which bank.", since=SECOND)
    carry(line, declared(PAID), FIRST, old)
    carry(line, declared(PAID, bank), SECOND, new)
    carry(line, declared(PAID, bank), FIRST, old)
    assert read(line, VALIDATED, "paid", "bank") == [(1.0, None), (2.0, "B")]
    carry(line, declared(PAID, dropped=("bank",)), SECOND, new)
    assert read(line, VALIDATED, "paid", "bank") == [(1.0, None), (2.0, None)]
    assert line.rows(names.quarantine("loans", "payments")).is_empty()


def test_a_table_is_read_as_declared_before_its_next_day_lands(line: Line) -> None:
    carry(line, declared(WHOLE), FIRST, "customer,paid_at,paid\nc1,2024-03-01T09:00:00Z,12\n")
    changed = declared(FRACTION, Column(name="bank", dtype="string", description="Which bank.", since=SECOND))
    reads_both = VIEW.but(transform=lambda tables, start, end: VIEW.transform(tables, start, end).with_columns(
        has_bank=tables["payments"].select(pl.col("bank").is_not_null().any()).collect().item()
    ))  # fmt: skip
    line.declare(changed.but(features=changed.features.but(views=(reads_both,))))
    result = line.run(FEATURE)
    assert result.success, failure(result)
    assert read(line, FEATURE, "last_paid", "has_bank") == [(12.0, False)]
    payer = (CUSTOMER.but(name="payer", renamed_from="customer"), PAID_AT, PAID)
    renamed = LOANS.but(contracts=(LOANS.contracts[0], PAYMENTS.but(columns=payer, unique=("payer",))))
    line.declare(renamed)
    assert "still has customer (now payer). Run `mlops migrate` first" in failure(line.run(FEATURE))
