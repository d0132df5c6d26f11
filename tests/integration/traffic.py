"""Continuous clients of the prediction service, who keep count of everything that they send and are told.

Belongs here: clients, their counts, and comparing these with the prediction log. Not here: servers (running_service.py).
A question ends in one of three ways: answered, refused with a status, or cut, which is a connection that ended after the
question was sent and before any answer. What could not connect was never sent, and is sent again.
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
PATIENCE_S = 30  # for one question, with everything that is tried again
INLINE, QUEUED, LARGE = 1, 60, 250  # rows: each goes another way through the service
NOTHING = dict.fromkeys(USE_CASE.features.inputs)


class Answered(NamedTuple):
    """What a client was told about one row."""

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
    answered_again: int = 0  # an id that two answers bear


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
    """Clients that ask without pause until they are stopped, and everything they were told. With `again`, what was cut is
    asked again, of the next server: a client can know that nothing has been answered, though not that nothing was done.
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
        """One client, from its first question to `stopped`."""
        client = _Client(self, number)
        for turn in itertools.count(number * 1000):
            if self.stopped.is_set():
                return client.leave()
            client.ask(self.asks[turn % len(self.asks)](turn))

    def asked(self) -> None:
        with self._lock:
            self.sent += 1

    def was_cut(self, rows: int) -> None:
        with self._lock:
            self.cut += 1
            self.rows_cut += rows

    def found_nobody(self) -> None:
        with self._lock:
            self.not_connected += 1

    def told(self, status: int, body: bytes, seconds: float) -> None:
        with self._lock:
            self.longest_s = max(self.longest_s, seconds)
            if status != 200:
                self.refused[status] += 1
                return
            said = json.loads(body)
            self.answers += 1
            self.moments.append(time.monotonic())
            for each in said["predictions"]:
                self.answered_again += each["prediction_id"] in self.answered
                told = Answered(each["model_version"], each["arm"], each["probability"], said["plan"])
                self.answered[each["prediction_id"]] = told

    def difference(self) -> Difference:
        """What the log holds since the clients began, against what they were told."""
        names = ("prediction_id", "model_version", "arm", "probability", "plan")
        kept = {name: Answered(*said) for name, *said in self.logged.select(names).iter_rows()}
        missing, more = self.answered.keys() - kept.keys(), kept.keys() - self.answered.keys()
        otherwise = sum(kept[name] != told for name, told in self.answered.items() if name in kept)
        return Difference(len(missing), len(more), otherwise, len(self.logged) - len(kept), self.answered_again)

    def is_accounted_for(self) -> bool:
        """Every question ended in one way, and only one."""
        return self.sent == self.answers + self.refused.total() + (0 if self.again else self.cut)


class _Client:
    """One connection, kept alive from question to question, to one of the servers."""

    def __init__(self, traffic: Traffic, number: int) -> None:
        self._traffic = traffic
        first = number % len(traffic.servers)
        self._servers = itertools.cycle([*traffic.servers[first:], *traffic.servers[:first]])
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, request: dict[str, Any]) -> None:
        self._traffic.asked()
        body, began = json.dumps(request), time.monotonic()
        while time.monotonic() < began + PATIENCE_S:
            connection = self._connected()
            if connection is None:
                continue
            try:
                connection.request("POST", "/predict", body)
                response = connection.getresponse()
                self._traffic.told(response.status, response.read(), time.monotonic() - began)
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
                self._traffic.found_nobody()
                time.sleep(0.02)
                return None
            self._connection = connection
        return self._connection


@contextmanager
def traffic(*servers: Server, clients: int = CLIENTS, **said: Any) -> Generator[Traffic]:
    """Several clients, stopped at the end; then `logged` holds what the prediction log took meanwhile."""
    flow, log = Traffic(servers, **said), log_of(servers[0].home)
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
