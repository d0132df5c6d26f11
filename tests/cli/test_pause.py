"""`mlops pause, resume`: on record, shown by `mlops status` and its page, and what is refused."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.foundation.home import PROJECT, Home, read_environment
from mlops_assets.graph.overview import as_html, read_overview
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.resources import build_resources
from tests.graph.line import variables
from tests.graph.test_first_model import PLAIN
from tests.promotion.model_line import ModelLine

UNTIL = "2099-12-01T06:00"
PAUSED = "Paused by ana until 2099-12-01 06:00 UTC: the bank moves. Nothing runs by itself, and all of it follows then"
Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Version 1 serves."""
    line = ModelLine(tmp_path, name=PLAIN.name)
    line.bless(1)
    line.promote(1)
    return Home(tmp_path)


@pytest.fixture
def run(home: Home, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", (PLAIN,))
    for name, value in (variables(home.root) | {"COLUMNS": "1000"}).items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(app, [*arguments])


def pause(run: Run, until: str = UNTIL, why: str = "the bank moves", name: str = PLAIN.name) -> Result:
    return run("pause", name, "--until", until, "--why", why, "--by", "ana")


def test_a_pause_is_recorded_and_shown_until_it_is_ended(home: Home, run: Run) -> None:
    assert pause(run).stdout.startswith(f"loans: {PAUSED}; `mlops resume loans")
    assert f"automation: {PAUSED}" in run("status", "loans").stdout
    record = Ledger(f"sqlite:///{home.ledger}").records("loans")[-1]
    assert (record.kind, record.by, record.reason, record.body["until"]) == (
        "pause", "ana", "the bank moves", "2099-12-01T06:00:00+00:00",
    )  # fmt: skip
    overview = read_overview([PLAIN], home, build_resources(read_environment(variables(home.root), PROJECT)), not_loaded=[],
                             now=datetime.now(UTC))  # fmt: skip
    assert overview.use_cases[0].next_trigger == "paused until 2099-12-01 06:00 UTC"
    assert PAUSED in as_html(overview, now=datetime.now(UTC), dagster_url=None)
    assert run("resume", "loans", "--why", "it has moved").exit_code == 0
    assert "automation: " not in run("status", "loans").stdout and "it has moved" in run("ledger", "show", "loans").stdout


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda run: pause(run, until="2020-01-01"), "loans · until = 2020-01-01T00:00, and it is 20"),
        (lambda run: pause(run, until="tomorrow"), "until = 'tomorrow'; legal: a moment such as 2026-12-01T06:00, in UTC."),
        (lambda run: pause(run, why=""), "loans · why = ''; legal: the reason"),
        (lambda run: run("resume", "loans", "--why", "it has moved"), "loans · no pause is in force"),
    ],
    ids=["past", "no moment", "no reason", "nothing to end"],
)
def test_an_illegal_pause_is_refused_in_one_sentence(home: Home, run: Run, refused: Callable[[Run], Result], message: str):
    before = len(Ledger(f"sqlite:///{home.ledger}").records("loans"))
    result = refused(run)
    assert result.exit_code == 1 and result.stderr.startswith(message) and result.stderr.count("\n") == 1
    assert len(Ledger(f"sqlite:///{home.ledger}").records("loans")) == before


def test_an_unknown_use_case_is_refused(run: Run) -> None:
    result = pause(run, name="lons")
    assert result.exit_code == 2 and "use case 'lons' is not declared; declared: loans." in result.stderr


def test_after_a_rollback_status_says_that_it_holds_and_route_hands_over(home: Home, run: Run) -> None:
    line = ModelLine(home.root, name=PLAIN.name)
    line.bless(2)
    line.promote(2)
    run("rollback", "loans", "--why", "Newark is slow", "--by", "ana")
    held = "automation: Held since ana rolled back version 2 on 20"
    assert held in run("status", "loans").stdout
    run("route", "loans", "--hand-over", "--why", "fast again")
    assert held not in run("status", "loans").stdout and "handed over: fast again" in run("ledger", "show", "loans").stdout
