"""What clients and operators read of a server that fails: one clear message, and no folder, address or stack frame."""

import json
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

from mlops_assets.foundation.home import Home
from tests.integration.running_service import AT, PROJECT, Server, started, wait_until
from tests.serving.flights import FLIGHT, flip_a_bit, place_blessed

pytestmark = pytest.mark.integration

INTERNAL = re.compile(r"Traceback|File \"|site-packages|\.py\b|line \d+, in|0x[0-9a-f]{6}|10\.1\.2\.3|127\.0\.0\.1|RuntimeError")
JSON = {"Content-Type": "application/json"}
ROW = json.dumps({"rows": [FLIGHT]}).encode()
REQUESTS = [
    ("GET", "/nothing", b"", 404),
    ("GET", "/../../etc/passwd", b"", 404),
    ("GET", "/static_content/../../service.py", b"", 404),
    ("POST", "/nothing", b"{}", 404),
    ("GET", "/predict", b"", 405),
    ("DELETE", "/predict", b"", 405),
    ("POST", "/plan", b"{}", 405),
    ("POST", "/readyz", b"{}", 405),
    ("PUT", "/docs.json", b"{}", 405),
    ("POST", "/predict", b"{", 400),
    ("POST", "/predict", b"\xff\x00", 400),
    ("POST", "/predict", b" " * (16 * 1024 * 1024 + 1), 413),
    ("POST", "/predict", ROW, 500),
    ("GET", "/plan", b"", 200),
    ("GET", "/metrics", b"", 200),
    ("GET", "/docs.json", b"", 200),
    ("GET", "/schema.json", b"", 200),
    ("GET", "/livez", b"", 200),
]


def response_text(server: Server, method: str, path: str, body: bytes) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # the server refuses a large body before it has come
            connection.request(method, path, body or None, JSON)
        response = connection.getresponse()
        return response.status, f"{response.getheaders()}\n{response.read().decode()}"
    finally:
        connection.close()


def is_internal(server: Server, text: str) -> list[str]:
    return INTERNAL.findall(text) + [str(place) for place in (server.home.root, PROJECT, sys.prefix) if str(place) in text]


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(Home(tmp_path_factory.mktemp("home")), "tests.integration.varied_services:Crashing")
    place_blessed(server.home, 1, bias=-1).point(1, AT, "first")
    with started(server):
        yield server


@pytest.mark.parametrize(("method", "path", "body", "status"), REQUESTS, ids=lambda value: str(value)[:24])
def test_no_response_shows_what_is_inside(crashing: Server, method: str, path: str, body: bytes, status: int):
    status_code, text = response_text(crashing, method, path, body)
    assert (status_code, is_internal(crashing, text)) == (status, []), text[:500]


def test_the_operator_reads_the_cause_of_a_crash_in_the_log(crashing: Server):
    response_text(crashing, "POST", "/predict", ROW)
    wait_until(lambda: "10.1.2.3:6379" in crashing.last_words(), 5, crashing.last_words)
    assert "10.1.2.3:6379" in crashing.last_words()


def test_a_server_whose_model_file_is_damaged_starts_and_says_why(tmp_path: Path):
    server = Server(Home(tmp_path / "my-home"))
    place_blessed(server.home, 1, bias=-1).point(1, AT, "first")
    flip_a_bit(next(server.home.deployments.rglob("model.onnx")))
    with started(server):
        status, text = response_text(server, "GET", "/readyz", b"")
        assert status == 503 and "no champion serves yet: plan 1 is not taken · version 1 is not served" in text
        assert is_internal(server, text) == [] and "home" not in text
    lines = [line for line in server.log.read_text().splitlines() if "is not taken" in line]
    assert len(lines) == 1 and "Traceback" not in server.log.read_text(), server.last_words()


def test_a_server_on_a_port_of_another_program_ends_with_one_message(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = Server(Home(tmp_path), port=other.getsockname()[1])
        server.start()
        assert server.running().wait(timeout=60) == 1
    log = server.log.read_text()
    assert "Traceback" not in log, log
    assert f"--port {server.port} · another program uses the port. Stop it, or pass a free port with --port.\n" in log
