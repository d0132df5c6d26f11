"""A load generator for one HTTP URL in a process of its own: `python -m tests.benchmarks.load URL BODIES ...` prints JSON.

Closed loop (as fast as the connections are answered) without --rate, open loop (Poisson arrivals) with it. In the open loop
a latency counts from the moment at which the request was due, whether or not a connection was free: a server that stalls
cannot delay the requests that would have met it (coordinated omission).
Belongs here: sending, timing, counting. Not here: what is sent, and what is fast enough (bench_service.py).
"""

import argparse
import gc
import json
import random
import select
import socket
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

CHUNK_BYTES = 1 << 16
LAST_ANSWERS_S = 10.0  # how long the answers to what was sent are waited for after the end
HEADER_END, LENGTH = b"\r\n\r\n", b"content-length:"


class NotUnderstood(ValueError):
    """An answer that this generator cannot read."""


@dataclass
class Connection:
    """A keep-alive connection with at most one request under way, which was due at `due` (None: it is free)."""

    address: tuple[str, int]
    due: float | None = None
    received: bytes = b""
    stream: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.stream = socket.create_connection(self.address, timeout=10)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self.stream.sendall(request)

    def receive(self) -> int | None:
        """The status of a whole answer; None while some of it is missing; 0 when the server hung up."""
        chunk = self.stream.recv(CHUNK_BYTES)
        if not chunk:
            return 0
        self.received = received = self.received + chunk
        end = received.find(HEADER_END)
        if end < 0 or len(received) < end + len(HEADER_END) + _length(received, end):
            return None
        self.received = b""
        return int(received[9:12])


@dataclass
class Tally:
    """What came back: seconds of each answer with status 200, the others by status, unanswered requests at most each second."""

    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    failed: Counter[str] = field(default_factory=Counter[str])
    backlog: list[int] = field(default_factory=list[int])

    def count(self, status: int, latency: float) -> None:
        if status == 200:
            self.latencies.append(latency)
        else:
            self.failed[str(status) if status else "hung up"] += 1

    def owed(self, second: int, unanswered: int) -> None:
        while len(self.backlog) <= second:
            self.backlog.append(0)
        self.backlog[second] = max(self.backlog[second], unanswered)

    def summary(self, seconds: float) -> dict[str, Any]:
        """Rate in answers a second, latencies in milliseconds, the backlog second by second."""
        taken = np.frombuffer(self.latencies) * 1e3 if self.latencies else np.array([np.nan])
        p50, p99, p999 = (float(percentile) for percentile in np.percentile(taken, (50, 99, 99.9)))
        return {
            "answered": len(self.latencies), "failed": dict(self.failed), "rate": len(self.latencies) / seconds,
            "p50_ms": p50, "p99_ms": p99, "p999_ms": p999, "max_ms": float(taken.max()), "backlog": self.backlog,
        }  # fmt: skip


class Generator:
    """Sends `requests` over and over on `connections`. The clock is `time.perf_counter`, in seconds.

    A plain select loop, for its timers wait to the microsecond; those of asyncio and uvloop wait to the millisecond.
    """

    def __init__(self, address: tuple[str, int], requests: list[bytes], connections: int) -> None:
        self._requests = cycle(requests)
        self._connections = [Connection(address) for _ in range(connections)]
        self._by_fileno = {connection.stream.fileno(): connection for connection in self._connections}
        self._filenos = list(self._by_fileno)
        self._free = deque(self._connections)
        self._tally = Tally()

    def closed_loop(self, seconds: float) -> dict[str, Any]:
        """Every connection asks again as soon as it is answered."""
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            while self._free:
                self._send(time.perf_counter())
            self._collect(end - now)
        summary = self._tally.summary(seconds)
        self._finish()
        return summary

    def open_loop(self, seconds: float, rate: float, chance: random.Random) -> dict[str, Any]:
        """`rate` requests a second fall due at random; each takes the next free connection."""
        began = time.perf_counter()
        end, due = began + seconds, began + chance.expovariate(rate)
        waiting = deque[float]()
        while (now := time.perf_counter()) < end:
            while due <= now:
                waiting.append(due)
                due += chance.expovariate(rate)
            while waiting and self._free:
                self._send(waiting.popleft())
            self._tally.owed(int(now - began), len(waiting) + len(self._connections) - len(self._free))
            self._collect(min(due, end) - time.perf_counter())
        self._finish(waiting)
        return self._tally.summary(seconds)

    def _send(self, due: float) -> None:
        # Taken in turn, so that none idles until the server closes it.
        connection = self._free.popleft()
        try:
            connection.send(next(self._requests), due)
        except OSError:
            self._hung_up(connection)

    def _collect(self, timeout: float) -> None:
        """Waits for answers, `timeout` seconds at most, and counts those that came."""
        ready, _, _ = select.select(self._filenos, (), (), max(timeout, 0.0))
        for fileno in ready:
            connection = self._by_fileno[fileno]
            try:
                status = connection.receive()
            except ConnectionError:
                status = 0
            if status is None:
                continue
            if status == 0:
                self._hung_up(connection)
            elif connection.due is not None:
                self._tally.count(status, time.perf_counter() - connection.due)
                connection.due = None
                self._free.append(connection)

    def _hung_up(self, connection: Connection) -> None:
        """A request under way has failed; an idle connection is opened again silently."""
        if connection.due is not None:
            self._tally.count(0, 0.0)
            connection.due = None
            self._free.append(connection)
        del self._by_fileno[connection.stream.fileno()]
        connection.stream.close()
        connection.open()
        self._by_fileno[connection.stream.fileno()] = connection
        self._filenos = list(self._by_fileno)

    def _finish(self, waiting: deque[float] | None = None) -> None:
        """Takes the answers still on their way; what was due and stays without one has failed."""
        waiting = deque() if waiting is None else waiting
        deadline = time.perf_counter() + LAST_ANSWERS_S
        while (len(self._free) < len(self._connections) or waiting) and time.perf_counter() < deadline:
            while waiting and self._free:
                self._send(waiting.popleft())
            self._collect(deadline - time.perf_counter())
        if unanswered := len(waiting) + len(self._connections) - len(self._free):
            self._tally.failed["unanswered"] += unanswered


def _length(received: bytes, end: int) -> int:
    """The length of the body, from the header that ends at `end`."""
    header = received[:end].lower()
    position = header.find(LENGTH)
    if position < 0:
        raise NotUnderstood(f"load · an answer without Content-Length: {header[:200]!r}. Make the server send one.")
    return int(header[position + len(LENGTH) :].split(b"\r\n", 1)[0])


def requests_of(url: str, bodies: list[bytes], headers: list[str]) -> list[bytes]:
    """Whole HTTP/1.1 POST requests, one for each body; headers as `Name: value`."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json", *headers]
    start = "\r\n".join(lines).encode()
    return [start + b"\r\nContent-Length: %d" % len(body) + HEADER_END + body for body in bodies]


def main(out: Callable[[str], Any] = print) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("bodies", type=Path, help="one JSON body a line, sent in turn")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rate", type=float, help="requests a second, open loop; closed loop without it")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--header", action="append", default=[], help="such as 'Authorization: Bearer ...'")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    parts = urlsplit(str(options.url))
    requests = requests_of(options.url, options.bodies.read_bytes().splitlines(), options.header)
    generator = Generator((parts.hostname or "", parts.port or 80), requests, options.connections)
    gc.disable()  # nothing here is cyclic, and a collection would count as the server's latency
    if options.rate is None:
        out(json.dumps(generator.closed_loop(options.seconds)))
    else:
        out(json.dumps(generator.open_loop(options.seconds, options.rate, random.Random(options.seed))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
