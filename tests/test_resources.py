"""Resources hold typed configuration; a value with a password stays a reference, as the web UI shows configuration."""

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.foundation.home import read_environment
from mlops_assets.home_claim import event_log_id
from mlops_assets.resources import LiveServicesResource, build_resources

SECRETS = {
    "MLOPS_API_KEY": "mlops_sesame ",
    "MLOPS_LEDGER": "postgresql://mlops:sesame@127.0.0.1:1/mlops",
    "MLOPS_MLFLOW_STORE": "postgresql://mlops:sesame@127.0.0.1:1/mlflow",
    "MLOPS_ONLINE_STORE": "redis://:sesame@127.0.0.1:1/0",
}


@pytest.fixture
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SECRETS, "MLOPS_ENV": "production", "MLOPS_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("variables")
def test_no_password_is_part_of_the_configuration() -> None:
    resources = build_resources(read_environment(os.environ))
    assert "sesame" not in repr(resources)
    assert all(name in repr(resources) for name in SECRETS)


class Server(http.server.BaseHTTPRequestHandler):
    """Records the credentials of every request."""

    def do_GET(self) -> None:
        self.server.credentials.append(self.headers["Authorization"])  # type: ignore[attr-defined]
        self.send_error(503)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Server)
    server.credentials = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("variables")
def test_a_secret_reaches_the_port_in_a_run_and_outside_of_one(
    server: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_SERVICE_URL", f"http://127.0.0.1:{server.server_port}")
    live_services = build_resources(read_environment(os.environ))["live_services"]

    @dg.asset
    def calls(live_services: LiveServicesResource) -> None:
        for live in live_services.open("flight_delay"):
            live.plan()

    for live in live_services.open("flight_delay"):
        live.plan()
    assert dg.materialize([calls], resources={"live_services": live_services}).success
    assert server.credentials == ["Bearer mlops_sesame"] * 2  # type: ignore[attr-defined]


def test_an_event_log_keeps_its_id_in_every_process_and_differs_from_another(tmp_path: Path) -> None:
    """Canary: without the id, find what else is stored once per event log, and change `event_log_id` alone."""

    def id_in(folder: Path) -> str:
        folder.mkdir(exist_ok=True)
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            return event_log_id(instance)

    assert id_in(tmp_path / "a") == id_in(tmp_path / "a") != id_in(tmp_path / "b")
