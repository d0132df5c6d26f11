"""A real Prometheus and a real Alertmanager on free loopback ports, where their binaries are installed (.ci/run does)."""

import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlops_assets.local.processes import free_port

BINARIES = {name: shutil.which(name) for name in ("prometheus", "promtool", "prometheus-alertmanager", "amtool")}
MISSING = [name for name, path in BINARIES.items() if path is None]
needs_prometheus = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (.ci/run installs them on Debian)"
)
START_S = 60


def check(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs promtool or amtool."""
    return subprocess.run([BINARIES[name] or name, *map(str, arguments)], capture_output=True, text=True, check=False)


class Prometheus:
    """Its API at `url`."""

    def __init__(self, url: str) -> None:
        self.url, self._client = url, httpx.Client(base_url=f"{url}/api/v1", trust_env=False, timeout=10)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        response = self._client.get("/query", params={"query": expression}).raise_for_status()
        return response.json()["data"]["result"]

    def query_range(self, expression: str, *, since: float, until: float, step_s: float) -> list[dict[str, Any]]:
        span = {"query": expression, "start": since, "end": until, "step": step_s}
        return self._client.get("/query_range", params=span).raise_for_status().json()["data"]["result"]

    def firing(self) -> dict[str, dict[str, Any]]:
        """By the names of the alerts."""
        alerts = self._client.get("/alerts").raise_for_status().json()["data"]["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in alerts if alert["state"] == "firing"}

    def targets(self) -> dict[str, str]:
        """The health by job."""
        active = self._client.get("/targets").raise_for_status().json()["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in active}


@contextmanager
def running_prometheus(folder: Path, alertmanager_port: int) -> Generator[Prometheus]:
    """With prometheus.yml and alertmanager.yml of the folder."""
    port = free_port()
    ready = {
        f"http://127.0.0.1:{alertmanager_port}/-/ready": [
            BINARIES["prometheus-alertmanager"] or "", f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alerts'}", f"--web.listen-address=127.0.0.1:{alertmanager_port}",
            "--cluster.listen-address=",
        ],
        f"http://127.0.0.1:{port}/-/ready": [
            BINARIES["prometheus"] or "", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'series'}",
            f"--web.listen-address=127.0.0.1:{port}", "--query.lookback-delta=30s",
        ],
    }  # fmt: skip
    processes = list[subprocess.Popen[bytes]]()
    try:
        for command in ready.values():
            with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
                processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
        for url, command in ready.items():
            _wait_for(url, folder / f"{Path(command[0]).name}.log")
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise TimeoutError(f"{url} did not answer within {START_S} s: {log.read_text()[-2000:]}")
