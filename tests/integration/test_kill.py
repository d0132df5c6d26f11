"""A line that is killed at any moment can be started again: same tables, one champion, a plan that holds."""

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
SEED, KILLS = 7, 2


def landed(root: Path) -> Home:
    landing = Landing(root / "landing")
    for each in deliveries(package_folder(), FIRST, LAST):
        landing.put(SMALL.name, each.table, day=each.day, rows=each.rows)
    return Home(root)


def start(home: Home) -> subprocess.Popen[str]:
    variables = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(home.root)], env=variables, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


def run_to_the_end(home: Home) -> list[str]:
    """What the run said of its events, line by line."""
    process = start(home)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said[-3000:]
    return [line for line in said.splitlines() if " - dagster - " in line]


def run_and_kill(home: Home, event: int) -> int:
    """Ends the process at once when it has said so many events; they come in the same order whatever the machine's load."""
    process, seen = start(home), 0
    assert process.stderr is not None
    for line in process.stderr:
        seen += " - dagster - " in line
        if seen >= event:
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
    kinds = [each.kind for each in ledger.records(SMALL.name)]
    assert kinds == ["blessing", "promotion"], "the same model again is no new plan"
    assert ledger.verify(SMALL.name, mirrored=(plan.number, plan.record)) == []
    assert deployment.versions() == [plan.champion]
    assert current(registry, SMALL.name).aliases == {names.CHAMPION: plan.champion}
    onnx, blessing = deployment.load(plan.champion)
    verify(Blessing.from_json(blessing), use_case=SMALL.name, onnx=onnx, public_keys=SigningKeys(home.keys).public())
    assert onnx == registry.load(names.registered_model(SMALL.name), plan.champion)


def test_a_line_killed_anywhere_ends_as_if_it_had_never_been(tmp_path: Path) -> None:
    calm, killed = landed(tmp_path / "calm"), landed(tmp_path / "killed")
    said = run_to_the_end(calm)
    check_champion(calm)
    # Twice anywhere, and once with the champion in place: the last run then trains and blesses the same model again.
    promoted = next(number for number, line in enumerate(said) if "flight_delay__service" in line and "STEP_START" in line)
    moments = [*random.Random(SEED).sample(range(1, promoted), KILLS), promoted]
    assert [run_and_kill(killed, event) for event in moments] == [-signal.SIGKILL] * len(moments)
    run_to_the_end(killed)
    expected, found = tables_of(calm), tables_of(killed)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not found[name].equals(expected[name])] == []
    check_champion(killed)
