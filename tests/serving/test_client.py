import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from pathlib import Path

import pytest
import uvicorn

from mlops_assets.foundation.home import Environment, Home
from mlops_assets.serving.client import LiveService, RequestRefused, Served, ServiceUnavailable
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.serving.http.app import ApiApp
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.service import Service, assemble
from mlops_assets.serving.services import Services
from mlops_assets.spec.serving import Limits, Serving
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import FLIGHT, DirectDeployment, place_blessed, temperatures

NAME = USE_CASE.name
AT = "2013-07-01T00:00:00+00:00"


@contextmanager
def running(home: Home, use_case: UseCase = USE_CASE) -> Iterator[tuple[str, Service]]:
    """The service's own routes on a loopback port, without Bento behind them; it takes plans when its slots are polled."""
    environment = Environment(name="test", project=home.root, home=home)
    service = assemble(use_case, environment, temperatures().look_up)
    service.batching.start()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(ApiApp(no_bento, lambda: Services([service])), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", service
    server.should_exit = True
    thread.join()
    listener.close()
    service.batching.stop()


async def no_bento(*_: object) -> None:
    raise AssertionError("the client needs no route of Bento")


@contextmanager
def fixed_server(status: int, headers: dict[str, str], body: bytes) -> Iterator[tuple[str, list[str]]]:
    """Another server, which sends one response to every request, and the paths of its requests; status 0 hangs up instead."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            paths.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if status:
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """In which version 1 serves."""
    home = Home(tmp_path)
    place_blessed(home, 1, bias=0).point(1, AT, "first")
    return home


@pytest.fixture
def service(home: Home) -> Iterator[LiveService]:
    with running(home) as (url, answering), LiveService(url) as client:
        answering.answering.slots.poll()
        yield client


@pytest.fixture
def unreachable() -> Iterator[LiveService]:
    with socket.socket() as taken:  # bound but not listening: no other process can start to answer here
        taken.bind(("127.0.0.1", 0))
        yield LiveService(f"http://127.0.0.1:{taken.getsockname()[1]}", sleep=lambda _: None)


def test_predictions_come_in_the_order_of_the_rows(service: LiveService):
    rows = [FLIGHT | {"sched_dep": datetime(2013, 7, 1, 14, 5, tzinfo=UTC)}, FLIGHT | {"carrier": "ZZ"}]
    known, unknown = service.predict(rows)
    answer = {"probability": 0.5, "decision": True, "model_version": 1, "arm": "champion", "features_from": "online"}
    assert known.items() >= answer.items() and known.keys() - answer.keys() == {"prediction_id", "warnings"}
    warnings = unknown["warnings"]
    assert len(warnings) == 2 and "'ZZ'" in warnings[0] and known["warnings"] == warnings[1:]


def test_an_explanation_comes_only_on_request(service: LiveService):
    (explained,) = service.predict([FLIGHT], explain=True)
    assert explained["explanation"] and "explanation" not in service.predict([FLIGHT])[0]


def test_a_refusal_carries_the_service_s_message(service: LiveService):
    with pytest.raises(RequestRefused, match=r"HTTP 400 .*one of EWR, JFK, LGA") as refused:
        service.predict([FLIGHT | {"origin": "BOS"}])
    assert refused.value.status == 400


def test_once_a_key_exists_every_request_needs_it(home: Home):
    token = ApiKeys(home.keys).add("demo", datetime.now(UTC), lambda: "a" * 43)
    with running(home) as (url, answering):
        answering.answering.slots.poll()
        with LiveService(url) as stranger, pytest.raises(RequestRefused, match="HTTP 401 .*no API key"):
            stranger.predict([FLIGHT])
        with LiveService(url, api_key=token) as known:
            assert len(known.predict([FLIGHT])) == 1


def test_a_503_is_retried_after_its_time_and_answered_once(tmp_path: Path):
    home, slept = Home(tmp_path), list[float]()
    with running(home) as (url, answering):

        def promote(seconds: float) -> None:
            slept.append(seconds)
            place_blessed(home, 1, bias=0).point(1, AT, "first")
            answering.answering.slots.poll()

        with LiveService(url, sleep=promote) as client:
            (answer,) = client.predict([FLIGHT])
    assert slept == [5]
    assert PredictionLog(home.prediction_log, USE_CASE).read()[0]["prediction_id"].to_list() == [answer["prediction_id"]]


def test_a_client_above_its_rate_is_slowed_down_and_not_refused(home: Home):
    slow = USE_CASE.model_copy(update={"serving": Serving(limits=Limits(max_rate=4))})
    slept = list[float]()

    def wait(seconds: float) -> None:
        slept.append(seconds)
        time.sleep(seconds)

    with running(home, slow) as (url, answering), LiveService(url, sleep=wait) as client:
        answering.answering.slots.poll()
        assert len([client.predict([FLIGHT]) for _ in range(6)]) == 6
    assert set(slept) == {1.0}


def test_retries_end_with_the_service_s_message(tmp_path: Path):
    slept = list[float]()
    refused = pytest.raises(RequestRefused, match=r"HTTP 503 .*no champion serves")
    with running(Home(tmp_path)) as (url, _), LiveService(url, sleep=slept.append) as client, refused:
        client.predict([FLIGHT])
    assert slept == [5, 5, 5]


@pytest.mark.parametrize(
    ("status", "headers", "raised"),
    [
        (429, {}, RequestRefused),
        (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, RequestRefused),
        (503, {"Retry-After": "3600"}, RequestRefused),
        (500, {"Retry-After": "1"}, RequestRefused),
        (504, {"Retry-After": "1"}, RequestRefused),
        (200, {"Content-Type": "text/html"}, ServiceUnavailable),
        (0, {}, ServiceUnavailable),
    ],
    ids=["no time", "a date", "too long", "500", "504", "another server", "hung up"],
)
def test_no_request_is_sent_twice_that_may_have_been_answered_or_would_wait_too_long(
    status: int, headers: dict[str, str], raised: type[Exception]
):
    with (
        fixed_server(status, headers, b"<html>") as (url, paths),
        LiveService(url, sleep=unexpected) as client,
        pytest.raises(raised),
    ):
        client.predict([FLIGHT])
    assert paths == ["/predict"]


def unexpected(seconds: float) -> None:
    raise AssertionError(f"waited {seconds} s")


@contextmanager
def hanging_server() -> Iterator[str]:
    """It accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.timeout(40)
def test_a_server_that_hangs_is_waited_for_no_longer_than_one_that_is_down():
    clock = count(step=60).__next__  # every look at the clock is a minute after the one before
    with hanging_server() as url, LiveService(url, sleep=unexpected, clock=clock) as client:
        assert client.follows(NAME, lambda: None, timeout_s=20) == Served(url, NAME, None, False)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"5", b"{}", b'{"plan": 1}', b"\xff"])
def test_another_kind_of_server_has_no_plan(body: bytes):
    with fixed_server(200, {}, body) as (url, _), LiveService(url) as client:
        assert client.plan() is None


def test_a_service_follows_exactly_the_plan_in_force_and_not_a_newer_one(home: Home):
    deployment, clock = DirectDeployment(home.deployments, USE_CASE.name), count(step=0.4).__next__
    first = deployment.plan()
    with running(home) as (url, answering), LiveService(url, sleep=lambda _: None, clock=clock) as client:
        assert client.follows(NAME, lambda: first, 0).problem == f"{url} · it serves no version yet. Look into the service's log."
        answering.answering.slots.poll()
        assert client.follows(NAME, lambda: first, 1).in_force and not client.follows(NAME, lambda: None, 1).in_force
        deployment.point(1, AT, "again")
        answering.answering.slots.poll()
        served = client.follows(NAME, lambda: first, 1)
    assert not served.in_force and "it serves version 1 (plan 2), not the ledger's plan" in served.problem


def test_a_server_of_another_use_case_follows_no_plan_and_is_not_waited_for(home: Home):
    first = DirectDeployment(home.deployments, USE_CASE.name).plan()
    with running(home) as (url, answering), LiveService(url, sleep=unexpected) as client:
        answering.answering.slots.poll()
        for plan in (first, None):
            served = client.follows("loans", lambda plan=plan: plan, 5)
            assert served.is_of_another and not served.in_force
            remedy = "Add a server of loans to MLOPS_SERVICE_URL, or serve it there too (MLOPS_USE_CASE)."
            assert served.problem == f"{url} · it serves {NAME}, not loans. {remedy}"


def test_the_same_plan_of_another_home_is_not_the_plan_in_force(home: Home):
    clock = count(step=0.4).__next__
    plan = DirectDeployment(home.deployments, USE_CASE.name).plan()
    assert plan is not None
    with running(home) as (url, answering), LiveService(url, sleep=lambda _: None, clock=clock) as client:
        answering.answering.slots.poll()
        served = answering.answering.plan()["digest"]
        assert client.follows(NAME, lambda: replace(plan, digests={1: served}), 1).in_force
        assert not client.follows(NAME, lambda: replace(plan, digests={1: "0" * 64}), 1).in_force


def test_without_a_server_there_is_no_plan_and_no_prediction(unreachable: LiveService):
    assert unreachable.plan() is None
    with pytest.raises(ServiceUnavailable, match="Start it with `mlops up`"):
        unreachable.predict([FLIGHT])
