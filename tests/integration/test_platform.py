"""The platform as `mlops up` starts it, in a home of its own: all are ready, the daemon is healthy, no process is left."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from mlops_assets.foundation.home import SHARED, Environment, Home
from mlops_assets.local.platform import running_platform
from mlops_assets.local.processes import free_port

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).parents[2]
LOGS = {"daemon.log", "mlflow.log", "service.log", "webserver.log"}
QUERY = """{
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
  repositoriesOrError { ... on RepositoryConnection { nodes { location { name } } } ... on PythonError { message } }
}"""


def environment(home: Path) -> Environment:
    return Environment(name="test", project=PROJECT, home=Home(home), service_urls={SHARED: ("http://127.0.0.1:0",)})


def processes_of(home: Path) -> list[str]:
    """Every process that runs for this home, whatever its parent."""
    commands: list[str] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MLOPS_HOME") == str(home):
                commands.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    return commands


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=30).raise_for_status()


def query_dagster(url: str) -> dict[str, Any]:
    return httpx.post(f"{url}/graphql", json={"query": QUERY}, trust_env=False, timeout=30).raise_for_status().json()["data"]


def wait_for_health(url: str, seconds: float) -> dict[str, bool]:
    """The required daemons by name, once all are healthy or the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        daemons = query_dagster(url)["instance"]["daemonHealth"]["allDaemonStatuses"]
        health = {daemon["daemonType"]: bool(daemon["healthy"]) for daemon in daemons if daemon["required"]}
        if all(health.values()) or time.monotonic() > deadline:
            return health
        time.sleep(0.5)


def test_all_processes_are_ready_and_none_outlives_the_block(tmp_path: Path) -> None:
    with running_platform(environment(tmp_path), everything=True) as addresses:
        assert get(f"{addresses['service']}/livez")
        assert "MLflow" in get(addresses["mlflow"]).text
        locations = [node["location"]["name"] for node in query_dagster(addresses["dagster"])["repositoriesOrError"]["nodes"]]
        health = wait_for_health(addresses["dagster"], seconds=40)
        assert len(processes_of(tmp_path)) >= len(LOGS)
    assert set(locations) == {"mlops_assets"}
    assert {"SENSOR", "QUEUED_RUN_COORDINATOR", "ASSET"} <= set(health)
    assert all(health.values()), (health, (tmp_path / "logs" / "daemon.log").read_text()[-2000:])
    assert processes_of(tmp_path) == []
    assert {log.name for log in (tmp_path / "logs").iterdir()} >= LOGS
    assert (PROJECT / "dagster.yaml").read_text() in (tmp_path / "dagster" / "dagster.yaml").read_text()


@contextmanager
def mlops_up(home: Path, *, before: str = "", port: int | None = None) -> Iterator["subprocess.Popen[str]"]:
    """`mlops up` of a shell that ran `before`, once everything is ready. `port` of its service: a free one."""
    url = f"http://127.0.0.1:{free_port() if port is None else port}"
    command = ["sh", "-c", f'{before} exec "$@"', "sh", sys.executable, "-m", "mlops_assets", "up"]
    variables = {**os.environ, "MLOPS_ENV": "test", "MLOPS_HOME": str(home), "MLOPS_SERVICE_URL": url}
    with subprocess.Popen(
        command, cwd=PROJECT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            assert any("Ctrl-C" in line for line in process.stdout)
            yield process
        finally:
            process.terminate()


def test_one_interrupt_ends_mlops_up_and_every_process_of_it(tmp_path: Path) -> None:
    with mlops_up(tmp_path, before="trap '' INT;") as process:
        assert len(processes_of(tmp_path)) > len(LOGS)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert processes_of(tmp_path) == []


def test_a_port_in_use_is_named_with_the_address_that_is_used_instead_and_sigterm_ends_every_process(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with mlops_up(tmp_path, port=port) as process:
            assert process.stderr is not None
            line = process.stderr.readline()
            match = re.fullmatch(rf"Another program uses port {port}. For other commands set MLOPS_SERVICE_URL=(\S+)\.\n", line)
            assert match and get(f"{match[1]}/livez") and not match[1].endswith(f":{port}")
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
            assert (process.returncode, errors) == (128 + signal.SIGTERM, "")
            assert processes_of(tmp_path) == []


def test_a_service_or_daemon_that_dies_is_reported_and_started_again_while_the_others_run_on(tmp_path: Path) -> None:
    with mlops_up(tmp_path, port=0) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Port 0 is any free one. For other commands set MLOPS_SERVICE_URL=http")
        for name, command in (("service", "bentoml"), ("daemon", "dagster-daemon")):
            children = psutil.Process(process.pid).children()
            (victim,) = [child for child in children if any(command in word for word in child.cmdline())]
            victim.kill()
            line = process.stderr.readline()
            assert re.match(rf"{name} exited with code -9; it starts again in 1 s\. Its log is {tmp_path}/logs/", line)
            deadline = time.monotonic() + 60
            while not (is_back := any(command in one for one in processes_of(tmp_path))) and time.monotonic() < deadline:
                time.sleep(0.2)
            assert is_back and all(child.is_running() for child in children if child != victim)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert processes_of(tmp_path) == []
