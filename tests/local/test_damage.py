"""`mlops up` on a damaged home: a line for each fault with the way through, no traceback, and nothing is written."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.foundation.home import Home, read_environment
from mlops_assets.local.damage import find_damage, find_unservable
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.training.model_registry import ModelRegistry
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.cli.test_file_modes import STRANGER, as_user
from tests.serving.flights import blessed, tiny_model

NAME = USE_CASE.name
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def template_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 2 serves, version 1 did; with all databases, and an API key."""
    home = Home(tmp_path_factory.mktemp("template_home"))
    promotions, keys = promotions_of(home), SigningKeys(home.keys)
    for version in (1, 2):
        onnx = tiny_model(version)
        promotions.bless(version, onnx, blessed(version, onnx, keys).to_json(), by="the gates", at=AT)
        promotions.promote(version, reason="better", by="ana", at=AT)
    ApiKeys(home.keys).add("shop", AT, lambda: "token")
    home.mlflow.mkdir()
    ModelRegistry(home.mlflow).prepare()
    home.dagster.mkdir()
    # In a process of its own, as this one may keep the files open.
    code = f"import dagster; dagster.DagsterInstance.from_config({str(home.dagster)!r}, config_filename='none.yaml').dispose()"
    subprocess.run([sys.executable, "-c", code], check=True)
    return home.root


@pytest.fixture
def home(template_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    home = Home(Path(shutil.copytree(template_home, tmp_path / "home")))
    for name in ("MLOPS_LEDGER", "MLOPS_API_KEY", "MLOPS_SIGNING_KEY", "MLOPS_SERVICE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLOPS_HOME", str(home.root))
    return home


def promotions_of(home: Home) -> Promotions:
    ledger = Ledger(f"sqlite:///{home.ledger}")
    return Promotions(USE_CASE, ledger, Deployment(home.deployments, NAME), SigningKeys(home.keys))


def contents(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def cut_off_newest_record(home: Home) -> None:
    with closing(sqlite3.connect(home.ledger, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER mlops_ledger_no_delete")
        connection.execute("DELETE FROM mlops_ledger WHERE number = 4")


def edit_plan(home: Home) -> None:
    plan = promotions_of(home).state().plan
    assert plan
    (home.deployments / NAME / "plan.json").write_text(replace(plan, champion=1).to_json())


def garble_body(home: Home) -> None:
    with closing(sqlite3.connect(home.ledger, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER mlops_ledger_no_update")
        connection.execute("UPDATE mlops_ledger SET body = '{' WHERE number = 2")


def become_a_file(path: Path) -> None:
    path.rename(path.with_name("aside"))
    path.write_text("")


DAMAGE: dict[str, tuple[Callable[[Home], object], str]] = {
    "no ledger": (lambda home: home.ledger.unlink(), "ledger.db · is missing"),
    "half a ledger": (lambda home: cut(home.ledger), "Restore the file from its newest backup."),
    "another file as ledger": (lambda home: garble(home.ledger), "Restore the file from its newest backup."),
    "an empty ledger": (lambda home: home.ledger.write_bytes(b""), "Restore the file from its newest backup."),
    "a ledger without its newest record": (cut_off_newest_record, "Run `mlops ledger verify flight_delay`; then"),
    "an unreadable record": (garble_body, "record 2 · body cannot be read"),
    "an edited plan": (edit_plan, "`mlops ledger mirror flight_delay` lets servers read the ledger's plan."),
    "an unreadable plan": (
        lambda home: (home.deployments / NAME / "plan.json").write_text("{"), "`mlops ledger mirror flight_delay` writes it again",
    ),
    "half a run database": (lambda home: cut(home.dagster / "history" / "runs.db"), "history of runs. Restore it from"),
    "another file as event log": (lambda home: garble(home.dagster / "history" / "runs" / "index.db"), "index.db · cannot be read"),
    "half an MLflow database": (lambda home: cut(home.mlflow / "mlflow.db"), "mlflow.db · "),
    "an unreadable signing key": (lambda home: (home.keys / "private.pem").write_text("x"), "private.pem · "),
    "an unreadable public key": (lambda home: next((home.keys / "public").iterdir()).write_text("x"), ".pem · "),
    "unreadable API keys": (lambda home: (home.keys / "api_keys.json").write_text("x"), "Restore it from a backup."),
    "a file as folder of the home": (lambda home: become_a_file(home.dagster), "is a file, not a folder. Make it a writable folder"),
    "a file as home": (lambda home: become_a_file(home.root), "it is not a folder. Correct MLOPS_HOME."),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_up_refuses_a_damaged_home_in_one_line_and_writes_nothing(home: Home, kind: str) -> None:
    damage, line = DAMAGE[kind]
    damage(home)
    before = contents(home.root.parent)
    result = CliRunner().invoke(app, ["up"])
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1), result.output
    assert line in result.stderr and "Traceback" not in result.stderr
    assert contents(home.root.parent) == before


def test_a_sound_home_a_new_one_and_a_plan_that_was_not_published_yet_are_no_damage(home: Home, tmp_path: Path) -> None:
    assert find_damage(read_environment({"MLOPS_HOME": str(home.root)})) == []
    assert find_damage(read_environment({"MLOPS_HOME": str(tmp_path / "new")})) == []
    plan = home.deployments / NAME / "plan.json"
    first = plan.read_bytes()
    promotions_of(home).roll_back(reason="worse", by="ana", at=AT)
    plan.write_bytes(first)  # the process died before servers could read the new plan
    assert find_damage(read_environment({"MLOPS_HOME": str(home.root)})) == []
    assert [*find_unservable(read_environment({"MLOPS_HOME": str(home.root)}))] == []


def test_each_fault_has_a_line_of_its_own(home: Home) -> None:
    cut(home.mlflow / "mlflow.db")
    garble(home.dagster / "history" / "runs.db")
    assert len(find_damage(read_environment({"MLOPS_HOME": str(home.root)}))) == 2


@pytest.mark.parametrize("damage", ["no file", "other bytes", "no folder", "no public key"])
def test_a_version_in_force_that_cannot_serve_is_named_with_the_way_through(home: Home, damage: str) -> None:
    folder = home.deployments / NAME / "models" / "2"
    if damage == "no file":
        (folder / "model.onnx").unlink()
    if damage == "other bytes":
        (folder / "model.onnx").write_bytes(tiny_model(3))
    if damage == "no folder":
        folder.rename(home.root / "aside")
    if damage == "no public key":
        next((home.keys / "public").iterdir()).unlink()
    settings = read_environment({"MLOPS_HOME": str(home.root)})
    assert find_damage(settings) == []
    (line,) = find_unservable(settings)
    assert line.startswith("flight_delay · version 2 cannot serve: ")
    assert line.endswith("Restore deployments/flight_delay/models/2 from a backup, or run `mlops rollback flight_delay`.")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_home_that_this_user_cannot_write_is_named(template_home: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="mlops-damage-", dir="/tmp") as folder:
        root = Path(shutil.copytree(template_home, Path(folder) / "home"))
        for path in (root.parent, *root.rglob("*"), root):
            path.chmod(0o755)
        settings = read_environment({"MLOPS_HOME": str(root)})

        def look() -> None:
            lines = find_damage(settings)
            assert lines and all("cannot be written by this user. Make it a writable folder" in line for line in lines)

        as_user(look, uid=STRANGER, gid=STRANGER)
