"""Real servers of the prediction service, each on a port and a home of the test: start, send one request, kill, stop, read metrics."""

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from mlops_assets.foundation.home import Home
from mlops_assets.local.platform import SERVICE, serve_command, serve_environment
from mlops_assets.local.processes import free_port
from mlops_assets.use_cases.flight_delay import USE_CASE

PROJECT = Path(__file__).parents[2]
AT = "2013-07-01T12:00:00+00:00"
READY_S = 60
DRAINED_S = 20


@dataclass(frozen=True)
class Response:
    """A complete HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """One server; `service` names what Bento serves, `variables` are added to its environment."""

    home: Home
    service: str = SERVICE
    variables: dict[str, str] = field(default_factory=dict[str, str])
    port: int = field(default_factory=free_port)
    process: psutil.Popen | None = None

    @property
    def log(self) -> Path:
        return self.home.root / f"server-{self.port}.log"

    def start(self) -> None:
        environment = serve_environment(self.home, USE_CASE.name, environment="test", inherited=os.environ)
        self.home.root.mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            self.process = psutil.Popen(
                serve_command(self.port, service=self.service),
                cwd=PROJECT,
                env=environment | self.variables,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def running(self) -> psutil.Popen:
        assert self.process is not None, "the server was never started"
        return self.process

    def worker(self) -> psutil.Process:
        """The serving process; its parent only restarts it when it dies."""
        (worker,) = self.running().children(recursive=True)
        return worker

    def ask(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Response:
        """One request on a connection of its own: POST where there is a body. Raises OSError, HTTPException."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET" if body is None else "POST", path, body, dict(headers or {}))
            response = connection.getresponse()
            return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
        finally:
            connection.close()

    def predict(self, request: object, path: str = "/predict", **headers: str) -> Response:
        return self.ask(path, json.dumps(request).encode(), headers)

    def plan(self) -> Any:
        return self.ask("/plan").content

    def answers(self, path: str = "/livez") -> bool:
        try:
            return self.ask(path).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def counted(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels; 0 where there is none."""
        families = text_string_to_metric_families(self.ask("/metrics").body.decode())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def end(self, which: signal.Signals = signal.SIGTERM) -> int:
        """As `mlops up` and Kubernetes do: signals the parent, and waits."""
        self.running().send_signal(which)
        return self.running().wait(timeout=DRAINED_S)

    def kill(self) -> None:
        """kill -9 of the parent and of its worker, which has a session of its own and would go on serving."""
        if self.running().is_running():
            for process in (self.running(), *self.running().children(recursive=True)):
                process.kill()
            self.running().wait(timeout=DRAINED_S)

    def last_words(self) -> str:
        return self.log.read_text()[-4000:]


@contextmanager
def started(*servers: Server) -> Generator[None]:
    """All of them, once /livez responds; processes still alive at the end are killed."""
    try:
        for server in servers:
            server.start()
        for server in servers:
            wait_until(lambda server=server: server.answers() or not server.running().is_running(), READY_S, server.last_words)
            assert server.running().is_running(), server.last_words()
        yield
    finally:
        for server in servers:
            server.kill()


def wait_until(condition: Callable[[], bool], timeout_s: float, explain: Callable[[], object]) -> float:
    """The seconds it took; fails with the result of `explain` when it takes longer."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + timeout_s, explain()
        time.sleep(0.02)
    return time.monotonic() - began


def wait_for_plan(server: Server, number: int, timeout_s: float = 5) -> float:
    """The seconds until the server has taken the plan of that number."""
    return wait_until(lambda: server.plan()["plan"] == number, timeout_s, server.plan)
