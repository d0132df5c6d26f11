"""A pipeline that is killed at any moment can be started again: same tables, one champion, a valid plan."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.home import Home
from mlops_assets.ingestion.landing import Landing
from mlops_assets.promotion.blessing import Blessing, verify
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.mlflow_aliases import current
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.training.model_registry import ModelRegistry
from mlops_assets.use_cases.flight_delay.airline import deliveries, package_folder
from tests.integration.small_line import FIRST, LAST, SMALL

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

PROJECT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("small_line.py")
SEED, KILLS = 7, 1


def landed(root: Path) -> Home:
    landing = Landing(root / "landing")
    for file in deliveries(package_folder(), FIRST, LAST):
        landing.put(SMALL.name, file.table, day=file.partition, rows=file.rows)
    return Home(root)


def start(home: Home) -> subprocess.Popen[str]:
    variables = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(home.root)], env=variables, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


def run_to_the_end(home: Home) -> list[str]:
    """The run's event lines."""
    process = start(home)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-3000:]
    return [line for line in errors.splitlines() if " - dagster - " in line]


def run_and_kill(home: Home, event: int) -> int:
    """Kills the process at its n-th event line; the order of events does not depend on the machine's load."""
    process, events = start(home), 0
    assert process.stderr is not None
    for line in process.stderr:
        events += " - dagster - " in line
        if events >= event:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stderr.close()
    return process.wait()


def tables_of(home: Home) -> dict[str, pl.DataFrame]:
    paths = sorted(path.parent for path in home.tables.rglob("_delta_log"))
    frames = {str(path.relative_to(home.tables)): pl.read_delta(str(path)) for path in paths}
    return {name: frame.select(sorted(frame.columns)).sort(pl.all()) for name, frame in frames.items()}


def check_champion(home: Home) -> None:
    deployment, registry = Deployment(home.deployments, SMALL.name), ModelRegistry(home.mlflow)
    plan = deployment.plan()
    assert plan is not None
    ledger = Ledger(f"sqlite:///{home.root / 'ledger.db'}")
    kinds = [record.kind for record in ledger.records(SMALL.name)]
    assert kinds == ["blessing", "promotion"], "the same model again makes no new plan"
    assert ledger.verify(SMALL.name, mirrored=(plan.number, plan.record)) == []
    assert deployment.versions() == [plan.champion]
    assert current(registry, SMALL.name)[names.CHAMPION] == plan.champion
    onnx, blessing = deployment.load(plan.champion)
    signed, keys = Blessing.from_json(blessing), SigningKeys(home.keys).public()
    verify(signed, use_case=SMALL.name, version=plan.champion, onnx=onnx, public_keys=keys, recorded=signed.model_digest)
    assert onnx == registry.load(names.registered_model(SMALL.name), plan.champion)


def test_a_pipeline_killed_at_any_event_ends_with_the_same_tables_and_champion(tmp_path: Path) -> None:
    undisturbed, killed = landed(tmp_path / "undisturbed"), landed(tmp_path / "killed")
    lines = run_to_the_end(undisturbed)
    check_champion(undisturbed)
    # Once at random, and once after the promotion: the last run then trains and blesses the same model again.
    promoted = next(number for number, line in enumerate(lines) if "flight_delay__service" in line and "STEP_START" in line)
    moments = [*random.Random(SEED).sample(range(1, promoted), KILLS), promoted]
    assert [run_and_kill(killed, event) for event in moments] == [-signal.SIGKILL] * len(moments)
    run_to_the_end(killed)
    expected, actual = tables_of(undisturbed), tables_of(killed)
    assert actual.keys() == expected.keys()
    assert [name for name in expected if not actual[name].equals(expected[name])] == []
    check_champion(killed)
