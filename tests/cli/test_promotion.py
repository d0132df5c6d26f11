"""`mlops status, approve, route, rollback, ledger mirror` as people use them: a real home, ledger, MLflow and command line."""

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mlops_assets.cli.app import PANELS, app
from mlops_assets.foundation import names
from mlops_assets.foundation.home import Home
from mlops_assets.graph.overview import HEADS
from mlops_assets.promotion.deployment import Deployment, Plan
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import Record
from mlops_assets.promotion.mlflow_aliases import mirror
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.training.digest import digest
from mlops_assets.training.model_registry import ModelRegistry
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.cli.loans import LOANS
from tests.promotion.ledger_tamper import cut_off
from tests.serving.flights import blessed, flip_a_bit, tiny_model
from tests.serving.test_client import running
from tests.training.mlflow_runs import new_run

Run = Callable[..., Result]
NAME = USE_CASE.name
MODEL = names.registered_model(NAME)
AT = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
NOBODY = "http://127.0.0.1:9"
UNBLESSED = 4


def promotions_of(home: Home) -> Promotions:
    ledger = Ledger(f"sqlite:///{home.root / 'ledger.db'}", home.deployments)
    return Promotions(USE_CASE, ledger, Deployment(home.deployments, NAME), SigningKeys(home.keys))


def bless(home: Home, version: int) -> None:
    onnx = tiny_model(version)
    promotions_of(home).bless(version, onnx, blessed(version, onnx, SigningKeys(home.keys)).to_json(), by="the gates", at=AT)


@pytest.fixture(scope="module")
def template_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four registered versions, three of them blessed; 1 answers, and MLflow shows it."""
    home = Home(tmp_path_factory.mktemp("template_home"))
    registry, promotions = ModelRegistry(home.mlflow), promotions_of(home)
    for version in (1, 2, 3, UNBLESSED):
        onnx = tiny_model(version)
        run_id = new_run(registry, NAME).run_id
        registered = registry.register(MODEL, onnx, run_id=run_id, tags={}, description="Tiny.")
        assert registered == version
        if version != UNBLESSED:
            bless(home, version)
    promotions.promote(1, reason="the first", by="ana", at=AT)
    mirror(registry, promotions.state())
    return home.root


@pytest.fixture
def home(template_home: Path, tmp_path: Path) -> Home:
    return Home(Path(shutil.copytree(template_home, tmp_path / "home")))


@pytest.fixture
def new_home(tmp_path: Path) -> Home:
    """One in which files are awaited, and nothing else has happened."""
    home = Home(tmp_path / "home")
    home.landing.mkdir(parents=True)
    return home


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`mlops` of one use case on the home, or on a folder that is missing where the test takes none."""
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", (USE_CASE,))
    variables = {"MLOPS_ENV": "test", "MLOPS_HOME": str(tmp_path / "home"), "MLOPS_SERVICE_URL": NOBODY, "COLUMNS": "1000"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("MLOPS_LEDGER", "MLOPS_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments: CliRunner().invoke(app, [*arguments])


@pytest.fixture
def server(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that follows the plans of the home."""
    with running(home) as (url, service):
        monkeypatch.setenv("MLOPS_SERVICE_URL", url)
        service.answering.slots.start()
        yield url
        service.answering.slots.stop()


def live(url: str, version: int, plan: int) -> str:
    return f"live: version {version} serves at {url} (plan {plan})\n"


@pytest.fixture
def high_risk(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", (USE_CASE.but(risk="high"),))


def plan_in_force(home: Home) -> Plan:
    """What servers see, which is what the ledger says."""
    promotions = promotions_of(home)
    plan = promotions.deployment.plan()
    assert plan is not None and plan == promotions.state().plan
    return plan


def records_of(home: Home) -> list[Record]:
    ledger = promotions_of(home).ledger
    assert ledger.verify(NAME) == []
    return ledger.records(NAME)


def test_a_server_of_another_use_case_does_not_count(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch):
    with running(home) as (own, service), running(home, LOANS) as (other, _):
        service.answering.slots.start()
        monkeypatch.setenv("MLOPS_SERVICE_URL", other)
        stranger = f"live: the server at {other} serves loans, not {NAME} (set MLOPS_SERVICE_URL to use another address)"
        assert run("status", NAME).output.startswith(stranger)
        monkeypatch.setenv("MLOPS_SERVICE_URL", f"{own},{other}")
        changed = run("route", NAME, "--shadow", "2")
        service.answering.slots.stop()
    assert changed.exit_code == 0
    assert stranger in changed.output and f"live: version 1 serves at {own} (plan 5)" in changed.output


def test_the_use_case_is_that_of_the_environment_unless_one_is_named(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", (USE_CASE, LOANS))
    monkeypatch.setenv("MLOPS_USE_CASE", LOANS.name)
    assert "nothing serves yet" in run("status").output
    assert "serving: version 1" in run("status", NAME).output
    for command in (("why", "p-1"), ("replay", "p-1"), ("reproduce", "1")):
        assert LOANS.name in run(*command).output and NAME not in run(*command).output
        assert LOANS.name not in run(*command, "--use-case", NAME).output


def test_status_of_several_use_cases_has_a_row_for_each_and_a_line_for_each_problem(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", (USE_CASE, LOANS))
    with running(home) as (url, service):
        service.answering.slots.poll()
        monkeypatch.setenv("MLOPS_SERVICE_URL", f"flight_delay={url};loans={url}")
        heads, flights, loans, stranger = run("status").output.splitlines()
        monkeypatch.setenv("MLOPS_SERVICE_URL", f"flight_delay={NOBODY}")
        *_, down, unknown = run("status").output.splitlines()
    assert re.split("  +", heads) == [*HEADS]
    days = (datetime.now(UTC) - AT).days
    assert re.split("  +", flights)[:6] == [NAME, "1", f"{days} days", "–", "not yet", "not yet"]
    assert f"promotion of version 1 by ana, {days} days ago" in flights
    assert re.split("  +", loans)[:4] == ["loans", "–", "–", "–"] and loans.endswith("first model, with enough data")
    assert stranger.startswith(f"loans: {url} · it serves {NAME}, not loans. Add a server of loans")
    assert down.startswith(f"{NAME}: {NOBODY} · it does not answer.")
    assert unknown == "loans: MLOPS_SERVICE_URL has no address of loans. Add loans=http://host:port to it."


def test_status_as_json_has_the_same_for_programs(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mlops_assets.cli.status.NOT_LOADED", ("use_cases.b · does not load: ImportError: no c. Correct it.",))
    platform = json.loads(run("status", "--json").output)
    assert platform["problems"] == ["not loaded: use_cases.b · does not load: ImportError: no c. Correct it."]
    (flights,) = platform["use_cases"]
    assert flights["use_case"] == NAME and flights["champion"] == 1
    assert flights["problems"] == [f"{NOBODY} · it does not answer. Start it with `mlops up`, or look into the service's log."]


def test_a_server_of_many_use_cases_that_does_not_answer_is_named_once(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", (USE_CASE, LOANS))
    platform = json.loads(run("status", "--json").output)
    assert (
        platform["problems"].count(f"{NOBODY} · it does not answer. Start it with `mlops up`, or look into the service's log.")
        == 1
    )
    assert [one["problems"] for one in platform["use_cases"]] == [[], []]


def test_a_change_without_an_address_of_the_use_case_is_in_the_ledger_and_not_confirmed(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLOPS_SERVICE_URL", "loans=http://127.0.0.1:9")
    changed = run("route", NAME, "--shadow", "2")
    assert changed.exit_code == 1
    assert "the ledger has the change" in changed.output and f"MLOPS_SERVICE_URL has no address of {NAME}" in changed.output
    assert plan_in_force(home).shadow == 2
    assert run("status", NAME).output.startswith(f"live: MLOPS_SERVICE_URL has no address of {NAME}.")


def test_a_command_that_needs_one_use_case_lists_them_where_none_is_named(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", (USE_CASE, LOANS))
    assert "no use case is named" not in run("why", "p-1").output  # one of the two has served here
    (home.deployments / LOANS.name).mkdir()
    refused = run("reproduce", "1")
    assert refused.exit_code == 2 and "no use case is named; legal: flight_delay, loans. Name one" in refused.output


def test_status_names_every_use_case_that_does_not_load_and_shows_the_others(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mlops_assets.cli.status.NOT_LOADED", ("use_cases.b · does not load: ImportError: no c. Correct it.",))
    status = run("status", NAME)
    assert status.output.startswith("not loaded: use_cases.b · does not load: ImportError: no c. Correct it.\n")
    assert status.exit_code == 0 and "serving: version 1" in status.output


def alias(home: Home, name: str = names.CHAMPION) -> int | None:
    return ModelRegistry(home.mlflow).client.get_registered_model(MODEL).aliases.get(name)


def move_alias(home: Home, version: int) -> None:
    ModelRegistry(home.mlflow).client.set_registered_model_alias(MODEL, names.CHAMPION, str(version))


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_of_a_new_home_says_that_nothing_serves_yet_and_creates_nothing(run: Run, new_home: Home):
    result = run("status")
    assert [path.name for path in new_home.root.rglob("*")] == ["landing"]
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"live: no answer from {NOBODY} (set MLOPS_SERVICE_URL to use another address)",
        "nothing serves yet: The first version that passes its gates will serve; `mlops run flight_delay` makes it",
    ]


def test_status_shows_what_serves_and_why_what_waits_what_was_and_how_to_go_back(run: Run, home: Home):
    promotions_of(home).promote(2, reason="better\nby far", by="run 12345678", at=AT)
    lines = [" ".join(line.split()) for line in run("status", NAME).output.splitlines()]
    assert lines[1:] == [
        "serving: version 2 since 2026-01-01 12:30:00 UTC",
        "why: better by far",
        "waiting: version 3 is blessed and its rollout has not started",
        "last 5 of 5 records, newest first:",
        "record at kind version by reason",
        "5 2026-01-01 12:30:00 UTC promotion 2 run 12345678 better by far",
        "4 2026-01-01 12:30:00 UTC promotion 1 ana the first",
        "3 2026-01-01 12:30:00 UTC blessing 3 the gates",
        "2 2026-01-01 12:30:00 UTC blessing 2 the gates",
        "1 2026-01-01 12:30:00 UTC blessing 1 the gates",
        "to roll back: `mlops rollback flight_delay` serves version 1 again",
    ]


def test_status_of_a_rollout_names_the_challenger(run: Run, home: Home):
    run("route", NAME, "--challenger", "2", "--share", "0.05", "--why", "try")
    lines = run("status").output.splitlines()
    assert lines[1].startswith("serving: version 1 (canary: 5% to version 2) since 20")
    assert lines[-1] == "to roll back: `mlops rollback flight_delay` ends the rollout of version 2"


def test_status_shows_the_newest_records_of_many(run: Run, home: Home):
    for turn in range(40):
        promotions_of(home).approve(2, why=f"turn {turn}", by="ana", at=AT)
    lines = run("status").output.splitlines()
    assert "last 15 of 44 records, newest first:" in lines
    assert [line.split("  ")[-1] for line in lines if " approval " in line] == [f"turn {turn}" for turn in range(39, 24, -1)]


def test_status_shows_what_each_live_server_serves(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch):
    with running(home) as (url, service):
        monkeypatch.setenv("MLOPS_SERVICE_URL", f"{url},{NOBODY}")
        before = run("status").output.splitlines()[0]
        service.answering.slots.poll()
        now, other = run("status").output.splitlines()[:2]
        promotions_of(home).promote(2, reason="better", by="ana", at=AT)
        late = run("status").output.splitlines()[0]
        flip_a_bit(home.deployments / NAME / "models" / "2" / "model.onnx")
        service.answering.slots.poll()
        broken = run("status").output.splitlines()[0]
    assert before == f"live: no version serves at {url} (plan none, not yet plan 4)"
    assert now == f"live: version 1 serves at {url} (plan 4)"
    assert other == f"live: no answer from {NOBODY} (set MLOPS_SERVICE_URL to use another address)"
    assert late == f"live: version 1 serves at {url} (plan 4, not yet plan 5)"
    assert broken.startswith(f"{late}; plan 5 is not taken · version 2 is not served")


# --- approve ----------------------------------------------------------------------------------------------------------


def test_a_first_version_that_waits_for_its_approval_is_all_that_status_advises(run: Run, new_home: Home, high_risk: None):
    bless(new_home, 1)
    output = run("status").output
    assert "nothing serves yet\nwaiting: version 1 waits for `mlops approve flight_delay 1 --why …`\n" in output


@pytest.mark.usefixtures("high_risk")
def test_an_approval_is_recorded_with_who_why_and_on_what_and_status_asks_for_it(run: Run, home: Home, server: str):
    assert "waiting: version 3 waits for `mlops approve flight_delay 3 --why …`" in run("status").output
    result = run("approve", NAME, "3", "--why", "I read its evaluation", "--by", "ana")
    assert (result.exit_code, result.output) == (
        0,
        live(server, 1, 4) + "flight_delay: version 3 is approved, with the model and evidence of its blessing.\n",
    )
    record = records_of(home)[-1]
    assert (record.kind, record.by, record.body["version"], record.body["why"]) == ("approval", "ana", 3, "I read its evaluation")
    assert record.body["model_digest"] == digest(tiny_model(3)) and record.body["evaluation_digest"] == "e" * 64
    assert "waiting: version 3 is blessed and its rollout has not started" in run("status").output


@pytest.mark.usefixtures("high_risk", "server")
def test_a_version_without_approval_gets_no_traffic_and_the_message_has_the_remedy(run: Run, home: Home):
    before = plan_in_force(home)
    result = run("route", NAME, "--challenger", "2", "--share", "0.1")
    assert result.exit_code == 1 and "`mlops approve flight_delay 2 --why …`" in result.output
    assert plan_in_force(home) == before
    run("approve", NAME, "2", "--why", "read")
    assert run("route", NAME, "--challenger", "2", "--share", "0.1").exit_code == 0


def test_an_approval_names_the_account_that_gives_it(run: Run, home: Home):
    run("approve", NAME, "2", "--why", "read")
    assert records_of(home)[-1].by not in ("", "ana")


@pytest.mark.parametrize(
    ("arguments", "code", "because"),
    [
        (
            ("4", "--why", "read"),
            1,
            "version 4 has no blessing in the ledger; blessed: 1, 2, 3. `mlops train flight_delay --because …` trains a version",
        ),
        (("2",), 2, "Missing option '--why'"),
        (("2", "--why", ""), 1, "why = ''; legal: the reason for the approval"),
        (("two", "--why", "read"), 2, "'two' is not a valid integer"),
        (("2", "--why", "read", "--by", "ana\neve"), 2, "legal: printable text, on one line"),
    ],
)
def test_an_impossible_approval_is_refused(run: Run, home: Home, arguments: tuple[str, ...], code: int, because: str):
    before = records_of(home)
    result = run("approve", NAME, *arguments)
    assert result.exit_code == code and because in result.output and "Traceback" not in result.output
    assert records_of(home) == before


# --- route ------------------------------------------------------------------------------------------------------------


def test_a_route_lets_others_run_next_to_the_champion_and_ends_by_a_route_to_nothing(run: Run, home: Home, server: str):
    result = run("route", NAME, "--challenger", "2", "--share", "0.05", "--split", "ab", "--shadow", "3", "--why", "try")
    done = "flight_delay: version 1 serves; ab: 5% to version 2, shadow: version 3 (plan 5).\n"
    assert result.output == live(server, 1, 5) + done
    plan = plan_in_force(home)
    assert (plan.challenger, plan.share, plan.split, plan.shadow, plan.reason) == (2, 0.05, "ab", 3, "route: try")
    assert alias(home, names.CHALLENGER) == 2
    done = "flight_delay: version 1 serves; no challenger, no shadow (plan 6).\n"
    assert run("route", NAME).output == live(server, 1, 6) + done
    assert plan_in_force(home).rollout == "" and alias(home, names.CHALLENGER) is None
    assert [record.kind for record in records_of(home)[-2:]] == ["plan", "rollback"]


@pytest.mark.parametrize(
    ("options", "code", "because"),
    [
        (("--challenger", "9", "--share", "0.1"), 1, "version 9 has no blessing in the ledger; blessed: 1, 2, 3"),
        (("--challenger", "2", "--share", "5"), 1, "share is 5.0; legal: 0 to 1"),
        (("--hand-over",), 1, "no rollback or route by hand is in force"),
        (("--hand-over", "--challenger", "2"), 2, "legal: alone"),
        (("--challenger", "2", "--split", "half"), 2, "is not one of 'canary', 'ab'"),
        (("--challenger", "2.5"), 2, "'2.5' is not a valid integer"),
    ],
)
def test_a_refused_route_has_a_plain_message_and_changes_nothing(
    run: Run, home: Home, options: tuple[str, ...], code: int, because: str
):
    before = records_of(home)
    result = run("route", NAME, *options)
    assert result.exit_code == code and because in result.output and "Traceback" not in result.output
    assert records_of(home) == before and plan_in_force(home).number == 4


def test_status_says_that_a_route_is_by_hand_until_it_is_handed_over(run: Run, home: Home, server: str):
    by_hand = (
        "by hand: no rollout changes this until `mlops route flight_delay --hand-over` hands it over; "
        "`mlops route flight_delay` ends it"
    )
    assert by_hand not in run("status").output
    run("route", NAME, "--challenger", "3", "--share", "0.1")
    assert records_of(home)[-1].body["by_hand"] is True and by_hand in run("status").output.splitlines()
    result = run("route", NAME, "--hand-over", "--why", "it looks good", "--by", "ana")
    assert result.output == live(server, 1, 6) + "flight_delay: version 1 serves; shadow: version 3 (plan 6).\n"
    record = records_of(home)[-1]
    assert (record.kind, record.by, record.body["by_hand"]) == ("plan", "ana", False)
    assert record.body["reason"] == "handed over: it looks good; a rollout begins"
    assert "by hand:" not in run("status").output


def test_before_the_first_champion_the_way_to_it_is_named(run: Run, new_home: Home, monkeypatch: pytest.MonkeyPatch):
    words = ("route", NAME, "--challenger", "1", "--share", "0.1")
    where = "flight_delay · no champion serves yet, so nothing can run next to it. "
    first = "The first version that passes its gates will serve; `mlops run flight_delay` makes it.\n"
    assert run(*words).output == where + first
    bless(new_home, 1)
    blessed = "Version 1 is blessed: a running platform lets it serve, or `mlops promote flight_delay 1 --why …`.\n"
    assert run(*words).output == where + blessed
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", (USE_CASE.but(risk="high"),))
    waiting = "Version 1 is blessed and waits for `mlops approve flight_delay 1 --why …`.\n"
    assert run(*words).output == where + waiting
    assert run("route", NAME, "--hand-over").output == f"flight_delay · no champion serves yet. {waiting}"


# --- rollback ---------------------------------------------------------------------------------------------------------


def test_the_challenger_is_rolled_back_first_and_then_the_champion(run: Run, home: Home, server: str):
    promotions_of(home).promote(2, reason="better", by="ana", at=AT)
    run("route", NAME, "--challenger", "3", "--share", "0.1")
    result = run("rollback", NAME, "--why", "slow")
    done = "flight_delay: version 3 is rolled back; version 2 serves all requests (plan 7).\n"
    assert result.output == live(server, 2, 7) + done
    assert (plan_in_force(home).champion, alias(home), alias(home, names.CHALLENGER)) == (2, 2, None)
    result = run("rollback", NAME, "--why", "wrong", "--by", "ben")
    done = "flight_delay: version 2 is rolled back; version 1 serves all requests (plan 8).\n"
    assert result.output == live(server, 1, 8) + done
    assert (plan_in_force(home).champion, alias(home)) == (1, 1)
    newest = records_of(home)[-1]
    assert (newest.kind, newest.by, newest.body["reason"], newest.body["version"]) == ("rollback", "ben", "wrong", 2)


def test_a_rollback_does_not_wait_for_mlflow(run: Run, home: Home, server: str):
    promotions_of(home).promote(2, reason="better", by="ana", at=AT)
    shutil.rmtree(home.mlflow)
    home.mlflow.write_text("a file where the folder belongs")
    result = run("rollback", NAME)
    assert result.exit_code == 0 and "Traceback" not in result.output
    left, _live, done = result.output.splitlines()
    assert done == "flight_delay: version 2 is rolled back; version 1 serves all requests (plan 6)."
    assert left.startswith("The ledger has the change; MLflow does not show it yet: ")
    assert left.endswith(" `mlops ledger mirror flight_delay` tries again.")
    assert plan_in_force(home).champion == 1


# --- ledger mirror ----------------------------------------------------------------------------------------------------


def test_a_correct_mirror_is_reported_as_correct(run: Run, home: Home, server: str):
    assert run("ledger", "mirror", NAME).output.splitlines() == [
        "MLflow matches the ledger.",
        "Servers read the ledger's plan.",
        live(server, 1, 4).strip(),
        "Servers and MLflow now match the ledger.",
    ]
    assert len(records_of(home)) == 4


def test_an_alias_that_was_moved_is_reported_and_reconciled(run: Run, home: Home, server: str):
    move_alias(home, 2)
    result = run("ledger", "mirror", NAME)
    assert result.output.splitlines()[0] == "alias champion is 2; the ledger has 1"
    assert (result.exit_code, alias(home), len(records_of(home))) == (0, 1, 4)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("edit", [lambda plan: replace(plan, champion=4).to_json(), lambda _plan: "{", lambda _plan: ""])
def test_a_plan_file_that_was_edited_is_reported_and_reconciled(run: Run, home: Home, edit: Callable[[Plan], str]):
    plan, file = plan_in_force(home), home.deployments / NAME / "plan.json"
    Deployment(home.deployments, NAME).place(4, b"", "")
    file.write_text(edit(plan))
    result = run("ledger", "mirror", NAME)
    assert result.exit_code == 0, result.output
    assert ("servers read plan 4 (version 4); in the ledger it is plan 4 (version 1)" in result.output) == ("4" in edit(plan))
    assert plan_in_force(home) == plan


@pytest.mark.parametrize("entry", ["", "model.onnx", "blessing.json"])
def test_a_model_whose_files_are_gone_is_in_the_status_and_placed_again_from_mlflow(
    run: Run, home: Home, server: str, entry: str
):
    models = home.deployments / NAME / "models"
    (models / "1" / entry).rename(models / "kept")
    lacks = (
        "ledger: flight_delay · version 1 is not placed, and" if not entry else "ledger: flight_delay · version 1 cannot be read"
    )
    status, mirrored = run("status", NAME).output, run("ledger", "mirror", NAME)
    assert lacks in status and "`mlops ledger mirror flight_delay`" in status
    assert mirrored.exit_code == 0, mirrored.output
    assert "Version 1 is placed again, as it was blessed." in mirrored.output
    assert "ledger: " not in run("status", NAME).output and run("ledger", "verify", NAME).exit_code == 0


def test_a_model_whose_files_are_gone_in_mlflow_too_is_named_with_what_to_restore(run: Run, home: Home, server: str):
    shutil.rmtree(home.deployments / NAME / "models" / "1")
    shutil.rmtree(home.mlflow / "artifacts")
    result = run("ledger", "mirror", NAME)
    restore = "Restore deployments/flight_delay/models/1 of the home from a backup."
    assert result.exit_code == 1 and restore in result.output and "no artifact 'model.onnx'" in result.output


def test_a_plan_file_newer_than_the_ledger_is_not_overwritten_by_itself(run: Run, home: Home, server: str):
    """It may be the only trace of removed records."""
    plan, file = plan_in_force(home), home.deployments / NAME / "plan.json"
    file.write_text(replace(plan, number=9, champion=2, previous=1).to_json())
    result = run("ledger", "mirror", NAME)
    assert result.exit_code == 1 and "Servers and MLflow now match" not in result.output
    assert result.output.splitlines()[-1] == (
        "flight_delay · servers read plan 9 (version 2); in the ledger it is plan 4 (version 1). "
        "Run `mlops ledger verify flight_delay`; then `mlops ledger mirror flight_delay --replace` lets servers read the ledger's plan."
    )
    assert run("ledger", "verify", NAME).exit_code == 1
    forged = file.read_text()
    assert run("ledger", "mirror", NAME, "--replace").exit_code == 0
    assert plan_in_force(home) == plan
    assert [kept.read_text() for kept in file.parent.glob("replaced-plan-*.json")] == [forged]
    assert run("ledger", "verify", NAME).exit_code == 0


EDITS: dict[str, tuple[dict[str, object], str]] = {
    "number": ({"plan": 999}, "number 999 instead of 4"),
    "lower number": ({"plan": 2}, "number 2 instead of 4"),
    "champion": ({"champion": 2}, "champion 2 instead of 1"),
    "rollout": ({"challenger": 3, "share": 0.5}, "challenger 3 instead of None, share 0.5 instead of 0.0"),
    "reason": ({"reason": "x" * 999}, f"reason '{'x' * 79}… instead of 'the first'"),
    "digest": ({"digests": {"1": "f" * 64}}, "digests {1: 'ffff"),
}


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_field_of_the_plan_is_named_and_the_ledger_is_not_accused(run: Run, home: Home, edit: str):
    fields, difference = EDITS[edit]
    plan, file = plan_in_force(home), home.deployments / NAME / "plan.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    command = f"`mlops ledger mirror flight_delay{' --replace' if edit == 'number' else ''}`"
    verified = run("ledger", "verify", NAME)
    assert verified.exit_code == 1 and verified.output.startswith(f"flight_delay · plan.json was edited: it has {difference}")
    assert f"{command} writes it again." in verified.output
    (alarm,) = (line for line in run("status").output.splitlines() if line.startswith("ledger: "))
    assert alarm.endswith(f"{command} writes it again.")
    (disagree,) = (line for line in run("status").output.splitlines() if line.startswith("plan and ledger disagree: "))
    assert edit not in ("reason", "digest") or f"servers read plan 4 (version 1), with {difference}" in disagree
    assert run(*command.strip("`").split()[1:]).exit_code == 0 and plan_in_force(home) == plan
    assert run("ledger", "verify", NAME).exit_code == 0


@pytest.mark.parametrize("number", [0, -1])
def test_a_number_that_no_record_can_have_is_no_plan(run: Run, home: Home, number: int):
    file = home.deployments / NAME / "plan.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"plan": number}))
    message = f"flight_delay · plan · found {number}: plan · Input should be greater than or equal to 1"
    assert run("ledger", "verify", NAME).output.startswith(message)
    alarm = next(line for line in run("status").output.splitlines() if line.startswith("ledger: "))
    assert "Restore" not in alarm and "`mlops ledger mirror flight_delay` writes it again." in alarm


def test_a_ledger_that_lacks_the_plan_is_no_home_in_which_nothing_serves(run: Run, home: Home):
    cut_off(f"sqlite:///{home.ledger}", after=0)
    lines = run("status").output.splitlines()
    assert any(
        line.startswith("plan and ledger disagree: servers read plan 4 (version 1); in the ledger it is no plan. ")
        for line in lines
    )
    (nothing,) = (line for line in lines if line.startswith("no champion is in the ledger"))
    assert nothing == "no champion is in the ledger: restore it from its backup" and "nothing serves yet" not in "".join(lines)


def test_a_model_that_mlflow_lost_is_reported_plainly(run: Run, home: Home):
    shutil.rmtree(home.mlflow)
    result = run("ledger", "mirror", NAME)
    assert result.exit_code == 1 and "flight_delay" in result.output.splitlines()[-1] and "Traceback" not in result.output


def test_a_new_home_has_nothing_to_mirror(run: Run, new_home: Home):
    result = run("ledger", "mirror", NAME)
    assert result.exit_code == 0, result.output


# --- servers that do not follow the ledger ------------------------------------------------------------------------------

CHANGES = pytest.mark.parametrize(
    "words", [("rollback", NAME), ("route", NAME, "--challenger", "3", "--share", "0.1"), ("route", NAME)], ids=" ".join
)


def forge(home: Home) -> None:
    plan = promotions_of(home).state().plan
    assert plan
    (home.deployments / NAME / "plan.json").write_text(replace(plan, number=999, champion=3).to_json())


@pytest.mark.usefixtures("server")
@CHANGES
def test_no_command_claims_success_while_servers_read_a_plan_that_the_ledger_does_not_have(
    run: Run, home: Home, words: tuple[str, ...]
):
    promotions_of(home).promote(2, reason="better", by="ana", at=AT)
    forge(home)
    before = records_of(home)
    result = run(*words)
    assert result.exit_code == 1 and records_of(home) == before
    assert "servers read plan 999 (version 3); in the ledger it is plan 5 (version 2)" in result.output
    assert "`mlops ledger mirror flight_delay --replace`" in result.output and "is rolled back" not in result.output
    assert any(line.startswith("plan and ledger disagree: servers read plan 999") for line in run("status").output.splitlines())
    assert run("ledger", "mirror", NAME, "--replace").exit_code == 0
    assert run(*words).exit_code == 0
    assert "disagree" not in run("status").output


# Every command that changes what serves, and the record that it leaves; these two have nothing to change.
CHANGE_WHAT_SERVES: dict[tuple[str, ...], str] = {
    ("approve", NAME, "3", "--why", "read"): "record 6, approval of version 3 by ana",
    ("promote", NAME, "3", "--why", "urgent"): "record 6, promotion of version 3 by ana",
    ("rollback", NAME): "record 6, rollback of version 2 by ana",
    ("route", NAME, "--challenger", "3", "--share", "0.1"): "record 6, plan of version 3 by ana",
    ("route", NAME, "--shadow", "3"): "record 6, plan of version 3 by ana",
    ("route", NAME): "",
    ("ledger", "mirror", NAME): "",
}


def change(run: Run, words: tuple[str, ...]) -> Result:
    return run(*words, *(["--by", "ana"] if "ledger" not in words else []))


def test_the_table_has_every_command_that_changes_what_serves():
    promoting = {command.__name__ for command in PANELS["Promotion"]} - {"status", "export", "import_"}
    assert {words[0] for words in CHANGE_WHAT_SERVES} == promoting | {"ledger"}


@pytest.mark.parametrize("words", CHANGE_WHAT_SERVES, ids=" ".join)
def test_a_change_that_no_server_confirms_is_recorded_and_fails(run: Run, home: Home, words: tuple[str, ...]):
    promotions_of(home).promote(2, reason="better", by="ana", at=AT)
    result = change(run, words)
    unchanged = "nothing has changed in the ledger, where plan 5 (version 2) is in force"
    what = f"the ledger has the change: {record}" if (record := CHANGE_WHAT_SERVES[words]) else unchanged
    confirmed = f"flight_delay · {what}, and no server confirmed it"
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert result.stderr == (
        f"{confirmed} · {NOBODY} · it does not answer. Start it with `mlops up`, or look into the service's log. "
        "`mlops status flight_delay` shows what servers serve.\n"
    )
    assert records_of(home)[-1].number == 5 + bool(record) and plan_in_force(home)


@pytest.mark.parametrize("words", [("promote", NAME, "1", "--why", "again"), ("route", NAME)], ids=" ".join)
def test_a_command_that_has_nothing_to_change_says_so_and_names_no_other_record(
    run: Run, home: Home, server: str, words: tuple[str, ...]
):
    promotions_of(home).refuse(4, reason="It leaks.", by="the gates", at=AT)
    before = records_of(home)
    result = change(run, words)
    assert result.exit_code == 0 and result.output.endswith("(plan 4, as before: nothing has changed).\n"), result.output
    assert records_of(home) == before and "refusal" not in result.output


@pytest.mark.parametrize(
    "words", [words for words in CHANGE_WHAT_SERVES if words[0] in ("approve", "promote", "ledger")], ids=" ".join
)
def test_a_change_shows_what_every_server_then_serves_and_fails_where_one_does_not_answer_or_follow(
    run: Run, home: Home, server: str, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
):
    promotions_of(home).promote(2, reason="better", by="ana", at=AT)
    result = change(run, words)
    plan = plan_in_force(home)
    assert result.exit_code == 0 and live(server, plan.champion, plan.number) in result.output, result.output
    monkeypatch.setenv("MLOPS_SERVICE_URL", f"{server},{NOBODY}")
    partly = change(run, ("ledger", "mirror", NAME))
    assert partly.exit_code == 1 and live(server, plan.champion, plan.number) in partly.output
    assert f"and not every server confirmed it · {NOBODY} · it does not answer" in partly.stderr


def test_a_command_fails_where_a_server_does_not_follow(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mlops_assets.serving.client.TAKE_OVER_S", 3.0)
    promotions_of(home).promote(2, reason="better", by="ana", at=AT)
    with running(home) as (url, service):
        monkeypatch.setenv("MLOPS_SERVICE_URL", url)
        service.answering.slots.poll()
        ignored = run("rollback", NAME)
        status = run("status")
    assert ignored.exit_code == 1 and "is rolled back" not in ignored.output
    assert "no server confirmed it" in ignored.output
    assert f"{url} · it serves version 2 (plan 5), not the ledger's plan" in ignored.output
    assert f"live: version 2 serves at {url} (plan 5, not yet plan 6)" in status.output


def test_a_record_that_was_cut_off_is_reported_until_it_is_given_up(run: Run, home: Home):
    promotions_of(home).promote(2, reason="better", by="ana", at=AT)
    assert "ledger:" not in run("status").output
    promotions_of(home).refuse(3, reason="It leaks.", by="ana", at=AT)
    head = promotions_of(home).state().head
    cut_off(f"sqlite:///{home.ledger}", after=head - 1)
    promotions_of(home).refuse(2, reason="It is slow.", by="bob", at=AT)
    (line,) = (line for line in run("status").output.splitlines() if line.startswith("ledger: "))
    assert f"record {head} differs from the one known elsewhere" in line and f"`mlops ledger mirror {NAME} --replace`" in line
    assert run("ledger", "verify").exit_code == 1
    for words in (("approve", NAME, "3", "--why", "read"), ("rollback", NAME), ("ledger", "mirror", NAME)):
        result = run(*words)
        assert (result.exit_code, f"record {head} " in result.output) == (1, True), result.output
    assert "was written and is gone" in run("ledger", "mirror", NAME, "--replace").output
    assert "ledger:" not in run("status").output and run("ledger", "verify").exit_code == 0


def test_after_the_ledger_s_plan_replaced_a_forged_one_servers_serve_it(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch):
    forge(home)
    with running(home) as (url, service):
        monkeypatch.setenv("MLOPS_SERVICE_URL", url)
        service.answering.slots.start()
        before = run("status").output.splitlines()[0]
        result = run("ledger", "mirror", NAME, "--replace")
        service.answering.slots.stop()
    assert before == f"live: version 3 serves at {url} (plan 999, which is not the ledger's)"
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-2:] == [
        f"live: version 1 serves at {url} (plan 4)",
        "Servers and MLflow now match the ledger.",
    ]


# --- errors of all of them ----------------------------------------------------------------------------------------------

EVERY = pytest.mark.parametrize("arguments", [("status", NAME), ("rollback", NAME), ("ledger", "mirror", NAME)], ids=" ".join)


@EVERY
def test_a_ledger_that_does_not_answer_is_reported_in_one_line(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
):
    monkeypatch.setenv("MLOPS_LEDGER", "postgresql://mlops:sesame@127.0.0.1:1/mlops")
    result = run(*arguments)
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert "does not answer" in result.output and "sesame" not in result.output


@EVERY
def test_a_record_that_cannot_be_read_is_reported_in_one_line(run: Run, home: Home, arguments: tuple[str, ...]):
    with closing(sqlite3.connect(home.root / "ledger.db", isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER mlops_ledger_no_update")
        connection.execute("UPDATE mlops_ledger SET body = '{' WHERE number = 2")
    result = run(*arguments)
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert "record 2 · body cannot be read" in result.output and "Run `mlops ledger verify flight_delay`." in result.output


@EVERY
def test_a_use_case_that_is_not_declared_is_reported_with_the_declared_ones(run: Run, arguments: tuple[str, ...]):
    result = run(*(argument.replace(NAME, "flight_dely") for argument in arguments))
    assert result.exit_code == 2
    assert "use case 'flight_dely' is not declared; declared: flight_delay. Use one of these." in result.output


@EVERY
def test_an_illegal_environment_is_reported_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]):
    monkeypatch.setenv("MLOPS_ENV", "staging")
    result = run(*arguments)
    assert (result.exit_code, result.output) == (
        1,
        "MLOPS_ENV · found 'staging'; legal: local, test, production. Set one of these.\n",
    )
