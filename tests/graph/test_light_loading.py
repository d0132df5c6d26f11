"""The code location loads without the libraries of the work, so that every run worker starts fast."""

import json
import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
HEAVY = {
    "torch", "pytorch_lightning", "lightning", "feast", "mlflow", "evidently", "bentoml", "sklearn", "skl2onnx", "onnx", "lightgbm", "onnxmltools",
    "onnxruntime", "optuna", "matplotlib", "pandera",
}  # fmt: skip
# Not forbidden, but they cost more than all our definitions together. A transform takes `pl` from use_cases/polars_later.py,
# everything else imports them inside the function that needs them.
ONLY_IN_RUNS = {"polars", "numpy", "pandas", "pyarrow", "deltalake", "dagster_polars"}
LOAD = """
import json, sys
from mlops_assets.definitions import defs
keys = [key.to_user_string() for key in defs().resolve_asset_graph().get_all_asset_keys()]
print(json.dumps([keys, sorted(sys.modules)]))
"""

STATUS = """
import json, sys
from typer.testing import CliRunner
from mlops_assets.cli.app import app
commands = sorted(sys.modules)
result = CliRunner().invoke(app, ["status"])
print(json.dumps([[result.output, *commands], sorted(sys.modules)]))
"""


def loaded(home: Path, script: str = LOAD) -> tuple[list[str], set[str]]:
    variables = {**os.environ, "MLOPS_ENV": "test", "MLOPS_HOME": str(home), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    keys, modules = json.loads(done.stdout.splitlines()[-1])
    return keys, set(modules)


def test_loading_every_definition_opens_no_heavy_library_and_writes_nothing(tmp_path: Path) -> None:
    keys, modules = loaded(tmp_path)
    assert "flight_delay/candidate" in keys
    assert modules & (HEAVY | ONLY_IN_RUNS) == set()
    assert list(tmp_path.iterdir()) == []


def test_the_commands_load_no_heavy_library_and_status_none_of_the_tables(tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    (tmp_path / "landing" / "tumor").mkdir(parents=True)
    (output, *commands), status = loaded(tmp_path, STATUS)
    assert {*commands} & (HEAVY | ONLY_IN_RUNS | {"dagster", "redis"}) == set()
    assert "first model, with enough data" in output, "it has read the event log"
    assert status & (HEAVY | ONLY_IN_RUNS | {"redis"}) == set()
