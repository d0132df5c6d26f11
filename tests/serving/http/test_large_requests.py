"""Requests of more rows than are held in memory as values: answered and logged as smaller ones are, in blocks."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from starlette.testclient import TestClient

from mlops_assets.foundation.home import Environment, Home
from mlops_assets.serving.http.request import MAX_DETAILED_BYTES
from mlops_assets.serving.http.row_blocks import BLOCK_ROWS
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.service import Service, assemble
from mlops_assets.spec.serving import AnswerLog, Serving
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import FLIGHT, MOMENT, place_blessed, temperatures
from tests.serving.http.test_app import client, ready, service

__all__ = ["client", "ready", "service"]  # fixtures
ROWS = [FLIGHT | {"flight": number} for number in range(1, BLOCK_ROWS + 4)]
Encode = Callable[[list[dict[str, Any]]], bytes]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def few_bytes(rows: list[dict[str, Any]], part: str = "rows") -> bytes:
    return json.dumps({part: rows}).encode()


def many_bytes(rows: list[dict[str, Any]], part: str = "rows") -> bytes:
    """Above the size from which rows stay text until they are read."""
    return few_bytes(rows, part).ljust(MAX_DETAILED_BYTES + 1)


@pytest.mark.parametrize("encode", [few_bytes, many_bytes])
def test_each_row_is_answered_and_logged_once_in_its_order(ready: TestClient, service: Service, encode: Encode) -> None:
    rows = [row | {"origin": "EWR" if row["flight"] % 2 else "JFK"} for row in ROWS]
    answer = ready.post("/predict", content=encode(rows)).json()
    logged, _ = service.answering.log.read()
    assert answer.keys() == {"predictions", "plan", "latency_ms"} and answer["plan"] == 1 and answer["latency_ms"] > 0
    assert logged["flight"].to_list() == [row["flight"] for row in rows]
    assert logged["prediction_id"].to_list() == [one["prediction_id"] for one in answer["predictions"]]
    assert logged["probability"].to_list() == [one["probability"] for one in answer["predictions"]]
    few = ready.post("/predict", content=few_bytes(rows[:2])).json()["predictions"]
    fields = ("probability", "decision", "warnings", "features_from", "model_version", "arm")
    for one in few:
        alike = answer["predictions"][few.index(one) :: 2]
        assert {str([prediction[name] for name in fields]) for prediction in alike} == {str([one[name] for name in fields])}
    counted = (
        f'mlops_predictions_total{{arm="champion",features_from="online",use_case="flight_delay",version="1"}} {len(rows) + 2}.0'
    )
    assert counted in ready.get("/metrics").text
    assert logged["call"].n_unique() == 2, "one of the model for each block"


@pytest.mark.parametrize("encode", [few_bytes, many_bytes])
def test_features_of_the_caller_are_answered_too(ready: TestClient, encode: Callable[..., bytes]) -> None:
    inputs = dict.fromkeys(USE_CASE.features.inputs)
    answer = ready.post("/predict", content=encode([inputs] * len(ROWS), "features")).json()
    assert len(answer["predictions"]) == len(ROWS) and {one["features_from"] for one in answer["predictions"]} == {"request"}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"flight": "none"}, "flight"), ({"sched_dep": "2099-07-01T14:05:00Z"}, "event_timestamp"), ({"more": 1}, "more")],
)
@pytest.mark.parametrize("at", [0, BLOCK_ROWS + 1])
def test_an_illegal_row_of_any_block_is_named_and_none_is_logged(
    ready: TestClient, service: Service, wrong: dict[str, Any], field: str, at: int
) -> None:
    rows = [*ROWS[:at], ROWS[at] | wrong, *ROWS[at + 1 :]]
    response = ready.post("/predict", content=many_bytes(rows))
    assert response.status_code == 400, response.text[:200]
    error = response.json()["error"]
    assert error["row"] == at and field in f"{error['field']} {error['found']}" and response.json()["total_errors"] == 1
    assert service.answering.log.read()[0].is_empty()


def test_when_the_log_cannot_be_written_a_large_request_is_refused(ready: TestClient, home: Home) -> None:
    home.prediction_log.write_text("a file where the folder belongs")
    response = ready.post("/predict", content=many_bytes(ROWS))
    assert response.status_code == 503 and response.json()["error"]["found"] == "the prediction log cannot be written"


def test_where_the_declaration_has_it_so_rows_are_answered_without_a_log_and_counted(home: Home) -> None:
    place_blessed(home, 1, bias=-1).point(1, MOMENT.isoformat(), "first")
    home.prediction_log.write_text("a file where the folder belongs")
    use_case = USE_CASE.but(serving=Serving(log=AnswerLog(when_full="answer")))
    service = assemble(use_case, Environment("local", Path(), home), temperatures(("EWR", MOMENT, 80.0)).look_up)
    service.answering.slots.poll()
    (answer,) = service.answering.answer_together([service.parse(many_bytes(ROWS))])
    assert isinstance(answer, bytes) and len(json.loads(answer)["predictions"]) == len(ROWS)
    assert service.telemetry.registry.get_sample_value("mlops_unlogged_total") == len(ROWS)


def test_an_answer_that_comes_too_late_is_not_logged(ready: TestClient, service: Service) -> None:
    request = service.parse(many_bytes(ROWS), deadline=service.answering.clock())
    (outcome,) = service.answering.answer_together([request])
    assert isinstance(outcome, TimeoutError) and service.answering.log.read()[0].is_empty()


# What differs between two requests with the same rows.
OF_THE_REQUEST = ("prediction_id", "answered_at", "latency_ms", "call", "model_ms", "trace_id", "features_age_s")


def shadow_rows(service: Service, home: Home) -> pl.DataFrame:
    """What a shadow of its own logs of all answers so far."""
    service.answering.shadowing.stop()
    return PredictionLog(home.shadow_log, USE_CASE).read()[0]


def test_a_shadow_scores_each_row_of_a_large_request_as_those_of_small_ones(
    ready: TestClient, service: Service, home: Home
) -> None:
    place_blessed(home, 2, bias=0).route(shadow=2)
    service.answering.slots.poll()
    assert ready.post("/predict", content=many_bytes(ROWS)).status_code == 200
    for few in (ROWS[:BLOCK_ROWS], ROWS[BLOCK_ROWS:]):
        assert ready.post("/predict", content=few_bytes(few)).status_code == 200
    shadow, logged = shadow_rows(service, home), service.answering.log.read()[0]
    assert shadow["prediction_id"].to_list() == logged["prediction_id"].to_list()
    assert shadow["champion_probability"].to_list() == logged["probability"].to_list()
    assert shadow["call"].to_list() == logged["call"].to_list()
    compared = shadow.drop(OF_THE_REQUEST, strict=False)
    assert_frame_equal(compared.head(len(ROWS)), compared.tail(len(ROWS)))


def test_a_shadow_without_space_for_a_large_request_counts_its_rows_and_the_request_is_answered(
    ready: TestClient, service: Service, home: Home
) -> None:
    place_blessed(home, 2, bias=0).route(shadow=2)
    service.answering.slots.poll()
    home.shadow_log.write_text("a file where the folder belongs")
    assert ready.post("/predict", content=many_bytes(ROWS)).status_code == 200
    service.answering.shadowing.stop()
    assert len(service.answering.log.read()[0]) == len(ROWS)
    assert service.telemetry.registry.get_sample_value("mlops_shadow_dropped_total") == len(ROWS)


MEMORY = """
import asyncio, sys
from datetime import timedelta
from pathlib import Path
from time import sleep
from mlops_assets.foundation.home import Environment, Home
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.http.app import respond
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.service import assemble
from mlops_assets.spec.serving import Limits, Serving
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.peak_memory import peak_bytes
from tests.serving.flights import MOMENT, DirectDeployment, blessed, place_blessed, temperatures, tiny_model
from tests.serving.http.test_large_requests import ROWS, few_bytes

home, shadow = Home(Path(sys.argv[1])), sys.argv[2:]
place_blessed(home, 1, bias=-1).point(1, MOMENT.isoformat(), "first")
if shadow:
    model = tiny_model(0, size=int(shadow[0]))
    deployment = DirectDeployment(home.deployments, USE_CASE.name)
    deployment.place(2, model, blessed(2, model, SigningKeys(home.keys)).to_json())
    deployment.route(shadow=2)
limits = Limits(max_body_bytes=10**9, max_rows=10**7, timeout=timedelta(minutes=2))
use_case = USE_CASE.but(serving=Serving(limits=limits))
service = assemble(use_case, Environment("local", Path(), home), temperatures(("EWR", MOMENT, 80.0)).look_up)
service.start()

def ask(rows):
    body = few_bytes(rows)

    async def read_body():
        return body

    return len(body), asyncio.run(respond(service, (), read_body)).status

ask(ROWS)
while shadow and sum(path.read_bytes().count(b"\\n") for path in home.shadow_log.rglob("*.jsonl")) < len(ROWS):
    sleep(0.05)
before = peak_bytes()
size, status = ask(ROWS * 16)
service.stop()
print(status, (peak_bytes() - before) / size)
"""


@pytest.mark.slow
@pytest.mark.parametrize("shadow", [[], ["2"], ["1000"]], ids=["none", "shadow", "slow shadow"])
def test_the_memory_of_a_large_request_is_a_few_times_its_body(tmp_path: Path, shadow: list[str]) -> None:
    """Of 200,000 rows with all values in memory it was 55 times the body; with only a shadow that keeps them, 28."""
    command = [sys.executable, "-W", "ignore", "-c", MEMORY, str(tmp_path), *shadow]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    status, times = done.stdout.split()
    assert status == "200" and float(times) < 10, done.stdout
