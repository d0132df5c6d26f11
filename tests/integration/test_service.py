import os
import pickle
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from mlops_assets.ports.deployment import Deployment
from mlops_assets.ports.home import Home
from mlops_assets.ports.live_service import LiveService, NobodyAnswers, RequestRefused
from mlops_assets.ports.prediction_log import PredictionLog
from mlops_assets.ports.signing_keys import SigningKeys
from mlops_assets.serving.launch import serve_command, serve_environment
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import FLIGHT, blessed, flip_a_bit, place_blessed, tiny_model

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).parents[2]
AT = "2013-07-01T12:00:00+00:00"
READY_S = 60


@dataclass
class Server:
    home: Home
    url: str
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", trust_env=False)

    def post(self, content: bytes) -> httpx.Response:
        return httpx.post(f"{self.url}/predict", content=content, trust_env=False, timeout=30)

    def end(self, which: signal.Signals) -> int:
        """What `mlops up` and Kubernetes do: tell the parent, and wait."""
        self.process.send_signal(which)
        return self.process.wait(timeout=20)

    def kill(self) -> None:
        """kill -9 of the parent and of its worker, which has a session of its own and would go on answering."""
        parent = psutil.Process(self.process.pid)
        for process in (parent, *parent.children(recursive=True)):
            process.kill()
        self.process.wait(timeout=20)


@contextmanager
def started(home: Home) -> Iterator[Server]:
    """A real server, answering /livez; whatever is left of it is killed at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = serve_command(port, service="tests.integration.flights_service:Service")
    environment = serve_environment(home, USE_CASE.name, environment="test", inherited=os.environ)
    home.root.mkdir(exist_ok=True)
    with (home.root / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=log, stderr=log)
    server = Server(home, f"http://127.0.0.1:{port}", process)
    try:
        wait_until(lambda: answers(server), READY_S, (home.root / "server.log").read_text)
        yield server
    finally:
        if process.poll() is None:
            server.kill()


def answers(server: Server) -> bool:
    try:
        return server.get("/livez").is_success
    except httpx.TransportError:
        return False


def wait_until(condition: Any, timeout_s: float, explain: Any) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.05)


@dataclass
class Traffic:
    """Clients that ask without pause until `stop`, and everything they were told."""

    url: str
    answered: list[tuple[float, str, int]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def start(self, clients: int) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        return threads

    def _ask(self) -> None:
        service = LiveService(self.url)
        while not self.stopped.is_set():
            try:
                for prediction in service.predict([FLIGHT]):
                    self.answered.append((time.monotonic(), prediction["prediction_id"], prediction["model_version"]))
            except (RequestRefused, NobodyAnswers) as failure:
                self.failures.append(failure)
                return
        service.close()


@contextmanager
def traffic(server: Server, clients: int = 3) -> Iterator[Traffic]:
    flow = Traffic(server.url)
    threads = flow.start(clients)
    try:
        yield flow
    finally:
        flow.stopped.set()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the module: it starts without a champion, and version 1 answers after that was looked at."""
    home = Home(tmp_path_factory.mktemp("home"))
    with started(home) as server:
        assert server.get("/readyz").status_code == 503
        refused = server.post(b'{"rows": []}'), server.post(b"{")
        assert [response.status_code for response in refused] == [400, 400]
        with pytest.raises(RequestRefused, match=r"HTTP 503 .*no champion answers"):
            LiveService(server.url).predict([FLIGHT])
        place_blessed(home, 1, bias=-1).point(1, AT, "first")
        LiveService(server.url).wait_until_serving(1, timeout_s=5)
        yield server
        assert server.end(signal.SIGINT) == 0


@pytest.fixture
def service(server: Server) -> LiveService:
    return LiveService(server.url)


def test_a_ready_server_is_healthy_documented_and_counted(server: Server, service: LiveService):
    service.predict([FLIGHT])
    assert server.get("/readyz").status_code == 200
    assert "/predict" in server.get("/docs.json").json()["paths"]
    assert server.get("/").status_code == 200
    counted = [line for line in server.get("/metrics").text.splitlines() if "request_total" in line and "/predict" in line]
    for status in ("200", "400", "503"):
        assert any(f'http_response_code="{status}"' in line for line in counted), (status, counted)


def test_a_thousand_rows_are_answered_at_once(service: LiveService, server: Server):
    predictions = service.predict([FLIGHT | {"flight": 1 + index} for index in range(1000)])
    assert len({prediction["prediction_id"] for prediction in predictions}) == 1000
    rows, _ = PredictionLog(server.home.prediction_log, USE_CASE).read()
    said = {prediction["prediction_id"]: index + 1 for index, prediction in enumerate(predictions)}
    logged = {name: flight for name, flight in rows.select("prediction_id", "flight").iter_rows() if name in said}
    assert logged == said


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"no json", None),
        (b'{"rows": []}', "rows"),
        (b'{"rows": [{}]}', "carrier"),
        (b'{"rows": [{"carrier": "UA", "flight": NaN}]}', "flight"),
        (b'{"rows": ' + b"[" * 100_000, None),
        (b'{"rows": [' + b"{}," * 10_000 + b"{}]}", "rows"),
    ],
    ids=["no json", "no rows", "no fields", "NaN", "too deep", "too many"],
)
def test_a_bad_request_is_told_what_is_legal(server: Server, content: bytes, field: str | None):
    response = server.post(content)
    assert response.status_code == 400
    said = response.json()
    assert field in [error["field"] for error in said["errors"]] and len(said["errors"]) <= 20
    assert set(said["error"]) == {"row", "field", "found", "legal", "next"}


def test_a_new_champion_takes_over_within_two_seconds_and_no_request_fails(server: Server):
    deployment = place_blessed(server.home, 2, bias=1)
    with traffic(server) as flow:
        time.sleep(0.5)
        for version in (2, 1):
            pointed = time.monotonic()
            deployment.point(version, AT, "better")
            time.sleep(2.2)
            first = min(moment for moment, _, served in flow.answered if served == version and moment > pointed)
            last_old = max(moment for moment, _, served in flow.answered if served != version)
            assert max(first, last_old) - pointed < 2
    assert flow.failures == [] and len(flow.answered) > 100


def test_nothing_unblessed_is_served_and_the_old_one_answers_on(server: Server, service: LiveService):
    deployment = Deployment(server.home.deployments, USE_CASE.name)
    keys = SigningKeys(server.home.keys)
    model, pickled = tiny_model(2), pickle.dumps({"a": "pickle"})
    deployment.place(11, model, blessed(model, keys).to_json())
    flip_a_bit(server.home.deployments / USE_CASE.name / "models" / "11" / "model.onnx")
    deployment.place(12, model, replace(blessed(model, keys), signature="").to_json())
    deployment.place(13, pickled, blessed(pickled, keys).to_json())
    for version, why in ((11, "not the blessed one"), (12, "was altered"), (13, "onnxruntime refuses it")):
        deployment.point(version, AT, "an attempt")
        wait_until(lambda why=why: why in str((service.plan() or {})["last_load_error"]), 5, service.plan)
        assert service.predict([FLIGHT])[0]["model_version"] == 1
    deployment.point(1, AT, "back")
    wait_until(lambda: (service.plan() or {})["last_load_error"] is None, 5, service.plan)


def test_every_answer_is_in_the_log_exactly_once_after_kill_9_and_the_next_start_serves_on(tmp_path: Path):
    home = Home(tmp_path)
    place_blessed(home, 1, bias=-1).point(1, AT, "first")
    with started(home) as server, traffic(server) as flow:
        wait_until(lambda: len(flow.answered) > 50, 20, lambda: flow.failures)
        server.kill()
        assert not answers(server)
    logged = PredictionLog(home.prediction_log, USE_CASE).read()[0]["prediction_id"]
    assert logged.is_unique().all()
    assert {prediction_id for _, prediction_id, _ in flow.answered} <= set(logged)
    with started(home) as server:
        assert LiveService(server.url).predict([FLIGHT])[0]["model_version"] == 1
        assert server.end(signal.SIGTERM) == 0
    assert len(PredictionLog(home.prediction_log, USE_CASE).segments()) == 2
    assert LiveService(server.url).plan() is None
