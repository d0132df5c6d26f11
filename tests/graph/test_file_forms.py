"""Sources of other forms through the graph: a German CSV file, compressed, and a typed Parquet file, up to the validated tables."""

import datetime as dt
import gzip
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.names import BAD_SHARE
from mlops_assets.spec.form import Csv, Parquet
from mlops_assets.spec.source import Files
from tests.cli.loans import APPLICATIONS, LOANS, PAYMENTS
from tests.graph.line import failed_checks
from tests.graph.loan_line import FIRST, LoanLine, applications, running_loans

pytestmark = pytest.mark.integration

GERMAN = Csv(delimiter=";", decimal=",", encoding="cp1252", datetime_format="%d.%m.%Y %H:%M", time_zone="Europe/Berlin")
PAID = PAYMENTS.columns[2].but(dtype="decimal", precision=12, scale=2, source="Betrag €")
COLUMNS = (PAYMENTS.columns[0].but(source="Kunde"), PAYMENTS.columns[1].but(source="Bezahlt am"), PAID)
EXTRA = tuple(
    APPLICATIONS.columns[0].but(name=name, dtype=dtype, min=None, max=None, nullable=True)
    for name, dtype in (("born", "date"), ("account", "int"), ("branch", "category"))
)
MIXED = LOANS.but(
    sources=(Files(table="applications", form=Parquet()), Files(table="payments", form=GERMAN)),
    contracts=(APPLICATIONS.but(columns=(*APPLICATIONS.columns, *EXTRA)), PAYMENTS.but(columns=COLUMNS, max_bad_share=0.5)),
)


def deliver(line: LoanLine, day: int) -> None:
    date = FIRST + dt.timedelta(days=day)
    text = f"Kunde;Bezahlt am;Betrag €\r\nc1;{date:%d.%m.%Y} 12:30;12,50\r\nc2;{date:%d.%m.%Y} 12:30;1.5\r\n"
    path = line.landing.of(GERMAN).path("loans", "payments", date).with_suffix(".csv.gz")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode("cp1252")))
    path = line.landing.of(Parquet()).path("loans", "applications", date)
    path.parent.mkdir(parents=True, exist_ok=True)
    typed = {"born": dt.date(1980, 2, 29), "account": 2**53 + 1, "branch": "Ulm"}
    applications((day + 1, 10.5, 1), day=day).with_columns(
        **{name: pl.lit(value) for name, value in typed.items()}
    ).write_parquet(path)


def test_files_of_every_form_become_typed_tables_and_a_broken_one_its_own_day_alone(tmp_path: Path) -> None:
    with running_loans(tmp_path, MIXED) as line:
        for day in range(3):
            deliver(line, day)
        assert len(line.report_landed()) == 6
        path = line.landing.of(Parquet()).path("loans", "applications", FIRST)
        path.write_bytes(path.read_bytes()[:-100])
        assert line.ingest("payments", 0, 2).success
        result = line.ingest("applications", 0, 2)
        assert result.success
        paid, loans = line.validated("payments").sort("day"), line.validated("applications").sort("day")
        assert paid["paid"].to_list() == [Decimal("12.50")] * 3 and paid.schema["paid"] == pl.Decimal(12, 2)
        assert [moment.hour for moment in paid["paid_at"]] == [11, 11, 11]
        reason = "paid: '1.5' is not a decimal number with 12 digits, 2 of them after the point"
        assert line.quarantined("payments")["reasons"].to_list() == [reason] * 3
        assert loans["account"].to_list() == [2**53 + 1] * 2 and loans["born"].to_list() == [dt.date(1980, 2, 29)] * 2
        assert "2024-03-01.parquet · it is no readable Parquet file" in failed_checks(result)[BAD_SHARE]
        deliver(line, 0)
        assert line.ingest("applications", 0).success and line.validated("applications").height == 3
        assert line.rows(names.raw("loans", "payments"))["paid"].to_list() == ["12,50", "1.5"] * 3


def test_the_landing_sensor_fetches_files_from_another_address(tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    remote.mkdir()
    (remote / "2024-03-02.csv").write_text("customer,paid_at,paid\nc1,2024-03-02T10:00:00Z,5\n")
    source = Files(table="payments", path=f"file://{remote}/*.csv")
    elsewhere = LOANS.but(sources=(Files(table="applications"), source))
    with running_loans(tmp_path, elsewhere) as line:
        assert [entry.split()[:2] for entry in line.report_landed()] == [["landed_payments", "2024-03-02"]]
        assert line.report_landed() == []
        assert line.ingest("payments", 1).success and line.validated("payments")["paid"].to_list() == [5.0]
