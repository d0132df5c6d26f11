"""What `mlops land` makes of its arguments: a file, days, or an error that names what is legal."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.pauses import pause, resume

Run = Callable[..., Result]
HEADER = "carrier,flight,tailnum,origin,dest,sched_dep,distance\n"
ROWS = "UA,1,N1AAA,EWR,IAH,2013-01-01T10:00:00Z,1400\nUA,2,N2AAA,EWR,IAH,2013-01-02T10:00:00Z,far\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MLOPS_ENV", "test")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "1000")
    return lambda *arguments: CliRunner().invoke(app, ["land", "flight_delay", *map(str, arguments)])


def test_a_file_is_shown_first_and_then_lands(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "flights.csv"
    file.write_text(HEADER + ROWS)
    assert run(file, "--dry-run").output.splitlines() == [
        "schedule: 2 rows in 2 days (2013-01-01 to 2013-01-02, files: 2 new, 0 changed, 0 same)",
        "  the contract refuses 1 rows (50.0%)",
        "    1 × distance: … is not a finite number",
        "    for example line 3: distance: 'far' is not a finite number",
        "    and as a whole 1 day with too many of them, first 2013-01-02",
        "Nothing was written. The same without --dry-run lands it.",
    ]
    assert not (tmp_path / "home").exists()
    assert run(file, "--table", "schedule").output.endswith("Where none runs: `mlops run flight_delay`, or `mlops up`.\n")
    assert run(file).output.endswith("Nothing has changed.\n")
    file.write_text(HEADER + ROWS.replace("EWR", "JFK").splitlines(keepends=True)[0])
    assert "  1 landed rows of changed days are not in the file, and are replaced with them\n" in run(file).output


def test_during_a_pause_it_says_that_nothing_reads_the_files_and_what_ends_it(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "flights.csv"
    file.write_text(HEADER + ROWS)
    begun = datetime.now(UTC)
    ledger = Ledger(f"sqlite:///{tmp_path / 'home' / 'ledger.db'}")
    (tmp_path / "home").mkdir()
    pause("flight_delay", until=begun + timedelta(hours=1), why="a move", by="ana", at=begun, ledger=ledger)
    last = run(file, "--table", "schedule").output.splitlines()[-1]
    assert last.startswith("Nothing reads them by itself now. Paused by ana until ") and "within seconds" not in last
    assert last.endswith(f"`mlops resume flight_delay --why …` ends it now. It began at {begun:%Y-%m-%d %H:%M} UTC.")
    assert run("2013-01-01", "2013-01-01").output.splitlines()[-1] == last
    resume("flight_delay", why="moved", by="ana", at=datetime.now(UTC), ledger=ledger)
    file.write_text(HEADER + ROWS.replace("EWR", "JFK"))
    assert "A platform that runs reads them within seconds." in run(file, "--table", "schedule").output


def test_a_file_of_undeclared_days_says_which_are_declared_and_fails(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "flights.csv"
    file.write_text(HEADER + ROWS.replace("2013-", "2014-"))
    result = run(file)
    assert result.exit_code == 1 and result.output.endswith("Nothing landed.\n")
    assert (
        "  2 rows do not land: they are of other days than the declared ones, 2013-01-01 to 2013-12-30. Change" in result.output
    )
    file.write_text(HEADER + ROWS.replace("2013-01-02", "2014-01-02"))
    assert run(file).exit_code == 0, "the rows of the declared day land"


def test_a_file_at_an_address_lands(run: Run, tmp_path: Path) -> None:
    address = f"memory://{uuid.uuid4().hex}/flights.csv"
    with fsspec.open(address, "wb") as file:
        file.write((HEADER + ROWS).encode())
    assert run(address).exit_code == 0
    assert len([*(tmp_path / "home" / "landing").rglob("*.csv")]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["flights.csv"], "found 'flights.csv', and there is no such file; legal: a file, an address such as s3://bucket/orders.csv, or a day as YYYY-MM-DD."),
        (["2013-02-30"], "found '2013-02-30': day is out of range for month. Correct the day."),
        (["2013-01-02", "2013-01-01"], "2013-01-02 to 2013-01-01: legal is the first day first. Swap them."),
        (["2013-01-01", "--dry-run"], "--dry-run · it is of files; legal: mlops land flight_delay FILE --dry-run. Name a file."),
        (["--table", "schedule"], "--table · it is of files"),
        ([__file__, "2013-01-01"], "LAST_DAY · it has no meaning for the file"),
        ([__file__, "--anew"], "--anew · it has no meaning for the file"),
        ([Path(__file__).parent], "it is a folder, a pipe or a device; legal: a file."),
        (["memory://nowhere/a.csv"], "memory://nowhere/a.csv · it cannot be fetched: FileNotFoundError: /nowhere/a.csv. Correct the address"),
        (["ftpx://ana:secret@host/a.csv?signature=abc"], "ftpx://host/a.csv · it cannot be fetched: ValueError: Protocol not known: ftpx."),
    ],
)  # fmt: skip
def test_anything_else_is_one_error_and_lands_nothing(run: Run, tmp_path: Path, arguments: list[object], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code in (1, 2) and message in result.output, result.output
    assert "secret" not in result.output and "abc" not in result.output
    assert not (tmp_path / "home" / "landing").exists()
