"""One landed file that is broken, deleted or replaced during a run: it affects its own day alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.names import BAD_SHARE
from mlops_assets.ingestion.landed_file import DELETED
from mlops_assets.ingestion.refusals import NotRefused, Waiver
from tests.graph.line import failed_checks
from tests.graph.loan_line import LoanLine, day_of, payments, running_loans
from tests.graph.test_refused_days import run_cli

pytestmark = pytest.mark.integration

DAYS, DAY = range(4), 2
KEY = day_of(DAY).isoformat()
WAIVER = Waiver("a strike", "Ada", "2024-03-05T00:00:00+00:00")


@pytest.fixture
def line(tmp_path: Path) -> Iterator[LoanLine]:
    with running_loans(tmp_path) as line:
        line.land_sound(*DAYS)
        yield line


def ingest(line: LoanLine, first: int = 0, last: int = DAYS[-1]) -> dict[str, str]:
    """The checks that fail after a run over these days of payments, which itself ends."""
    result = line.ingest("payments", first, last)
    assert result.success
    return failed_checks(result)


def path_of(line: LoanLine, day: int = DAY) -> Path:
    return line.landing.path("loans", "payments", day_of(day))


def paid(line: LoanLine) -> dict[int, list[float]]:
    """The accepted payments of each day."""
    by_day = line.validated("payments").group_by("day").agg(pl.col("paid").sort())
    return {(day - day_of(0)).days: euros for day, euros in by_day.sort("day").iter_rows()}


SOUND = {day: [10.0 * day, 10.0 * day + 1, 10.0 * day + 2] for day in DAYS}
BROKEN: dict[str, tuple[Any, str]] = {
    "empty": (lambda path: path.write_bytes(b""), "the file is empty; expected a header"),
    "header": (lambda path: path.write_text("client,paid_at,paid\nc1,2024-03-03T10:00:00Z,1\n"), "'customer' is missing"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "it is a folder, a pipe or a device"),
    "link": (lambda path: (path.unlink(), path.symlink_to("nowhere")), "it is a link to a file that does not exist"),
}
broken = pytest.mark.parametrize(("spoil", "problem"), BROKEN.values(), ids=[*BROKEN])


@broken
def test_the_other_days_of_a_run_are_written_and_the_broken_one_is_named(line: LoanLine, spoil: Any, problem: str) -> None:
    spoil(path_of(line))
    result = line.ingest("payments", 0, DAYS[-1])
    assert result.success and paid(line) == {day: euros for day, euros in SOUND.items() if day != DAY}
    (event,) = result.asset_materializations_for_node("loans__raw_payments")[-1:]
    assert f"loans/payments/2024-03-03.csv · {problem}" in str(event.metadata["broken_files"].value)
    checks = failed_checks(result)
    assert checks[BAD_SHARE].startswith(f"payments · bad_share · 2024-03-03: loans/payments/2024-03-03.csv · {problem}")
    (reason,) = line.quarantined("payments")["reasons"]
    assert problem in reason


@broken
def test_accepted_rows_of_a_day_stay_until_the_day_is_corrected(line: LoanLine, spoil: Any, problem: str) -> None:
    assert ingest(line) == {} and paid(line) == SOUND
    spoil(path_of(line))
    assert problem in ingest(line)[BAD_SHARE] and paid(line) == SOUND
    assert problem in ingest(line, DAY, DAY)[BAD_SHARE] and paid(line) == SOUND
    if path_of(line).is_dir():
        path_of(line).rmdir()
    line.land("payments", DAY, payments(DAY, ("c0", 7.0)))
    assert ingest(line, DAY, DAY) == {} and paid(line) == SOUND | {DAY: [7.0]}
    assert line.quarantined("payments").is_empty()


def test_a_file_that_cannot_be_used_cannot_be_waived(line: LoanLine, monkeypatch: pytest.MonkeyPatch) -> None:
    path_of(line).write_bytes(b"")
    ingest(line)
    with pytest.raises(NotRefused, match="loans · payments · 2024-03-03 has no file that can be used: .*the file is empty"):
        line.landing.refusals("loans", "payments").find(KEY, "", "loans · payments")
    status = run_cli(line, monkeypatch, "status", "loans").output
    assert "data: payments 2024-03-03 failed." in status and "mlops waive" not in status


def test_a_deleted_file_retracts_nothing_and_raises_an_alarm(line: LoanLine, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(line)
    line.report_landed()
    path_of(line).unlink()
    assert DELETED in run_cli(line, monkeypatch, "status", "loans").output
    assert DELETED in ingest(line)[BAD_SHARE], "a run over the day says so too"
    assert paid(line) == SOUND
    path_of(line).write_text("customer,paid_at,paid\n")
    ingest(line)
    assert paid(line) == {day: euros for day, euros in SOUND.items() if day != DAY}
    path_of(line).unlink()
    assert DELETED not in run_cli(line, monkeypatch, "status", "loans").output, "nothing of that day is in use"


def stage(line: LoanLine, *stages: Any) -> None:
    assert line.run(*(one("loans", "payments") for one in stages), first=DAY).success


BAD, OTHER_BAD = "c0,2024-03-03T09:00:00Z,much", "c1,2024-03-03T08:00:00Z,more"


def write(line: LoanLine, *rows: str) -> str:
    """Replaces the file; returns its digest."""
    path_of(line).write_text("\n".join(["customer,paid_at,paid", *rows, ""]))
    return line.landing.digest("loans", "payments", KEY)


def test_a_refusal_names_the_bytes_that_were_judged(line: LoanLine) -> None:
    judged = write(line, BAD)
    stage(line, names.raw)
    replaced = write(line, OTHER_BAD)
    stage(line, names.validated, names.quarantine)
    refused = line.landing.refusals("loans", "payments")
    refusal = refused.read()[KEY]
    assert refusal.file == judged != replaced
    with pytest.raises(NotRefused, match="another file has landed since the check failed"):
        refused.find(KEY, replaced, "loans · payments")
    refused.waive(KEY, refusal, WAIVER)
    assert BAD_SHARE in ingest(line, DAY, DAY), "the file that replaced it is not waived"
    assert refused.read()[KEY].file == replaced


def test_a_waiver_is_for_the_bytes_that_were_read(line: LoanLine) -> None:
    write(line, BAD, "c2,2024-03-03T10:00:00Z,1")
    ingest(line, DAY, DAY)
    refused = line.landing.refusals("loans", "payments")
    refused.waive(KEY, refused.read()[KEY], WAIVER)
    write(line, OTHER_BAD, "c9,2024-03-03T10:00:00Z,900")
    stage(line, names.raw)
    write(line, BAD, "c2,2024-03-03T10:00:00Z,1")
    stage(line, names.validated, names.quarantine)
    assert paid(line) == {}, "what was read is not the waived file, although that is there again"


def test_rows_that_an_earlier_release_read_are_judged_by_their_file(line: LoanLine) -> None:
    judged = write(line, BAD)
    stage(line, names.raw)
    table = line.tables.path(names.raw("loans", "payments"))
    options = {"schema_mode": "overwrite", "partition_by": "day"}
    pl.read_delta(str(table)).drop("source_digest").write_delta(table, mode="overwrite", delta_write_options=options)
    stage(line, names.validated, names.quarantine)
    assert line.landing.refusals("loans", "payments").read()[KEY].file == judged
