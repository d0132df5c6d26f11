"""The embedded platform as `mlops up` starts it, in a home of its own: everybody answers, the daemon is healthy, nobody stays."""

import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from mlops_assets.platform import running_platform
from mlops_assets.ports.home import Environment, Home

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).parents[2]
LOGS = {"daemon.log", "mlflow.log", "service.log", "webserver.log"}
ASKED = """{
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
  repositoriesOrError { ... on RepositoryConnection { nodes { location { name } } } ... on PythonError { message } }
}"""


def environment(home: Path) -> Environment:
    return Environment(name="test", project=PROJECT, home=Home(home), service_url="http://127.0.0.1:9", use_case="flight_delay")


def processes_of(home: Path) -> list[str]:
    """Whatever still runs for this home, whoever its parent is."""
    found: list[str] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MLOPS_HOME") == str(home):
                found.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    return found


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=30).raise_for_status()


def ask_dagster(url: str) -> dict[str, Any]:
    return httpx.post(f"{url}/graphql", json={"query": ASKED}, trust_env=False, timeout=30).raise_for_status().json()["data"]


def wait_for_health(url: str, seconds: float) -> dict[str, bool]:
    """The required daemons by name, once all are healthy or the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        daemons = ask_dagster(url)["instance"]["daemonHealth"]["allDaemonStatuses"]
        health = {daemon["daemonType"]: bool(daemon["healthy"]) for daemon in daemons if daemon["required"]}
        if all(health.values()) or time.monotonic() > deadline:
            return health
        time.sleep(0.5)


def test_everybody_answers_and_nobody_outlives_the_block(tmp_path: Path) -> None:
    with running_platform(environment(tmp_path), everything=True) as addresses:
        assert get(f"{addresses['service']}/livez")
        assert "MLflow" in get(addresses["mlflow"]).text
        locations = [node["location"]["name"] for node in ask_dagster(addresses["dagster"])["repositoriesOrError"]["nodes"]]
        health = wait_for_health(addresses["dagster"], seconds=40)
        assert len(processes_of(tmp_path)) >= len(LOGS)
    assert set(locations) == {"mlops_assets"}
    assert {"SENSOR", "QUEUED_RUN_COORDINATOR", "ASSET"} <= set(health)
    assert all(health.values()), (health, (tmp_path / "logs" / "daemon.log").read_text()[-2000:])
    assert processes_of(tmp_path) == []
    assert {log.name for log in (tmp_path / "logs").iterdir()} >= LOGS
    assert (PROJECT / "dagster.yaml").read_text() in (tmp_path / "dagster" / "dagster.yaml").read_text()
