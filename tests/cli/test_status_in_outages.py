"""What `mlops status` and `mlops plan` say while the event log's Postgres and the online store's Redis do not answer."""

import subprocess
import sys
from pathlib import Path

import pytest

from mlops_assets.foundation.home import PROJECT, Home
from tests.graph.line import variables
from tests.promotion.model_line import ModelLine

pytestmark = [pytest.mark.slow, pytest.mark.integration]  # Dagster tries to connect for 6 s
NOBODY = "127.0.0.1:1"
POSTGRES = f"telemetry: {{enabled: false}}\nstorage: {{postgres: {{postgres_url: 'postgresql://u:secret@{NOBODY}/db'}}}}\n"
DATABASE = (
    'the database does not answer · connection failed: connection to server at "127.0.0.1", port 1 failed: Connection refused. '
    "Run the same again once that is over."
)
REDIS = f"online store · Redis at {NOBODY}/0 does not answer: "


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Version 1 serves."""
    line = ModelLine(tmp_path)
    line.bless(1)
    line.promote(1)
    home = Home(tmp_path)
    home.dagster.mkdir()
    (home.dagster / "dagster.yaml").write_text(POSTGRES)
    return home


def run(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    names = variables(home.root) | {"MLOPS_ONLINE_STORE": f"redis://:secret@{NOBODY}/0", "COLUMNS": "1000"}
    command = [sys.executable, "-m", "mlops_assets", *words]
    return subprocess.run(command, env=names, cwd=PROJECT, capture_output=True, text=True, check=False)


def test_status_says_what_serves_and_has_a_line_for_each_store(home: Home) -> None:
    result = run(home, "status", "flight_delay")
    lines = result.stdout.splitlines()
    assert (result.returncode, result.stderr) == (0, "")
    assert f"runs: {home.dagster} cannot be read: {DATABASE}" in lines
    assert [line.startswith(f"features: {REDIS}") for line in lines].count(True) == 1
    assert any(line.startswith("serving: version 1 since ") for line in lines)
    assert "secret" not in result.stdout


def test_the_overview_names_both_stores(home: Home) -> None:
    result = run(home, "status", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert "the database does not answer" in result.stdout and REDIS in result.stdout


def test_plan_fails_with_one_line(home: Home) -> None:
    result = run(home, "plan", "flight_delay")
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"{DATABASE}\n")
