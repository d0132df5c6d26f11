"""What `mlops` does on a folder that is no home, and on a home that lost its ledger."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import click
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.foundation.home import MARKS, Home, NotAHome
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import DamagedLedger
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.foundation.disks import full
from tests.serving.flights import blessed, tiny_model

Run = Callable[..., Result]
NAME = USE_CASE.name
AT = datetime(2026, 1, 1, tzinfo=UTC)
READING = [
    ("status",), ("approve", NAME, "1", "--why", "read"), ("route", NAME), ("rollback", NAME), ("features",), ("migrate", NAME),
    ("why", "0" * 32), ("replay", "0" * 32), ("reproduce", "1"), ("forget", NAME, "tailnum=N1"),
    ("forget", NAME, "tailnum=N1", "--dry-run"), ("ledger", "show", NAME), ("ledger", "verify"), ("ledger", "mirror", NAME),
    ("status", NAME), ("status", "--json"), ("promote", NAME, "1", "--why", "read"), ("train", NAME, "--because", "new data"), ("plan", NAME),
    ("pause", NAME, "--until", "2099-01-01", "--why", "read"), ("resume", NAME, "--why", "read"), ("alerts",),
    ("waive", NAME, "weather", "2013-01-01", "--why", "read"), ("export", NAME, "/nowhere/model.export"), ("signing", "reissue", "0" * 16),
    ("keys", "list"), ("keys", "revoke", "shop"), ("signing", "list"), ("signing", "withdraw", "0" * 16), ("signing", "rotate"), ("push", NAME, "outcomes", __file__),
]  # fmt: skip

# The others change something, also where they are refused: they may leave locks.
READING_ONLY = {
    "status",
    "features",
    "plan",
    "why",
    "replay",
    "reproduce",
    "ledger show",
    "ledger verify",
    "keys list",
    "signing list",
    "migrate",
}
CREATING = [("land", NAME, "2013-01-01", "2013-01-01"), ("keys", "add", "shop"), ("up",), ("run",), ("demo",)]
# They look at files or a server, and not at a home alone.
WITHOUT_A_HOME = [
    ("check", NAME),
    ("try", NAME),
    ("predict", NAME, "--sample", "1"),
    ("init",),
    ("new",),
    ("backtest",),
    ("observability",),
    ("import",),
]


def commands(group: click.Group, *before: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield from commands(command, *before, name) if isinstance(command, click.Group) else [(*before, name)]


def test_every_command_is_known_to_need_a_home_to_create_one_or_neither() -> None:
    every = {*commands(cast(click.Group, typer.main.get_command(app)))}
    known = {name for name in every for case in (*READING, *CREATING, *WITHOUT_A_HOME) if case[: len(name)] == name}
    assert known == every


@pytest.mark.parametrize("command", WITHOUT_A_HOME[:3], ids=" ".join)
def test_a_command_that_looks_at_files_or_a_server_creates_no_home(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    result = run(*command)
    assert not [*tmp_path.iterdir()]
    assert str(tmp_path / "home") in result.output or "http://127.0.0.1:9 · no prediction service answers" in result.output


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("MLOPS_LEDGER", "MLOPS_API_KEY", "MLOPS_SIGNING_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLOPS_SERVICE_URL", "http://127.0.0.1:9")
    return lambda *arguments: CliRunner().invoke(app, [*arguments])


@pytest.fixture
def served(tmp_path: Path) -> Home:
    """A home whose version 1 serves."""
    home = Home(tmp_path / "home")
    ledger, keys, onnx = Ledger(f"sqlite:///{home.ledger}"), SigningKeys(home.keys), tiny_model(1)
    promotions = Promotions(USE_CASE, ledger, Deployment(home.deployments, NAME), keys)
    promotions.bless(1, onnx, blessed(1, onnx, keys).to_json(), by="the gates", at=AT)
    promotions.promote(1, reason="the first", by="ana", at=AT)
    return home


@pytest.mark.parametrize("command", READING, ids=" ".join)
@pytest.mark.parametrize("kind", ["missing", "empty", "of another program"])
def test_a_command_that_needs_a_home_refuses_another_folder_and_creates_nothing(
    run: Run, tmp_path: Path, command: tuple[str, ...], kind: str
) -> None:
    if kind != "missing":
        (tmp_path / "home").mkdir()
    if kind == "of another program":
        (tmp_path / "home" / "logs").mkdir()
    before = sorted(tmp_path.rglob("*"))
    result = run(*command)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1), result.output
    assert f"MLOPS_HOME · {tmp_path / 'home'} is not a home of the platform" in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_command_on_a_full_disk_works_or_says_why_and_leaves_the_champion(
    run: Run, served: Home, command: tuple[str, ...]
) -> None:
    with full(served.root):
        result = run(*command)
    assert result.exit_code in (0, 1) and isinstance(result.exception, SystemExit | None), result.output
    assert result.output and "Traceback" not in result.output
    assert "version 1" in run("status", NAME).output


@pytest.mark.parametrize(
    "command", [case for case in READING if {case[0], " ".join(case[:2]), case[-1]} & {*READING_ONLY, "--dry-run"}], ids=" ".join
)
def test_a_command_that_reads_creates_and_changes_nothing(run: Run, served: Home, command: tuple[str, ...]) -> None:
    """A home that has a ledger alone."""
    before = {path: path.stat().st_mtime_ns for path in served.root.rglob("*")}
    result = run(*command)
    assert isinstance(result.exception, SystemExit | None), result.output
    assert {path: path.stat().st_mtime_ns for path in served.root.rglob("*")} == before


@pytest.mark.parametrize("command", ["status", "up"])
def test_a_home_that_is_a_file_is_refused(run: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "home").write_text("")
    result = run(command)
    assert result.exit_code == 1 and "it is not a folder. Correct MLOPS_HOME" in result.stderr


@pytest.mark.parametrize("command", CREATING[:2], ids=" ".join)
def test_a_command_that_stores_something_creates_the_home(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    assert run(*command).exit_code == 0
    Home(tmp_path / "home").require()


@pytest.mark.parametrize("mark", [*MARKS, "ledger.db"])
def test_a_folder_is_a_home_whichever_part_was_stored_first(tmp_path: Path, mark: str) -> None:
    with pytest.raises(NotAHome, match="does not exist"):
        Home(tmp_path / "home").require()
    (tmp_path / "home" / mark).mkdir(parents=True)
    Home(tmp_path / "home").require()


ABOUT_WHAT_SERVES = [
    ("status",), ("approve", NAME, "1", "--why", "read"), ("route", NAME), ("rollback", NAME),
    ("ledger", "show", NAME), ("ledger", "verify"), ("ledger", "mirror", NAME),
]  # fmt: skip


@pytest.mark.parametrize("command", ABOUT_WHAT_SERVES, ids=" ".join)
@pytest.mark.parametrize("left", ["deployments", "deployments/flight_delay/models", "mlflow"])
def test_a_home_without_its_ledger_is_damaged_and_not_new(run: Run, served: Home, command: tuple[str, ...], left: str) -> None:
    if left == "deployments/flight_delay/models":
        (served.deployments / NAME / "plan.json").unlink()
    if left == "mlflow":
        model = served.mlflow / "artifacts" / NAME / "run" / "artifacts" / "model.onnx"
        model.parent.mkdir(parents=True)
        served.deployments.rename(served.root / "aside")
        model.write_bytes(b"")
    served.ledger.unlink()
    result = run(*command)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1), result.output
    assert f"{served.ledger} · is missing, and its home has {left}" in result.stderr
    assert result.stderr.endswith("the home is damaged, not new. Restore the file from its newest backup.\n")
    assert not served.ledger.exists()


def test_keys_can_be_revoked_in_a_damaged_home(run: Run, served: Home) -> None:
    assert run("keys", "add", "shop").exit_code == 0
    served.ledger.unlink()
    assert run("keys", "revoke", "shop").exit_code == 0


def test_a_lost_ledger_is_never_created_again(served: Home) -> None:
    served.ledger.unlink()
    ledger = Ledger(f"sqlite:///{served.ledger}")
    for use in (ledger.create, ledger.use_cases, lambda: ledger.append(NAME, "refusal", {}, by="ana", at=AT)):
        with pytest.raises(DamagedLedger, match="the home is damaged, not new"):
            use()
    assert not served.ledger.exists()


def test_reading_a_new_ledger_creates_nothing_and_the_first_record_creates_it(tmp_path: Path) -> None:
    file = tmp_path / "home" / "ledger.db"
    reader, writer = Ledger(f"sqlite:///{file}"), Ledger(f"sqlite:///{file}")
    assert (reader.records(NAME), reader.use_cases(), reader.verify(NAME)) == ([], [], [])
    assert not file.parent.exists()
    writer.append(NAME, "refusal", {}, by="ana", at=AT)
    assert reader.use_cases() == [NAME]
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM mlops_ledger").fetchone() == (1,)
