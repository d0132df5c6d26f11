"""Clients that send harmful requests, and bounds on the harm; the proxy in front cuts off slow ones (deploy/README.md)."""

import socket
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from threading import Event, Thread

import psutil

from tests.integration.running_service import Server
from tests.integration.traffic import given, looked_up, traffic

MB = 1024 * 1024
PROMPT_S = 1.5  # for the other clients, on a machine that runs tests; a request takes some milliseconds


@dataclass
class Memory:
    """Of a process, while it is watched: resident bytes before, and at most."""

    before: int
    most: int = 0
    ended: Event = field(default_factory=Event)

    def watch(self, process: psutil.Process) -> None:
        while not self.ended.wait(0.02):
            self.most = max(self.most, process.memory_info().rss)

    @property
    def grew_mb(self) -> float:
        return (self.most - self.before) / MB


@contextmanager
def unharmed(server: Server, max_grown_mb: float) -> Generator[None]:
    """Within the block, every request of other clients is answered promptly, and memory stays bounded."""
    worker = server.worker()
    memory = Memory(worker.memory_info().rss)
    watching = Thread(target=memory.watch, args=(worker,))
    watching.start()
    try:
        with traffic(server, clients=1, asks=(given, looked_up)) as flow:
            time.sleep(0.1)
            yield
            time.sleep(0.1)
    finally:
        memory.ended.set()
        watching.join()
    assert flow.sent == flow.answers > 10 and flow.longest_s < PROMPT_S
    assert memory.grew_mb < max_grown_mb
    assert server.worker().pid == worker.pid


def sent(server: Server, head: str, pieces: Iterable[bytes]) -> int | None:
    """The status of a request sent as far as the server reads it; None when the connection was cut before."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        with suppress(OSError):  # the server may have stopped reading and sent its response
            connection.sendall(f"POST /predict HTTP/1.1\r\nHost: test\r\n{head}\r\n\r\n".encode())
            for piece in pieces:
                connection.sendall(piece)
        try:
            response = HTTPResponse(connection)
            response.begin()
            return response.status
        except (OSError, HTTPException):
            return None
