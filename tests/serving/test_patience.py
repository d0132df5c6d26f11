"""Real uvicorn servers, on the event loop that Bento's worker takes, and clients that write their own bytes."""

import contextlib
import os
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import uvicorn

from mlops_assets.ports.processes import free_port
from mlops_assets.serving.patience import PatientProtocol

GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
TIMEOUT_S = 0.6
MOST = 20
Open = Callable[[], socket.socket]


class Hasty(PatientProtocol):
    """With limits that a test can reach."""

    header_timeout_s = TIMEOUT_S
    max_header_bytes = 8 * 1024
    max_connections = MOST


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Says how many bytes of a body came; /slow takes its time, /early answers without reading."""
    if scope["type"] != "http":
        return
    path, size, more = scope["path"], 0, scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    if path == "/slow":
        import asyncio

        await asyncio.sleep(3 * TIMEOUT_S)
    said = str(size).encode()
    headers = [(b"content-length", str(len(said)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": said})


@pytest.fixture
def connect() -> Generator[Open]:
    config = uvicorn.Config(
        app, port=free_port(), http=Hasty, loop="uvloop", lifespan="off", log_config=None, timeout_keep_alive=30
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    opened: list[socket.socket] = []

    def opening() -> socket.socket:
        opened.append(socket.create_connection(("127.0.0.1", config.port), timeout=10))
        return opened[-1]

    try:
        while not server.started:
            time.sleep(0.01)
        yield opening
    finally:
        for each in opened:
            each.close()
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive()


def answer(client: socket.socket) -> bytes:
    """One whole answer and nothing behind it, or what came before the end."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while not said.endswith(b"\r\n\r\n"):
            said += (byte := client.recv(1))
            if not byte:
                return said
        size = int(re.findall(rb"content-length: (\d+)", said)[0])
        said += client.recv(size, socket.MSG_WAITALL)
    return said


def closed_after_s(client: socket.socket, *, dribble: bytes = b"", every_s: float = 0.1) -> float:
    """Sends `dribble` again and again until the server closes; longer than four timeouts fails."""
    began = time.monotonic()
    client.settimeout(every_s)
    while time.monotonic() - began < 4 * TIMEOUT_S:
        try:
            if client.recv(65536) == b"":
                return time.monotonic() - began
        except TimeoutError:
            with contextlib.suppress(ConnectionError):
                client.sendall(dribble)
        except ConnectionError:
            return time.monotonic() - began
    raise AssertionError("the server keeps the connection")


def test_a_connection_that_says_nothing_is_closed(connect: Open):
    assert TIMEOUT_S * 0.8 < closed_after_s(connect()) < TIMEOUT_S * 2


@pytest.mark.parametrize("dribble", [b"x-slow: 1\r\n", b"x", b""])
def test_headers_that_arrive_slowly_are_cut_off(connect: Open, dribble: bytes):
    client = connect()
    client.sendall(GET[:-2])
    assert TIMEOUT_S * 0.8 < closed_after_s(client, dribble=dribble) < TIMEOUT_S * 2


def test_a_kept_alive_connection_may_idle_longer_than_headers_may_take(connect: Open):
    client = connect()
    for _ in range(2):
        client.sendall(GET)
        assert answer(client).startswith(b"HTTP/1.1 200")
        time.sleep(2 * TIMEOUT_S)
    client.sendall(GET)
    assert answer(client).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("first", [GET, POST + b"12345"])
@pytest.mark.parametrize("dribble", [b"x-slow: 1\r\n", b""])
def test_the_next_request_of_a_kept_alive_connection_is_cut_off_from_its_first_byte(connect: Open, first: bytes, dribble: bytes):
    client = connect()
    client.sendall(first)
    assert answer(client).startswith(b"HTTP/1.1 200")
    time.sleep(1.5 * TIMEOUT_S)
    client.sendall(GET[:-2])
    assert TIMEOUT_S * 0.8 < closed_after_s(client, dribble=dribble) < TIMEOUT_S * 2


def test_bare_line_ends_do_not_keep_a_connection(connect: Open):
    client = connect()
    client.sendall(GET)
    assert answer(client).startswith(b"HTTP/1.1 200")
    assert closed_after_s(client, dribble=b"\r\n") < TIMEOUT_S * 2


def test_a_body_that_was_answered_before_its_end_does_not_keep_a_connection(connect: Open):
    client = connect()
    client.sendall(POST.replace(b" / ", b" /early ").replace(b": 5", b": 5000"))
    assert answer(client).startswith(b"HTTP/1.1 200")
    assert closed_after_s(client, dribble=b"x") < TIMEOUT_S * 2


def test_headers_in_pieces_and_in_time_are_answered(connect: Open):
    client = connect()
    for _ in range(3):
        for piece in (POST[:10], POST[10:30], POST[30:] + b"123"):
            client.sendall(piece)
            time.sleep(TIMEOUT_S / 5)
        time.sleep(1.5 * TIMEOUT_S)  # a body is the application's to end
        client.sendall(b"45")
        assert answer(client).endswith(b"\r\n\r\n5")


@pytest.mark.parametrize("behind", [b"", GET, GET[:-2], b"\r\n"])
def test_an_answer_that_takes_long_is_not_cut_off(connect: Open, behind: bytes):
    client = connect()
    client.sendall(GET.replace(b" / ", b" /slow ") + behind)
    assert answer(client).startswith(b"HTTP/1.1 200")
    if behind == GET[:-2]:
        client.sendall(b"\r\n")
    if behind in (GET, GET[:-2]):
        assert answer(client).startswith(b"HTTP/1.1 200")


def test_requests_in_one_piece_are_all_answered(connect: Open):
    client, said = connect(), b""
    client.sendall((GET + POST + b"12345") * 300)  # 20 KB of headers in one piece, each small
    while said.count(b"HTTP/1.1 200") < 600 or not said.endswith(b"\r\n\r\n5"):
        said += (more := client.recv(65536))
        assert more


@pytest.mark.parametrize("pieces", [1, 20])
@pytest.mark.parametrize("where", ["a header", "many headers", "the url"])
def test_headers_that_are_too_large_are_answered_431(connect: Open, where: str, pieces: int):
    client = connect()
    long = {
        "a header": GET[:-2] + b"x-long: " + b"x" * 9000,
        "many headers": GET[:-2] + b"x-more: 1\r\n" * 900,
        "the url": b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nhost: localhost",
    }[where]
    whole = long + b"\r\n\r\n"
    with contextlib.suppress(ConnectionError):
        for start in range(0, len(whole), step := len(whole) // pieces + 1):
            client.sendall(whole[start : start + step])
            time.sleep(0.01 if pieces > 1 else 0)
    assert answer(client).startswith(b"HTTP/1.1 431")
    assert answer(client) == b""
    assert closed_after_s(client) < 0.5


def test_headers_just_small_enough_are_answered_with_whatever_body(connect: Open):
    client = connect()
    client.sendall(GET[:-2] + b"x-long: " + b"x" * 8000 + b"\r\n\r\n")
    assert answer(client).startswith(b"HTTP/1.1 200")
    client.sendall(POST.replace(b": 5", b": 500000") + b"x" * 500_000)
    assert answer(client).endswith(b"\r\n\r\n500000")
    client.sendall(CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
    assert answer(client).endswith(b"\r\n\r\n50000")


@pytest.mark.parametrize("trailer", [b"x-more: 1\r\n", b"x"])
def test_trailers_after_a_body_are_bounded_too(connect: Open, trailer: bytes):
    client, sent = connect(), 0
    client.sendall(CHUNKED + b"1\r\nx\r\n0\r\nx-trailer: ")
    with pytest.raises(ConnectionError):
        while sent < 50_000_000:
            client.sendall(trailer * 1000)
            sent += len(trailer) * 1000
    assert sent < 20_000_000, "what the sockets hold in between"


def test_above_so_many_connections_the_newest_is_closed_and_the_others_are_answered(connect: Open):
    kept = [connect() for _ in range(MOST)]
    for client in kept:
        client.sendall(GET)
        assert answer(client).startswith(b"HTTP/1.1 200")
    for _ in range(5):
        assert closed_after_s(connect()) < TIMEOUT_S * 0.5
    for client in kept:
        client.sendall(GET)
        assert answer(client).startswith(b"HTTP/1.1 200")
    kept.pop().close()
    time.sleep(0.1)
    client = connect()
    client.sendall(GET)
    assert answer(client).startswith(b"HTTP/1.1 200")


def test_many_slow_clients_keep_nobody_out_for_long(connect: Open):
    for _ in range(MOST):
        connect().sendall(GET[:-2])
    time.sleep(1.5 * TIMEOUT_S)
    client = connect()
    client.sendall(GET)
    assert answer(client).startswith(b"HTTP/1.1 200")


REGISTERED = """
import sys
import uvicorn
from mlops_assets.serving.patience import HttpToolsProtocol, PatientProtocol, cut_off_slow_clients
config = uvicorn.Config("tests.serving.test_patience:app")
cut_off_slow_clients()
config.load()
print(config.http_protocol_class is PatientProtocol, PatientProtocol.max_connections, PatientProtocol.header_timeout_s)
"""


@pytest.mark.parametrize(("files", "connections"), [(256, 128), (10_000, 2000)])
def test_once_registered_it_is_what_uvicorn_takes_within_what_the_process_may_open(files: int, connections: int):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < files:
        pytest.skip(f"this machine allows a process fewer than {files} files")
    run = subprocess.run(
        ["bash", "-c", f'ulimit -Sn {files}; exec "$0" -c "$1"', sys.executable, REGISTERED],
        check=False, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert run.stdout.strip() == f"True {connections} 10.0", run.stderr


BENTO = """
import bentoml
from mlops_assets.serving.patience import PatientProtocol, cut_off_slow_clients

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

PatientProtocol.header_timeout_s = 1.0
cut_off_slow_clients()

@bentoml.service(name="patient", workers=1)
@bentoml.asgi_app(app)
class Patient:
    pass
"""


@pytest.mark.integration
def test_bentos_worker_takes_it(tmp_path: Path):
    (tmp_path / "patient.py").write_text(BENTO)
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", "patient:Patient", "--port", str(port), "--host", "127.0.0.1"]
    said = {"BENTOML_HOME": str(tmp_path / "bento"), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(Path(__file__).parents[2])}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=os.environ | said, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    break
            time.sleep(0.1)
        client = socket.create_connection(("127.0.0.1", port), timeout=10)
        began = time.monotonic()
        client.sendall(GET[:-2])
        assert client.recv(100) == b""
        assert 0.8 < time.monotonic() - began < 3, (tmp_path / "log").read_text()
    finally:
        workers = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(timeout=30)
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
