"""A day without a file: a person accepts the gap, and the assets that look back on it continue; a late file ends it."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from click.testing import Result

from mlops_assets.foundation import names
from mlops_assets.promotion.ledger import Ledger
from tests.cli.loans import LOANS, VIEW
from tests.graph.line import failed_checks, failure
from tests.graph.loan_line import LoanLine, day_of, payments, running_loans
from tests.graph.test_refused_days import run_cli

GAP, DAY = 3, dt.timedelta(days=1)
KEY = f"{day_of(GAP)}"
FEATURE = names.feature("loans", "last_payment")


def three_days(tables: Any, start: dt.datetime, end: dt.datetime) -> pl.LazyFrame:
    """What each customer paid in the three days until then."""
    total = pl.col("paid").rolling_sum_by("paid_at", window_size=3 * DAY).over("customer")
    rows = tables["payments"].select("customer", event_timestamp="paid_at", last_paid=total)
    return rows.filter(pl.col("event_timestamp").is_between(start, end, closed="left"))


LOOKING_BACK = LOANS.but(features=LOANS.features.but(views=(VIEW.but(transform=three_days, lookback=3 * DAY),)))


@pytest.fixture
def line(tmp_path: Path) -> Iterator[LoanLine]:
    """Six days of payments, the fourth of which has not come."""
    with running_loans(tmp_path, LOOKING_BACK) as line:
        line.land_sound(*range(6))
        (line.landing.root / f"loans/payments/{KEY}.csv").unlink()
        yield line


def waive(line: LoanLine, monkeypatch: pytest.MonkeyPatch, key: str = KEY, table: str = "payments") -> Result:
    return run_cli(line, monkeypatch, "waive", "loans", table, key, "--why", "a holiday", "--by", "Ada")


def ingest(line: LoanLine, first: int, last: int | None = None) -> Any:
    return line.run(*line.stages("payments"), FEATURE, first=first, last=last)


def test_without_a_waiver_the_run_names_it(line: LoanLine) -> None:
    result = ingest(line, GAP)
    assert not result.success and f"`mlops waive loans payments {KEY} --why …`" in failure(result)


def test_an_accepted_gap_is_an_empty_day_on_record(line: LoanLine, monkeypatch: pytest.MonkeyPatch) -> None:
    waived = waive(line, monkeypatch)
    assert waived.exit_code == 0 and f"payments {KEY} is empty until a file lands" in waived.output, waived.output
    (record,) = Ledger(f"sqlite:///{line.home / 'ledger.db'}").records("loans")
    assert (record.kind, record.by, record.body["day"], record.body["why"]) == ("waiver", "Ada", KEY, "a holiday")
    assert f"landed_payments {KEY} nothing-waived" in line.report_landed()
    result = ingest(line, 0, 5)
    assert result.success and not failed_checks(result)
    assert {*line.validated("payments")["day"]} == {day_of(number) for number in range(6) if number != GAP}
    paid = line.rows(FEATURE).filter(day=day_of(GAP + 1)).sort("customer")["last_paid"].to_list()
    assert paid == [20.0 + 40.0, 21.0 + 41.0, 22.0 + 42.0], "of the days that there are"
    made = line.instance.get_latest_materialization_event(dg.AssetKey(FEATURE))
    assert made and made.asset_materialization
    assert made.asset_materialization.metadata["accepted_gaps"].value == f"payments {KEY} (a holiday)"
    again = ingest(line, GAP)
    assert again.success and line.report_landed() == [], "it stays accepted"
    assert (
        f"data: payments {KEY}. Nothing is expected, as accepted by Ada (a holiday)."
        in run_cli(line, monkeypatch, "status", "loans").output
    )


def test_a_late_file_ends_the_gap(line: LoanLine, monkeypatch: pytest.MonkeyPatch) -> None:
    waive(line, monkeypatch)
    ingest(line, 0, 5)
    line.report_landed()
    line.land("payments", GAP, payments(GAP, ("c0", 30.0)))
    (report,) = line.report_landed()
    assert report.startswith(f"landed_payments {KEY} ") and not report.endswith("-waived")
    assert ingest(line, GAP, 5).success
    assert line.rows(FEATURE).filter(day=day_of(GAP + 1), customer="c0")["last_paid"].to_list() == [20.0 + 30.0 + 40.0]
    assert "holiday" not in run_cli(line, monkeypatch, "status", "loans").output.partition("records")[0]


def test_a_gap_is_accepted_whatever_the_table_expects_of_its_days(line: LoanLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row-count band of the applications would refuse a day without rows."""
    (line.landing.root / f"loans/applications/{KEY}.csv").unlink()
    waive(line, monkeypatch, table="applications")
    for _ in range(2):
        assert not failed_checks(line.ingest("applications", 0, 5))
    assert {*line.validated("applications")["day"]} == {day_of(number) for number in range(6) if number != GAP}


@pytest.mark.parametrize(
    ("table", "key", "reason"),
    [
        ("payments", "2024-02-29", "has no file; declared: 2024-03-01 to 2024-03-08. Use one of these."),
        ("payments", "2024-03-09", "has no file; declared: 2024-03-01 to 2024-03-08. Use one of these."),
        ("payments", "2024-3-4", "is no day; legal: <YYYY-MM-DD>"),
    ],
)
def test_only_a_day_that_is_due_can_be_a_gap(
    line: LoanLine, monkeypatch: pytest.MonkeyPatch, table: str, key: str, reason: str
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    result = waive(line, monkeypatch, key, table)
    assert result.exit_code == 2 and reason in result.output, result.output
    assert Ledger(f"sqlite:///{line.home / 'ledger.db'}").records("loans") == []
