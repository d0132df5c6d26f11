"""A day whose checks fail reaches no reader, however its run was started, until it is delivered again and passes, or is waived."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

import mlops_assets.cli.arguments
from mlops_assets.cli.app import app
from mlops_assets.foundation import names
from mlops_assets.foundation.names import BAD_SHARE, EXPECTATIONS
from mlops_assets.promotion.ledger import Ledger
from tests.graph.line import Line, failed_checks, variables
from tests.graph.loan_line import LoanLine, applications, day_of, payments, running_loans

pytestmark = [pytest.mark.slow, pytest.mark.integration]

BAD = 3
DAYS = range(7)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[LoanLine]:
    """A week, of which the fourth day has one loan instead of ten: the row-count band refuses it."""
    with running_loans(tmp_path) as line:
        line.land_sound(*DAYS)
        line.land("applications", BAD, applications((1, 5.0, 1), day=BAD))
        for table in ("applications", "payments"):
            line.ingest(table, 0, 5)
        yield line


def days(rows: Any) -> set[int]:
    return {(day - day_of(0)).days for day in rows["day"]}


def trained_on(line: LoanLine) -> set[int]:
    rows = line.training_set()
    return {(moment.date() - day_of(0)).days for moment in rows["event_timestamp"]}


def test_a_refused_day_is_in_no_table_and_the_next_good_day_changes_nothing(line: LoanLine) -> None:
    result = line.ingest("applications", 6)
    assert result.success
    assert days(line.validated("applications")) == {*DAYS} - {BAD}
    assert line.quarantined("applications")["reasons"].str.contains("the day is refused: .* row_count_band").to_list() == [True]
    assert EXPECTATIONS in failed_checks(result), "the check fails as long as a day is refused"
    line.fill(0, 6)
    assert trained_on(line) == {*DAYS} - {BAD}


def test_a_good_delivery_ends_the_refusal(line: LoanLine) -> None:
    line.land_sound(BAD)
    assert not failed_checks(line.ingest("applications", BAD))
    assert BAD in days(line.validated("applications"))
    assert line.quarantined("applications").is_empty()


def run_cli(line: Line, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setattr(mlops_assets.cli.arguments, "USE_CASES", (line.use_case,))
    for name, value in {**variables(line.home), "MLOPS_SERVICE_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    return CliRunner().invoke(app, [*arguments])


def test_a_waiver_is_recorded_shown_and_runs_the_day_again(line: LoanLine, monkeypatch: pytest.MonkeyPatch) -> None:
    line.report_landed()
    refused = run_cli(line, monkeypatch, "status", "loans").output
    assert (
        f"data: applications {day_of(BAD)} failed. Not used, and what was accepted before stays: applications · row_count_band"
        in refused
    )
    assert "Or `mlops waive loans applications 2024-03-04 --why …`." in refused
    waived = run_cli(line, monkeypatch, "waive", "loans", "applications", "2024-03-04", "--why", "a strike", "--by", "Ada")
    assert waived.exit_code == 0, waived.output
    (record,) = Ledger(f"sqlite:///{line.home / 'ledger.db'}").records("loans")
    assert (record.kind, record.by, record.body["day"], record.body["why"]) == ("waiver", "Ada", "2024-03-04", "a strike")
    assert "Used, as waived by Ada (a strike): applications" in run_cli(line, monkeypatch, "status", "loans").output
    (report,) = line.report_landed()
    assert report.startswith("landed_applications 2024-03-04 ") and report.endswith("-waived")
    assert not failed_checks(line.ingest("applications", BAD))
    assert BAD in days(line.validated("applications"))
    assert line.report_landed() == []
    line.land("applications", BAD, applications((2, 5.0, 1), day=BAD))
    assert failed_checks(line.ingest("applications", BAD)), "the next delivery is judged again"
    assert line.validated("applications").filter(day=day_of(BAD))["number"].to_list() == [1], "and the accepted one stays"
    (report,) = line.report_landed()
    assert not report.endswith("-waived")


def test_a_day_that_passed_has_nothing_to_waive(line: LoanLine, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_cli(line, monkeypatch, "waive", "loans", "applications", "2024-03-05", "--why", "x")
    assert result.exit_code == 1
    assert "loans · applications · 2024-03-05 is not refused; refused: 2024-03-04." in result.output


def test_a_file_that_has_not_been_judged_cannot_be_waived(line: LoanLine, monkeypatch: pytest.MonkeyPatch) -> None:
    line.land("applications", BAD, applications((2, 5.0, 1), day=BAD))
    result = run_cli(line, monkeypatch, "waive", "loans", "applications", "2024-03-04", "--why", "x")
    assert result.exit_code == 1 and "2024-03-04: another file has landed since the check failed" in result.output
    assert Ledger(f"sqlite:///{line.home / 'ledger.db'}").records("loans") == []


def test_a_file_that_cannot_be_read_has_nothing_to_waive(line: LoanLine, monkeypatch: pytest.MonkeyPatch) -> None:
    line.landing.path("loans", "payments", day_of(1)).write_text("a,b\n1,2\n")
    assert failed_checks(line.ingest("payments", 1))
    assert "data: payments 2024-03-02 failed. Not used, and" in run_cli(line, monkeypatch, "status", "loans").output
    result = run_cli(line, monkeypatch, "waive", "loans", "payments", "2024-03-02", "--why", "x")
    assert result.exit_code == 1 and "Correct the file and land it again" in result.output
    assert 1 in days(line.validated("payments"))


def test_only_a_declared_table_has_days_to_waive(line: LoanLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = run_cli(line, monkeypatch, "waive", "loans", "applicants", "2024-03-04", "--why", "x")
    assert result.exit_code == 2 and "found table 'applicants'; declared: applications, payments. Use one of" in result.output


def test_in_one_run_over_many_days_the_others_go_on(line: LoanLine) -> None:
    line.land("payments", BAD, payments(BAD, ("c0", 1.0)).with_columns(paid=pl.lit("one euro")))
    result = line.run(*line.stages("payments"), names.feature("loans", "last_payment"), first=0, last=6)
    assert result.success and BAD_SHARE in failed_checks(result)
    features = line.tables.scan(names.feature("loans", "last_payment")).collect()
    # Its first, good delivery had been accepted before.
    assert days(features) == {*DAYS}
    assert features.filter(day=day_of(BAD))["last_paid"].to_list() == [30.0, 31.0, 32.0]
