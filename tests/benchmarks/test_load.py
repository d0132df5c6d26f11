import random
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.benchmarks.load import Generator, NotUnderstood, requests_of

STALL_S = 0.5
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def generator(replies: dict[int, bytes], connections: int, stall_at: int | None = None) -> Iterator[Generator]:
    """Asks a real server that gives `replies` by the number of the request (else 200; b"" hangs up), one after the other.

    From request `stall_at` on it stands still for STALL_S, once.
    """
    turn, served = threading.Lock(), iter(range(1_000_000))

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(65536):
                with turn:
                    number = next(served)
                    if number == stall_at:
                        time.sleep(STALL_S)
                reply = replies.get(number, OK)
                if not reply:
                    return
                self.request.sendall(reply)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        made = Generator(("127.0.0.1", server.server_address[1]), requests_of(url, [b"{}"], []), connections)
        yield made
        server.shutdown()


def test_a_stall_delays_every_request_that_was_due_in_it():
    """One connection: without the correction only the one request under way would have met the stall."""
    with generator({}, connections=1, stall_at=50) as asking:
        summary = asking.open_loop(2.0, 200, random.Random(0))
    assert summary["failed"] == {}
    assert summary["max_ms"] >= STALL_S * 1e3
    assert summary["p99_ms"] > 0.8 * STALL_S * 1e3
    assert max(summary["backlog"]) > 0.6 * STALL_S * 200


def test_everything_that_fell_due_is_answered_or_counted_as_failed():
    with generator({3: b"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n", 5: b"", 7: b""}, connections=2) as asking:
        summary = asking.open_loop(1.0, 100, random.Random(1))
    chance, due, moment = random.Random(1), 0, 0.0
    while (moment := moment + chance.expovariate(100)) < 1.0:
        due += 1
    assert summary["failed"] == {"429": 1, "hung up": 2}
    assert abs(summary["answered"] + 3 - due) <= 1  # the last one may fall on the very end


def test_a_closed_loop_counts_only_answers_with_200():
    with generator({0: b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nlate"}, connections=2) as asking:
        summary = asking.closed_loop(0.3)
    assert summary["failed"] == {"500": 1} and summary["answered"] > 10
    assert summary["rate"] == pytest.approx(summary["answered"] / 0.3)


def test_an_answer_without_a_length_is_refused_rather_than_guessed():
    with (
        generator({0: b"HTTP/1.1 200 OK\r\n\r\n{}"}, connections=1) as asking,
        pytest.raises(NotUnderstood, match="Content-Length"),
    ):
        asking.closed_loop(0.3)
