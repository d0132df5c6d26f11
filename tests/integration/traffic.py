"""Continuous clients of the prediction service that count all requests and answers, and compare them with the prediction log.

A request ends in one of three ways: answered, refused with a status, or cut: its connection ended after the request was sent
and before any answer. A request that could not connect is sent again.
"""

import http.client
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any, NamedTuple

import polars as pl

from mlops_assets.foundation.home import Home
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.integration.running_service import Server
from tests.serving.flights import FLIGHT

CLIENTS = 4
PATIENCE_S = 30  # for one request, with its retries
INLINE, QUEUED, LARGE = 1, 60, 250  # rows: each size takes another path through the service
NOTHING = dict.fromkeys(USE_CASE.features.inputs)


class Answered(NamedTuple):
    """The answer that a client got for one row."""

    version: int
    arm: str
    probability: float
    plan: int


class Difference(NamedTuple):
    """Predictions, by how the clients and the log disagree about them."""

    answered_not_logged: int
    logged_not_answered: int
    logged_otherwise: int
    logged_again: int
    answered_again: int = 0  # one id in two answers


AGREED = Difference(0, 0, 0, 0)


def flights(first: int, count: int) -> list[dict[str, Any]]:
    return [FLIGHT | {"flight": 1 + (first + place) % 9999} for place in range(count)]


def looked_up(turn: int, count: int = INLINE) -> dict[str, Any]:
    return {"rows": flights(turn, count)}


def given(turn: int, count: int = INLINE) -> dict[str, Any]:
    return {"features": [NOTHING | {"temp": float((turn + place) % 90)} for place in range(count)], "rows": flights(turn, count)}


ASKS: tuple[Callable[[int], dict[str, Any]], ...] = (
    *(given, looked_up) * 4,
    lambda turn: given(turn, QUEUED),
    lambda turn: looked_up(turn, QUEUED),
    lambda turn: looked_up(turn, LARGE),
)


@dataclass
class Traffic:
    """Clients that send requests without pause until they are stopped, and all their answers. With `again`, a request that
    was cut is sent again to the next server: it was not answered, though it may have been processed.
    """

    servers: Sequence[Server]
    asks: Sequence[Callable[[int], dict[str, Any]]] = ASKS
    again: bool = False
    sent: int = 0
    answers: int = 0
    cut: int = 0
    not_connected: int = 0
    rows_cut: int = 0
    answered_again: int = 0
    refused: Counter[int] = field(default_factory=Counter[int])
    answered: dict[str, Answered] = field(default_factory=dict[str, Answered])
    moments: list[float] = field(default_factory=list[float])
    longest_s: float = 0.0
    logged: pl.DataFrame = field(default_factory=pl.DataFrame)
    stopped: Event = field(default_factory=Event)
    _lock: Lock = field(default_factory=Lock)

    def run(self, number: int) -> None:
        """Runs one client, from its first request to `stopped`."""
        client = _Client(self, number)
        for turn in itertools.count(number * 1000):
            if self.stopped.is_set():
                return client.leave()
            client.ask(self.asks[turn % len(self.asks)](turn))

    def count_sent(self) -> None:
        with self._lock:
            self.sent += 1

    def was_cut(self, rows: int) -> None:
        with self._lock:
            self.cut += 1
            self.rows_cut += rows

    def could_not_connect(self) -> None:
        with self._lock:
            self.not_connected += 1

    def record(self, status: int, body: bytes, seconds: float) -> None:
        with self._lock:
            self.longest_s = max(self.longest_s, seconds)
            if status != 200:
                self.refused[status] += 1
                return
            answer = json.loads(body)
            self.answers += 1
            self.moments.append(time.monotonic())
            for prediction in answer["predictions"]:
                self.answered_again += prediction["prediction_id"] in self.answered
                row = Answered(prediction["model_version"], prediction["arm"], prediction["probability"], answer["plan"])
                self.answered[prediction["prediction_id"]] = row

    def difference(self) -> Difference:
        """Compares the log since the clients began with their answers."""
        names = ("prediction_id", "model_version", "arm", "probability", "plan")
        kept = {name: Answered(*values) for name, *values in self.logged.select(names).iter_rows()}
        missing, more = self.answered.keys() - kept.keys(), kept.keys() - self.answered.keys()
        otherwise = sum(kept[name] != answer for name, answer in self.answered.items() if name in kept)
        return Difference(len(missing), len(more), otherwise, len(self.logged) - len(kept), self.answered_again)

    def is_accounted_for(self) -> bool:
        """Every request ended in exactly one way."""
        return self.sent == self.answers + self.refused.total() + (0 if self.again else self.cut)


class _Client:
    """One connection to one of the servers, kept alive between requests."""

    def __init__(self, traffic: Traffic, number: int) -> None:
        self._traffic = traffic
        first = number % len(traffic.servers)
        self._servers = itertools.cycle([*traffic.servers[first:], *traffic.servers[:first]])
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, request: dict[str, Any]) -> None:
        self._traffic.count_sent()
        body, began = json.dumps(request), time.monotonic()
        while time.monotonic() < began + PATIENCE_S:
            connection = self._connected()
            if connection is None:
                continue
            try:
                connection.request("POST", "/predict", body)
                response = connection.getresponse()
                self._traffic.record(response.status, response.read(), time.monotonic() - began)
                return
            except (OSError, http.client.HTTPException):
                self.leave()
                self._traffic.was_cut(max(len(part) for part in request.values()))
                if not self._traffic.again:
                    return

    def leave(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> http.client.HTTPConnection | None:
        if self._connection is None or self._connection.sock is None:
            connection = http.client.HTTPConnection("127.0.0.1", next(self._servers).port, timeout=PATIENCE_S)
            try:
                connection.connect()
            except OSError:
                self._traffic.could_not_connect()
                time.sleep(0.02)
                return None
            self._connection = connection
        return self._connection


@contextmanager
def traffic(*servers: Server, clients: int = CLIENTS, **options: Any) -> Generator[Traffic]:
    """Several clients, stopped at the end; then `logged` holds the rows of the prediction log since their start."""
    flow, log = Traffic(servers, **options), log_of(servers[0].home)
    _, before = log.read()
    threads = [Thread(target=flow.run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield flow
    finally:
        flow.stopped.set()
        for thread in threads:
            thread.join()
        flow.logged, _ = log.read(before)


def log_of(home: Home) -> PredictionLog:
    return PredictionLog(home.prediction_log, USE_CASE)
