import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn

from mlops_assets.ports.home import Home
from mlops_assets.ports.live_service import LiveService, NobodyAnswers, RequestRefused
from mlops_assets.serving.boot import assemble
from mlops_assets.serving.web import build_app
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import FLIGHT, place_blessed, temperatures


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LiveService]:
    """The service's own routes on a loopback port, with version 1 answering."""
    home = Home(tmp_path)
    place_blessed(home, 1, bias=0).point(1, "2013-07-01T00:00:00+00:00", "first")
    app = build_app()
    app.state.answering = assemble(USE_CASE, home, temperatures())
    app.state.answering.slot.poll()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    service = LiveService(f"http://127.0.0.1:{listener.getsockname()[1]}")
    yield service
    service.close()
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture
def nobody() -> Iterator[LiveService]:
    with socket.socket() as taken:  # bound but not listening: no other process can start to answer here
        taken.bind(("127.0.0.1", 0))
        yield LiveService(f"http://127.0.0.1:{taken.getsockname()[1]}")


def test_moments_and_texts_are_answered_in_order(service: LiveService):
    rows = [FLIGHT | {"sched_dep": datetime(2013, 7, 1, 14, 5, tzinfo=UTC)}, FLIGHT | {"carrier": "ZZ"}]
    predictions = service.predict(rows)
    assert [len(prediction["warnings"]) for prediction in predictions] == [0, 1]


def test_a_refusal_carries_the_service_s_words(service: LiveService):
    with pytest.raises(RequestRefused, match=r"HTTP 400 .*one of EWR, JFK, LGA"):
        service.predict([FLIGHT | {"origin": "BOS"}])


def test_waiting_ends_with_the_plan_once_the_version_answers(service: LiveService):
    assert service.wait_until_serving(1, timeout_s=1)["champion"] == 1


def test_waiting_for_another_version_gives_up_and_says_which_answers(service: LiveService):
    slept: list[float] = []
    with pytest.raises(NobodyAnswers, match="waited 1 s for version 2; version 1 answers; last load error: None"):
        service.wait_until_serving(2, timeout_s=1, sleep=slept.append)
    assert sum(slept) == pytest.approx(1)


def test_when_nobody_answers_there_is_no_plan_and_no_prediction(nobody: LiveService):
    assert nobody.plan() is None
    with pytest.raises(NobodyAnswers, match="Start it with `mlops up`"):
        nobody.predict([FLIGHT])
    with pytest.raises(NobodyAnswers, match="nobody answers"):
        nobody.wait_until_serving(1, timeout_s=0.2, sleep=lambda _: None)
