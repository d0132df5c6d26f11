import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from mlops_assets.ports.home import Home
from mlops_assets.serving.boot import assemble
from mlops_assets.serving.web import MAX_BODY_BYTES, build_app
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import FLIGHT, MOMENT, place_blessed, temperatures

NEWEST = MOMENT - timedelta(minutes=30)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def client(home: Home) -> Iterator[TestClient]:
    answering = assemble(USE_CASE, home, temperatures(("EWR", MOMENT - timedelta(hours=8), 40.0), ("EWR", NEWEST, 80.0)))
    app = build_app()
    app.state.answering = answering
    place_blessed(home, 1, bias=-1)
    yield TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def ready(client: TestClient, home: Home) -> TestClient:
    place_blessed(home, 1, bias=-1).point(1, "2013-07-01T00:00:00+00:00", "first")
    slot_of(client).poll()
    return client


def slot_of(client: TestClient) -> Any:
    return client.app.state.answering.slot  # type: ignore[attr-defined]


def predict(client: TestClient, *rows: dict[str, Any]) -> Any:
    return client.post("/predict", json={"rows": rows})


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_an_answer_carries_probability_decision_version_and_id(ready: TestClient):
    answer = predict(ready, FLIGHT).json()
    (prediction,) = answer["predictions"]
    assert prediction["probability"] == pytest.approx(sigmoid(0.80 - 1), abs=1e-6)
    assert prediction["decision"] is (prediction["probability"] >= USE_CASE.threshold)
    assert prediction["model_version"] == answer["model_version"] == 1
    assert len(prediction["prediction_id"]) == 32 and prediction["warnings"] == [] and answer["latency_ms"] > 0


def test_a_late_request_is_answered_with_what_was_known_then(ready: TestClient):
    earlier = FLIGHT | {"sched_dep": (MOMENT - timedelta(hours=3)).isoformat()}
    predictions = predict(ready, FLIGHT, earlier).json()["predictions"]
    assert [prediction["features_from"] for prediction in predictions] == ["online", "point_in_time"]
    assert predictions[1]["probability"] == pytest.approx(sigmoid(0.40 - 1), abs=1e-6)


def test_an_unknown_category_is_answered_with_a_warning(ready: TestClient):
    predictions = predict(ready, FLIGHT, FLIGHT | {"carrier": "ZZ"}).json()["predictions"]
    assert predictions[0]["warnings"] == []
    assert predictions[1]["warnings"] == ["carrier 'ZZ' was not in the training data; the model treats it as unknown"]


def test_every_answer_is_logged_with_its_request_and_inputs(ready: TestClient):
    predictions = predict(ready, FLIGHT, FLIGHT | {"tailnum": None, "origin": "JFK"}).json()["predictions"]
    rows, _ = ready.app.state.answering.log.read()  # type: ignore[attr-defined]
    assert rows["prediction_id"].to_list() == [prediction["prediction_id"] for prediction in predictions]
    assert rows["probability"].to_list() == [prediction["probability"] for prediction in predictions]
    logged = rows.row(0, named=True)
    assert logged["temp"] == 80.0 and logged["weekday"] == "Mon" and logged["tailnum"] == "N14228"
    assert logged["event_timestamp"] == MOMENT + timedelta(minutes=5) and logged["model_version"] == 1
    assert len(logged["model_digest"]) == 64 and rows["temp"][1] is None


def test_a_refused_request_says_what_is_wrong_and_is_not_logged(ready: TestClient):
    response = predict(ready, FLIGHT, FLIGHT | {"flight": "x"})
    assert response.status_code == 400
    said = response.json()["error"]
    assert (said["row"], said["field"], said["found"]) == (1, "flight", '"x"')
    assert ready.app.state.answering.log.segments() == []  # type: ignore[attr-defined]


def test_without_a_champion_the_answer_says_so_and_when_to_come_back(client: TestClient):
    response = predict(client, FLIGHT)
    assert response.status_code == 503 and response.headers["Retry-After"] == "5"
    assert "no champion answers: no version has been promoted yet" in response.json()["error"]["found"]
    assert client.get("/plan").json()["champion"] is None


def test_the_plan_says_what_answers_since_when(ready: TestClient):
    plan = ready.get("/plan").json()
    assert (plan["use_case"], plan["champion"], plan["plan"]) == ("flight_delay", 1, 1)
    assert plan["since"] == "2013-07-01T00:00:00+00:00" and plan["blessed_at"] == MOMENT.isoformat()
    assert len(plan["digest"]) == 64 and plan["last_load_error"] is None


def test_a_body_that_is_too_large_is_refused(ready: TestClient):
    response = ready.post("/predict", content=b" " * (MAX_BODY_BYTES + 1))
    assert response.status_code == 413
    assert str(MAX_BODY_BYTES) in response.json()["error"]["legal"]


def test_a_wrong_method_is_refused_in_json(ready: TestClient):
    response = ready.get("/predict")
    assert response.status_code == 405 and response.json()["error"]["found"] == "Method Not Allowed"


def test_when_the_log_cannot_be_written_nothing_is_answered(ready: TestClient, home: Home):
    home.prediction_log.write_text("a file where the folder belongs")
    response = predict(ready, FLIGHT)
    assert response.status_code == 500 and "prediction" not in response.text


def test_the_openapi_document_describes_every_request_field_with_an_example(ready: TestClient):
    said = ready.get("/openapi.json").json()
    assert said == ready.get("/docs.json").json()
    content = said["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    row = content["schema"]["properties"]["rows"]["items"]
    assert list(row["properties"]) == row["required"] == list(USE_CASE.features.request)
    assert row["properties"]["origin"]["enum"] == ["EWR", "JFK", "LGA"]
    assert "Flight number." in row["properties"]["flight"]["description"]
    assert predict(ready, *content["example"]["rows"]).status_code == 200
