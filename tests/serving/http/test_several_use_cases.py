"""Flights and loans in one process, behind the fast path and behind Bento's own: paths, keys, metrics, logs, limits."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from deploy.service import build_service
from mlops_assets.foundation.home import SHARED, Environment, Home
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.serving.http.app import ApiApp
from mlops_assets.serving.service import NO_CHAMPION, assemble
from mlops_assets.serving.services import NOT_DECLARED, Services
from mlops_assets.spec.serving import Limits, Serving
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.cli.loans import LOANS
from tests.serving.flights import FLIGHT, MOMENT, flip_a_bit, place_blessed, temperatures
from tests.serving.loan_models import LOAN, look_up_payments, place_loan_model

FLIGHTS_ONLY, LOANS_ONLY, ANY = ({"X-API-Key": f"mlops_{name}"} for name in ("flights", "loans", "any"))
NOT_SERVED = ["cars"]
SMALL_LOANS = LOANS.but(serving=Serving(limits=Limits(max_in_flight=1, max_rate=5, max_body_bytes=2000)))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    place_blessed(home, 1, bias=0).point(1)
    place_loan_model(home, 7, bias=0).point(7)
    return home


def open_both(home: Home, urls: str = "http://127.0.0.1:3000") -> Services:
    environment = Environment("local", Path(), home, {SHARED: (urls,)})
    look_ups = ((USE_CASE, temperatures(("EWR", MOMENT, 80.0)).look_up), (SMALL_LOANS, look_up_payments))
    services = [assemble(use_case, environment, look_up) for use_case, look_up in look_ups]
    return Services(services, dict.fromkeys(NOT_SERVED, NOT_DECLARED))


async def bento(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse(f"Bento's {scope['path']}", status_code=418)(scope, receive, send)


@pytest.fixture
def services(home: Home) -> Iterator[Services]:
    services = open_both(home)
    services.start()
    yield services
    services.stop()


@pytest.fixture
def client(services: Services) -> TestClient:
    return TestClient(ApiApp(bento, lambda: services))


@pytest.fixture
def with_keys(home: Home, services: Services, client: TestClient) -> TestClient:
    keys = ApiKeys(home.keys)
    for name, use_cases in (("flights", ("flight_delay",)), ("loans", ("loans",)), ("any", None)):
        keys.add(name, datetime.now(UTC), lambda name=name: name, use_cases=use_cases)
    for service in services.by_name.values():
        service.admission._reload(0.0)  # pyright: ignore[reportPrivateUsage] - which happens once a second
    return client


def post(client: TestClient, path: str, row: object, headers: dict[str, str] | None = None) -> Any:
    return client.post(path, json={"rows": [row]}, headers=headers or {})


def test_each_use_case_answers_under_its_own_path_and_logs_for_itself(client: TestClient, services: Services):
    flight, loan = post(client, "/flight_delay/predict", FLIGHT), post(client, "/loans/predict", LOAN)
    assert (flight.status_code, loan.status_code) == (200, 200), (flight.text, loan.text)
    assert [answer.json()["predictions"][0]["model_version"] for answer in (flight, loan)] == [1, 7]
    assert client.get("/flight_delay/plan").json()["champion"] == 1 and client.get("/loans/plan").json()["champion"] == 7
    logged = {name: service.answering.log.read()[0]["prediction_id"].to_list() for name, service in services.by_name.items()}
    ids = [answer.json()["predictions"][0]["prediction_id"] for answer in (flight, loan)]
    assert logged == {"flight_delay": ids[:1], "loans": ids[1:]}


def test_one_page_has_the_metrics_of_all_by_use_case(client: TestClient):
    post(client, "/flight_delay/predict", FLIGHT)
    for _ in range(2):
        post(client, "/loans/predict", LOAN)
    lines = client.get("/metrics").text.splitlines()
    assert 'mlops_requests_total{status="200",use_case="flight_delay"} 1.0' in lines
    assert 'mlops_requests_total{status="200",use_case="loans"} 2.0' in lines
    assert lines.count("# TYPE mlops_requests_total counter") == 1, "a family is listed once"


@pytest.mark.parametrize(
    "path",
    ["/predict", "/plan", "/weather/predict", "/Loans/predict", "/loans/predict/", "//loans/predict", "/loans//plan", "/a/loans/plan",
     "/weather/readyz", "/flight_delay/%2e%2e/loans/predict", "/flight_delay%2F..%2Floans/predict",
     "/flight_delay/loans/predict", "/metrics/", "/loans/metrics"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
def test_a_path_of_no_use_case_is_refused_with_those_that_are_served(client: TestClient, path: str, method: str):
    response = client.request(method, f"http://testserver{path}", content=b"{}")
    assert response.status_code == 404
    if method == "GET":
        body = response.json()
        name = path.rstrip("/").rpartition("/")[2]
        legal = "/metrics" if name == "metrics" else f"/flight_delay/{name}, /loans/{name}"
        assert body["error"]["legal"] == legal and body["use_cases"] == ["flight_delay", "loans"]


@pytest.mark.parametrize(
    "path", ["/", "/docs.json", "/readyz", "/livez", "/loans", "/loans/PREDICT", "/loans/predict/x", "/loans%20/x"]
)
def test_every_other_path_is_bento_s(client: TestClient, path: str):
    assert client.get(path).status_code == 418


def test_an_encoded_slash_reaches_the_use_case_whose_key_is_needed(with_keys: TestClient):
    for path in ("/loans%2Fpredict", "/%6coans/predict"):
        assert post(with_keys, path, LOAN, FLIGHTS_ONLY).status_code == 403
        assert post(with_keys, path, LOAN, LOANS_ONLY).status_code == 200


def test_a_key_reaches_the_use_cases_of_its_scope_only(with_keys: TestClient):
    rows = {"/flight_delay/predict": FLIGHT, "/loans/predict": LOAN}
    statuses = [
        [post(with_keys, path, row, key).status_code for path, row in rows.items()] for key in (FLIGHTS_ONLY, LOANS_ONLY, ANY, {})
    ]
    assert statuses == [[200, 403], [403, 200], [200, 200], [401, 401]]
    error = post(with_keys, "/loans/predict", LOAN, FLIGHTS_ONLY).json()["error"]
    assert (error["found"], error["legal"]) == ("an API key of flight_delay", "an API key of loans")
    assert "mlops keys add NAME --use-case" in error["next"]
    assert (
        post(with_keys, "/loans/predict", LOAN, {"X-API-Key": "mlops_other"})
        .json()["error"]["found"]
        .endswith("unknown or revoked")
    )
    both = {"Authorization": "Bearer mlops_loans"} | FLIGHTS_ONLY
    assert post(with_keys, "/loans/predict", LOAN, both).status_code == 403, "X-API-Key has precedence"


def test_the_same_keys_count_behind_the_fast_path(home: Home, with_keys: TestClient):
    app: Any = build_service((USE_CASE, SMALL_LOANS), lambda: open_both(home)).to_asgi()
    with TestClient(app._bento) as behind:
        rows = {"/flight_delay/predict": FLIGHT, "/loans/predict": LOAN}
        statuses = [
            [post(behind, path, row, key).status_code for path, row in rows.items()] for key in (FLIGHTS_ONLY, LOANS_ONLY, {})
        ]
        assert statuses == [[200, 403], [403, 200], [401, 401]]
        assert post(behind, "/predict", LOAN, LOANS_ONLY).status_code == 404
        routes = {route["name"]: route["route"] for route in behind.get("/schema.json").json()["routes"]}
        assert routes == {"predict_flight_delay": "/flight_delay/predict", "predict_loans": "/loans/predict"}
        document = behind.get("/docs.json").json()
        for name, use_case in (("flight_delay", USE_CASE), ("loans", LOANS)):
            operation = document["paths"][f"/{name}/predict"]["post"]
            rows_schema = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]["rows"]
            assert f"PredictRequest_{name}" in document["components"]["schemas"]
            assert [*rows_schema["items"]["properties"]] == [*use_case.features.request] and "403" in operation["responses"]


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "GET"])
def test_a_wrong_method_answers_nothing(with_keys: TestClient, method: str):
    response = with_keys.request(method, "/loans/predict", content=json.dumps({"rows": [LOAN]}), headers=FLIGHTS_ONLY)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_a_use_case_that_is_not_loaded_says_why_on_each_of_its_routes(client: TestClient):
    for method, path in (("POST", "/cars/predict"), ("GET", "/cars/plan"), ("GET", "/cars/readyz")):
        response = client.request(method, path, content=b"{}")
        assert response.status_code == 503 and response.headers["Retry-After"]
        assert response.json()["error"]["found"] == f"cars cannot be served: {NOT_DECLARED}"
    assert client.get("/cars/predict").status_code == 405


def test_the_process_is_ready_while_one_use_case_is_and_each_says_so_for_itself(home: Home, tmp_path: Path):
    bare = Home(tmp_path / "bare")
    services = open_both(bare)
    services.start()
    client = TestClient(ApiApp(bento, lambda: services))
    assert services.problem == f"flight_delay: {NO_CHAMPION}; loans: {NO_CHAMPION}"
    place_loan_model(bare, 1, bias=0).point(1)
    services.by_name["loans"].answering.slots.poll()
    assert services.problem is None
    assert client.get("/loans/readyz").status_code == 200
    response = client.get("/flight_delay/readyz")
    assert (response.status_code, response.json()["error"]["found"]) == (503, NO_CHAMPION)
    assert post(client, "/flight_delay/predict", FLIGHT).status_code == 503
    services.stop()


def test_a_damaged_model_of_one_use_case_does_not_stop_the_other(home: Home):
    flip_a_bit(next(home.deployments.rglob("7/*.onnx")))
    services = open_both(home)
    services.start()
    client = TestClient(ApiApp(bento, lambda: services))
    assert post(client, "/flight_delay/predict", FLIGHT).status_code == 200 and services.problem is None
    assert post(client, "/loans/predict", LOAN).json()["error"]["found"] == NO_CHAMPION
    error = client.get("/loans/readyz").json()["error"]["found"]
    assert "version 7 is not served" in error and error.startswith(NO_CHAMPION)
    services.stop()


def test_limits_of_one_use_case_do_not_count_for_another(client: TestClient, services: Services):
    services.by_name["loans"].admission.enter()
    assert post(client, "/loans/predict", LOAN).status_code == 429
    services.by_name["loans"].admission.leave()
    services.by_name["loans"].buffered = 10**9  # bodies that arrive at the other use case
    assert post(client, "/loans/predict", LOAN).status_code == 503
    assert client.post("/loans/predict", content=json.dumps({"rows": [LOAN] * 100})).status_code == 413
    for _ in range(20):
        assert post(client, "/flight_delay/predict", FLIGHT).status_code == 200


def test_both_have_their_routes_under_the_prefix_of_the_proxy(home: Home):
    services = open_both(home, "https://example.com/models/")
    client = TestClient(ApiApp(bento, lambda: services))
    for before in ("/models", ""):
        assert client.get(f"{before}/loans/plan").json()["use_case"] == "loans"
        assert client.get(f"{before}/metrics").status_code == 200
        assert client.get(f"{before}/livez").text == "Bento's /livez"
        assert client.get(f"{before}/weather/plan").status_code == client.get(f"{before}/plan").status_code == 404
    assert client.get("/models").text == "Bento's /"
    assert client.get("/modelsloans/livez").text == "Bento's /modelsloans/livez"
