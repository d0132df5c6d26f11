"""The Bento service without a server: its API method behind the fast path, its schema and its document."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bentoml
import pytest
from starlette.testclient import TestClient

from deploy.service import build_service
from mlops_assets.foundation.home import Environment, Home
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.serving.http.app import ApiApp
from mlops_assets.serving.service import Service, assemble
from mlops_assets.serving.services import Services
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import FLIGHT, MOMENT, place_blessed, temperatures

NOTHING_KNOWN = dict.fromkeys(USE_CASE.features.inputs)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    place_blessed(Home(tmp_path), 1, bias=0).point(1, MOMENT.isoformat(), "first")
    return Home(tmp_path)


@pytest.fixture
def bento(home: Home) -> bentoml.Service[Any]:
    def open_() -> Service:
        service = assemble(USE_CASE, Environment("local", Path(), home), temperatures(("EWR", MOMENT, 80.0)).look_up)
        service.answering.slots.poll()
        return service

    return build_service((USE_CASE,), lambda: Services([open_()]))


@pytest.fixture
def app(bento: bentoml.Service[Any]) -> ApiApp:
    app = bento.to_asgi()
    assert isinstance(app, ApiApp), "Bento no longer serves what `to_asgi` returns; find the new place for the fast path"
    return app


@pytest.fixture
def behind(app: ApiApp) -> Iterator[TestClient]:
    """The application behind the fast path, which is Bento's alone."""
    with TestClient(app._bento) as client:  # type: ignore[arg-type]  # pyright: ignore[reportPrivateUsage, reportArgumentType]
        yield client


def content(answer: dict[str, Any]) -> dict[str, Any]:
    """The part of an answer that does not differ between two answers to one request."""
    predictions = [{name: value for name, value in row.items() if name != "prediction_id"} for row in answer["predictions"]]
    for prediction in predictions:
        prediction.pop("explanation", None)
    return answer | {"predictions": predictions, "latency_ms": 0}


@pytest.mark.parametrize(
    "body",
    [
        {"rows": [FLIGHT]},
        {"rows": [FLIGHT, FLIGHT | {"carrier": "ZZ", "tailnum": None}]},
        {"features": [NOTHING_KNOWN | {"temp": 60.0}], "rows": [FLIGHT]},
        {"rows": [FLIGHT], "explain": True},
    ],
)
def test_the_fast_path_and_bento_s_method_give_the_same_answer(app: ApiApp, behind: TestClient, body: dict[str, Any]):
    slow, fast = behind.post("/predict", json=body), TestClient(app).post("/predict", json=body)  # type: ignore[arg-type]
    assert (slow.status_code, fast.status_code) == (200, 200)
    assert content(slow.json()) == content(fast.json())
    for row in (*slow.json()["predictions"], *fast.json()["predictions"]):
        assert ("explanation" in row) == body.get("explain", False)


@pytest.mark.parametrize("body", [{"rows": [FLIGHT | {"origin": "BOS"}]}, {"rows": []}, {}, {"rows": [FLIGHT], "more": 1}])
def test_both_interfaces_refuse_the_same_requests(app: ApiApp, behind: TestClient, body: dict[str, Any]):
    slow, fast = behind.post("/predict", json=body), TestClient(app).post("/predict", json=body)  # type: ignore[arg-type]
    assert (slow.status_code, fast.status_code) == (400, 400)


def test_bento_s_method_needs_the_key_as_well(home: Home, behind: TestClient):
    assert behind.post("/predict", json={"rows": [FLIGHT]}).status_code == 200
    token = ApiKeys(home.keys).add("demo", MOMENT, lambda: "a" * 43)
    # The service looks for new keys once a second.
    for _ in range(30):
        if behind.post("/predict", json={"rows": [FLIGHT]}).status_code == 401:
            break
        asyncio.run(asyncio.sleep(0.1))
    assert behind.post("/predict", json={"rows": [FLIGHT]}).status_code == 401
    assert behind.post("/predict", json={"rows": [FLIGHT]}, headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_readiness_names_the_reason(home: Home, behind: TestClient):
    assert behind.get("/readyz").status_code == 200
    (home.keys / "api_keys.json").write_text("[")
    # The service looks for new keys once a second.
    for _ in range(30):
        if behind.get("/readyz").status_code == 503:
            break
        asyncio.run(asyncio.sleep(0.1))
    assert behind.get("/readyz").text.startswith("the API keys cannot be read, so no request is admitted")


def test_schema_and_document_describe_every_field_and_every_refusal(behind: TestClient):
    route, named = behind.get("/schema.json").json()["routes"]
    assert (route["name"], route["route"]) == ("predict", "/predict")
    assert named == route | {"name": "predict_flight_delay", "route": "/flight_delay/predict"}
    row = route["input"]["properties"]["rows"]["items"]
    assert list(row["properties"]) == row["required"] == list(USE_CASE.features.request)
    assert row["properties"]["origin"]["enum"] == ["EWR", "JFK", "LGA"]
    assert list(route["input"]["properties"]["features"]["items"]["properties"]) == list(USE_CASE.features.inputs)
    assert {"probability", "decision", "warnings"} <= {*route["output"]["properties"]["predictions"]["items"]["properties"]}
    document = behind.get("/docs.json").json()
    operation = document["paths"]["/predict"]["post"]
    assert {"200", "400", "401", "413", "415", "429", "503", "504"} <= {*operation["responses"]}
    assert operation["requestBody"]["required"]
    assert {"bearer": []} in operation["security"] and "bearer" in document["components"]["securitySchemes"]


def test_the_schema_s_examples_are_a_request_that_is_answered(app: ApiApp, behind: TestClient):
    route, _named = behind.get("/schema.json").json()["routes"]
    columns = route["input"]["properties"]["rows"]["items"]["properties"]
    row = {name: column["example"] for name, column in columns.items()}
    assert TestClient(app).post("/predict", json={"rows": [row]}).status_code == 200  # type: ignore[arg-type]
