"""One real Bento process of three use cases: a fast one, a slow one, and one without a champion."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any

import bentoml
import pytest
from bentoml.exceptions import BentoMLException

from mlops_assets.foundation.home import Home
from mlops_assets.serving.client import LiveService
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.cli.loans import LOANS
from tests.integration.running_service import AT, Server, started, wait_until
from tests.serving.flights import FLIGHT, place_blessed
from tests.serving.loan_models import LOAN, place_loan_model

pytestmark = pytest.mark.integration

SLOW = 2000  # squared: some 0.2 s for each call of the model
ROWS = {USE_CASE.name: FLIGHT, LOANS.name: LOAN}
# Without a lookup, nothing but the model is slow.
BODIES = {USE_CASE.name: {"rows": [FLIGHT]}, LOANS.name: {"features": [{"amount": 80.0, "last_paid": None, "purpose": "car"}]}}
TOKENS = {USE_CASE.name: "mlops_flights", LOANS.name: "mlops_loans"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = Home(tmp_path_factory.mktemp("home"))
    place_blessed(home, 1, bias=0).point(1, AT, "first")
    for version in (1, 2):
        place_loan_model(home, version, bias=version, size=SLOW).point(version, AT)
    for use_case, token in TOKENS.items():
        name = token.removeprefix("mlops_")
        ApiKeys(home.keys).add(name, datetime.now(UTC), lambda name=name: name, use_cases=(use_case,))
    server = Server(home, "tests.integration.several_services:Several")
    with started(server):
        yield server


@dataclass
class Load:
    """Requests of one client, one after the other: statuses, versions, and the seconds of each."""

    server: Server
    use_case: str
    statuses: list[int] = field(default_factory=list[int])
    versions: list[int] = field(default_factory=list[int])
    seconds: list[float] = field(default_factory=list[float])

    def send(self) -> None:
        began = time.monotonic()
        token = f"Bearer {TOKENS[self.use_case]}"
        reply = self.server.predict(BODIES[self.use_case], f"/{self.use_case}/predict", Authorization=token)
        self.seconds.append(time.monotonic() - began)
        self.statuses.append(reply.status)
        self.versions += [row["model_version"] for row in reply.content.get("predictions", [])]


@contextmanager
def running(*loads: Load) -> Iterator[None]:
    stopped = threading.Event()

    def keep_sending(load: Load) -> None:
        while not stopped.is_set():
            load.send()

    threads = [threading.Thread(target=keep_sending, args=[load]) for load in loads]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def read_ids(home: Home, use_case: UseCase) -> set[str]:
    return {*PredictionLog(home.prediction_log, use_case).read()[0]["prediction_id"]}


def test_a_slow_use_case_is_rolled_back_under_load_and_delays_no_other(server: Server):
    fast, slow = Load(server, USE_CASE.name), [Load(server, LOANS.name) for _ in range(3)]
    before = {name: server.counted("mlops_requests_total", use_case=name, status="200") for name in ROWS}
    with running(fast, *slow):
        wait_until(lambda: all(2 in load.versions for load in slow), 30, server.last_words)
        plan = place_loan_model(server.home, 1, bias=1, size=SLOW).point(1, AT, "rollback")
        with LiveService(f"http://127.0.0.1:{server.port}", use_case=LOANS.name) as live:
            assert live.follows(LOANS.name, lambda: plan, 10).in_force
        wait_until(lambda: all(load.versions[-1:] == [1] for load in slow), 30, server.last_words)
    requests = {USE_CASE.name: len(fast.statuses), LOANS.name: sum(len(load.statuses) for load in slow)}
    assert {*fast.statuses, *(status for load in slow for status in load.statuses)} == {200}
    assert {*fast.versions} == {1} and all({*load.versions} == {1, 2} for load in slow)
    assert median(fast.seconds) < median(slow[0].seconds) / 3, (median(fast.seconds), median(slow[0].seconds))
    counted = {name: server.counted("mlops_requests_total", use_case=name, status="200") - before[name] for name in ROWS}
    assert counted == requests
    flights, loans = read_ids(server.home, USE_CASE), read_ids(server.home, LOANS)
    assert len(flights) == requests[USE_CASE.name] and len(loans) == requests[LOANS.name] and not flights & loans


def test_a_use_case_without_a_champion_says_so_and_the_process_is_ready(server: Server):
    assert server.ask("/readyz").status == 200
    for path in ("/deposits/readyz", "/cars/plan"):
        assert server.ask(path).status == 503
    token = {"Authorization": "Bearer mlops_flights"}
    assert server.ask("/deposits/plan").content["champion"] is None
    assert server.predict({"rows": [LOAN]}, "/deposits/predict", **token).status == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [("/loans/predict", 403), ("/loans%2fpredict", 403), ("/%6Coans/predict", 403), ("/flight_delay/../loans/predict", 404),
     ("/flight_delay/%2e%2e/loans/predict", 404), ("/Loans/predict", 404), ("/loans/predict/", 404), ("//loans/predict", 404),
     ("/predict", 404), ("/loans/predict?x=/flight_delay/predict", 403), ("/loans/predict;x", 404), ("/loans/predict%00", 404),
     ("/flight_delay/predict", 200)],
)  # fmt: skip
def test_a_key_of_one_use_case_reaches_no_other_by_any_path(server: Server, path: str, status: int):
    reply = server.predict({"rows": [FLIGHT]}, path, Authorization="Bearer mlops_flights")
    assert reply.status == status


def test_bento_s_clients_have_a_method_for_each_use_case(server: Server):
    url = f"http://127.0.0.1:{server.port}"
    for name, token in TOKENS.items():
        other = next(one for one in ROWS if one != name)
        with bentoml.SyncHTTPClient(url, token=token) as client:
            assert not hasattr(client, "predict"), "without the use case it would be ambiguous"
            method: Callable[..., Any] = getattr(client, f"predict_{name}")
            (prediction,) = method(rows=[ROWS[name]])["predictions"]
            with pytest.raises(BentoMLException, match=f"an API key of {name}"):
                getattr(client, f"predict_{other}")(rows=[ROWS[other]])
        assert prediction["model_version"] == 1

        async def ask_twice(name: str = name, token: str = token) -> list[Any]:
            async with bentoml.AsyncHTTPClient(url, token=token) as client:
                method = getattr(client, f"predict_{name}")
                return await asyncio.gather(*(method(rows=[ROWS[name]]) for _ in range(2)))

        assert [len(answer["predictions"]) for answer in asyncio.run(ask_twice())] == [1, 1]


def test_the_readers_of_a_use_case_recognize_a_server_without_it(server: Server):
    with LiveService(f"http://127.0.0.1:{server.port}", use_case="trains") as live:
        served = live.follows("trains", lambda: None, 1)
    assert served.is_of_another
    assert "it serves flight_delay, loans, deposits, not trains" in served.problem
    with LiveService(f"http://127.0.0.1:{server.port}", use_case="cars") as live:
        assert "last load error: it does not load" in live.follows("cars", lambda: None, 0.1).problem or live.plan()
    assert json.loads(server.ask("/cars/plan").body)["last_load_error"] == "it does not load"
