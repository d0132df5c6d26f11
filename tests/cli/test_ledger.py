"""`mlops ledger` as people use it, on a real home and a real database."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.foundation.home import Home
from mlops_assets.promotion.deployment import Deployment, Plan
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.promotion.model_line import ModelLine

Run = Callable[..., Result]
AT = datetime(2013, 6, 1, 12, 30, tzinfo=UTC)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("mlops_assets.cli.ledger.USE_CASES", (USE_CASE,))
    monkeypatch.setenv("MLOPS_ENV", "test")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.delenv("MLOPS_LEDGER", raising=False)
    return lambda *arguments: CliRunner().invoke(app, ["ledger", *arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A ledger of 25 promotions of flights and one refusal of census."""
    file = tmp_path / "ledger.db"
    ledger = Ledger(f"sqlite:///{file}")
    for turn in range(25):
        at = AT + timedelta(days=turn)
        ledger.append("flights", "promotion", {"version": turn, "why": "bessere Güte"}, by="ana", at=at)
    ledger.append("census", "refusal", {"version": 1}, by="gate", at=AT)
    return file


def edit(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for trigger in ("update", "delete"):
            connection.execute(f"DROP TRIGGER IF EXISTS mlops_ledger_no_{trigger}")
        connection.execute(statement)


def test_the_newest_records_are_shown_oldest_first_one_a_line_with_who_when_and_why(run: Run, file: Path):
    assert [" ".join(line.split()) for line in run("show", "flights", "--last", "2").output.splitlines()[1:]] == [
        "24 2013-06-24 12:30:00 UTC promotion 23 ana bessere Güte",
        "25 2013-06-25 12:30:00 UTC promotion 24 ana bessere Güte",
    ]
    assert len(run("show", "flights").output.splitlines()) == 1 + 20
    assert run("show", "census").output.split() == [
        "record",
        "at",
        "kind",
        "version",
        "by",
        "reason",
        "1",
        "2013-06-01",
        "12:30:00",
        "UTC",
        "refusal",
        "1",
        "gate",
    ]


def test_whole_records_are_shown_for_programs(run: Run, file: Path):
    printed = [json.loads(line) for line in run("show", "flights", "--last", "3", "--json").output.splitlines()]
    assert printed == [asdict(record) for record in Ledger(f"sqlite:///{file}").records("flights")[-3:]]


def test_a_reason_stays_on_its_line_and_sends_no_control_characters_to_the_terminal(run: Run, file: Path):
    hostile = "one\n   99  promotion\r\x1b[2J two\t\u2028three"
    Ledger(f"sqlite:///{file}").append("flights", "rollback", {"version": 3, "reason": hostile}, by="ana", at=AT)
    _, line = run("show", "flights", "--last", "1").output.splitlines()
    assert line.endswith("ana  one 99 promotion [2J two three") and line.isprintable()


def test_a_use_case_without_records_is_named_with_those_that_have_some(run: Run, file: Path):
    message = "flight · the ledger has no record of it; known: census, flights. Use one of these.\n"
    result = run("show", "flight")
    assert (result.exit_code, result.output) == (1, message)
    result = run("verify", "flight")
    assert (result.exit_code, result.output) == (1, message.replace("census,", "census, flight_delay,"))


def test_a_whole_ledger_is_reported_as_whole(run: Run, file: Path):
    result = run("verify")
    lines = ["census · intact: 1 records.", "flight_delay · intact: 0 records.", "flights · intact: 25 records."]
    assert (result.exit_code, result.output.splitlines()) == (0, lines)
    assert run("verify", "census").output == "census · intact: 1 records.\n"


@pytest.fixture
def served(file: Path) -> Deployment:
    """Servers see what record 25 of flights says."""
    record = Ledger(f"sqlite:///{file}").records("flights")[-1]
    deployment = Deployment(Home(file.parent).deployments, "flights")
    deployment.place(24, b"", "")
    deployment.publish(Plan(record.number, 24, 23, record.at, "", record=record.digest))
    return deployment


def test_records_that_were_cut_off_are_found_by_what_servers_see(run: Run, file: Path, served: Deployment):
    assert run("verify", "flights").exit_code == 0
    edit(file, "DELETE FROM mlops_ledger WHERE use_case = 'flights' AND number > 20")
    result = run("verify")
    message = "flights · record 25 is known elsewhere and not here, where the newest is 20: the newest records were cut off."
    assert result.exit_code == 1 and message in result.output.splitlines()
    edit(file, "DELETE FROM mlops_ledger WHERE use_case = 'flights'")
    assert run("verify", "flights").exit_code == 1


def test_a_use_case_whose_every_record_was_cut_off_is_found_though_the_ledger_does_not_know_it(run: Run, tmp_path: Path):
    Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").create()
    deployment = Deployment(Home(tmp_path).deployments, "flight_delay")
    deployment.place(1, b"", "")
    deployment.publish(Plan(1, 1, None, AT.isoformat(), "", record="a" * 64))
    result = run("verify")
    assert result.exit_code == 1 and "flight_delay · record 1 is known elsewhere and not here" in result.output


def test_a_chain_that_was_rewritten_is_found_by_what_servers_see(run: Run, file: Path, served: Deployment):
    other = file.parent / "elsewhere" / "ledger.db"
    for turn in range(25):
        Ledger(f"sqlite:///{other}").append("flights", "promotion", {"version": turn, "why": "nicer"}, by="ana", at=AT)
    other.replace(file)
    result = run("verify", "flights")
    assert result.exit_code == 1 and "flights · record 25 differs from the one known elsewhere" in result.output


def test_a_plan_that_servers_cannot_read_is_a_problem_and_does_not_hide_others(run: Run, file: Path, served: Deployment):
    (file.parent / "deployments" / "flights" / "plan.json").write_text("{")
    edit(file, "UPDATE mlops_ledger SET by = 'eve' WHERE use_case = 'flights' AND number = 7")
    result = run("verify", "flights")
    altered, unreadable, remedy = result.output.splitlines()
    assert result.exit_code == 1 and altered.startswith("flights · record 7 was altered")
    assert unreadable.startswith("flights · plan · found") and remedy.startswith("Compare the ledger with its newest backup")


def test_every_problem_has_its_line_and_the_exit_code_is_1(run: Run, file: Path):
    edit(file, "UPDATE mlops_ledger SET by = 'eve' WHERE use_case = 'flights' AND number = 7")
    edit(file, "DELETE FROM mlops_ledger WHERE use_case = 'flights' AND number = 12")
    result = run("verify")
    lines = result.output.splitlines()
    assert result.exit_code == 1 and len(lines) == 5
    assert lines[0] == "census · intact: 1 records."
    assert lines[2].startswith("flights · record 7 was altered") and lines[3] == "flights · record 12 is missing."
    assert run("verify", "census").exit_code == 0
    assert run("verify", "flights").exit_code == 1


def test_an_impossible_command_is_reported_in_one_line(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch):
    edit(file, "UPDATE mlops_ledger SET body = '{' WHERE use_case = 'flights' AND number = 7")
    results = [run("show", "flights")]
    for address in ("mysql://u:sesame@h/d", "postgresql://u:sesame@127.0.0.1:1/d", "postgresql://u:sesame@h:x/d"):
        monkeypatch.setenv("MLOPS_LEDGER", address)
        results.append(run("verify"))
    assert [(result.exit_code, len(result.output.splitlines())) for result in results] == 4 * [(1, 1)]
    problems = [
        "body cannot be read",
        "MLOPS_LEDGER · found another address",
        "does not answer",
        "ledger · address · cannot be read",
    ]
    assert all(part in result.output for part, result in zip(problems, results, strict=True))
    assert not any("sesame" in result.output for result in results)


def test_a_placed_model_that_the_ledger_did_not_bless_is_a_fault(run: Run, tmp_path: Path):
    line = ModelLine(tmp_path)
    line.bless(1, 2)
    assert run("verify").exit_code == 0
    line.copy_files(2, 1)
    result = run("verify")
    assert result.exit_code == 1 and "flight_delay · version 1 has digest" in result.output


def test_records_that_only_the_servers_still_know_are_missed(run: Run, file: Path, tmp_path: Path):
    newest = Ledger(f"sqlite:///{file}").records("flights")[-1]
    deployment = Deployment(tmp_path / "deployments", "flights")
    deployment.place(24, b"onnx", "{}")
    deployment.publish(Plan(newest.number, 24, None, newest.at, "passed", record=newest.digest))
    assert run("verify", "flights").exit_code == 0
    edit(file, "DELETE FROM mlops_ledger WHERE use_case = 'flights' AND number > 23")
    result = run("verify")
    assert result.exit_code == 1
    assert "flights · record 25 is known elsewhere and not here, where the newest is 23" in result.output
    (tmp_path / "deployments" / "flights" / "plan.json").write_text("{")
    assert run("verify").exit_code == 1


def test_an_unknown_use_case_is_not_reported_as_whole(run: Run, file: Path):
    result = run("verify", "flight")
    assert result.exit_code == 1 and "known: census, flight_delay, flights. Use one of these." in result.output
