import json
import math
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from mlops_assets.foundation.home import SHARED, Environment, Home
from mlops_assets.serving.http.app import ApiApp
from mlops_assets.serving.http.moments import refuse_moments
from mlops_assets.serving.http.request import BadRequest
from mlops_assets.serving.service import Service, assemble
from mlops_assets.serving.services import Services
from mlops_assets.spec.serving import Limits
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import FLIGHT, HOT, MOMENT, WhenHot, place_blessed, temperatures

NEWEST = MOMENT - timedelta(minutes=30)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def service(home: Home) -> Iterator[Service]:
    environment = Environment("local", Path(), home)
    place_blessed(home, 1, bias=-1)
    features = temperatures(("EWR", MOMENT - timedelta(hours=8), 40.0), ("EWR", NEWEST, 80.0))
    service = assemble(USE_CASE, environment, features.look_up)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def client(service: Service) -> TestClient:
    return TestClient(ApiApp(PlainTextResponse("Bento's"), lambda: Services([service])), raise_server_exceptions=False)  # type: ignore[arg-type]


@pytest.fixture
def ready(client: TestClient, service: Service, home: Home) -> TestClient:
    place_blessed(home, 1, bias=-1).point(1, "2013-07-01T00:00:00+00:00", "first")
    service.answering.slots.poll()
    return client


def predict(client: TestClient, *rows: dict[str, Any]) -> Any:
    return client.post("/predict", json={"rows": rows})


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_an_answer_carries_probability_decision_version_and_id(ready: TestClient):
    answer = predict(ready, FLIGHT).json()
    (prediction,) = answer["predictions"]
    assert prediction["probability"] == pytest.approx(sigmoid(0.80 - 1), abs=1e-6)
    assert prediction["decision"] is (prediction["probability"] >= USE_CASE.task.threshold)
    assert (prediction["model_version"], prediction["arm"], answer["plan"]) == (1, "champion", 1)
    assert len(prediction["prediction_id"]) == 32 and prediction["warnings"] == [] and answer["latency_ms"] > 0


def test_a_late_request_is_answered_with_what_was_known_then(ready: TestClient):
    earlier = FLIGHT | {"sched_dep": (MOMENT - timedelta(hours=3)).isoformat()}
    predictions = predict(ready, FLIGHT, earlier).json()["predictions"]
    assert [prediction["features_from"] for prediction in predictions] == ["online", "point_in_time"]
    assert predictions[1]["probability"] == pytest.approx(sigmoid(0.40 - 1), abs=1e-6)


def test_an_unknown_category_is_answered_with_a_warning(ready: TestClient):
    predictions = predict(ready, FLIGHT, FLIGHT | {"carrier": "ZZ"}).json()["predictions"]
    assert predictions[0]["warnings"] == []
    assert predictions[1]["warnings"] == [
        "carrier 'ZZ' is in fewer than 20 training rows, or in none; the model treats it as unknown"
    ]


def test_an_entity_without_features_is_answered_with_a_warning_and_counted(ready: TestClient):
    predictions = predict(ready, FLIGHT, FLIGHT | {"origin": "JFK"}).json()["predictions"]
    text = "origin_weather has no value for this entity at the moment of the prediction; the model treats its features as missing"
    assert [prediction["warnings"] for prediction in predictions] == [[], [text]]
    assert (
        'mlops_missing_features_total{reason="unknown",use_case="flight_delay",view="origin_weather"} 1.0'
        in ready.get("/metrics").text
    )


def test_every_answer_is_logged_with_its_request_and_inputs(ready: TestClient, service: Service):
    predictions = predict(ready, FLIGHT, FLIGHT | {"tailnum": None, "origin": "JFK"}).json()["predictions"]
    rows, _ = service.answering.log.read()
    assert rows["prediction_id"].to_list() == [prediction["prediction_id"] for prediction in predictions]
    assert rows["probability"].to_list() == [prediction["probability"] for prediction in predictions]
    logged = rows.row(0, named=True)
    assert logged["temp"] == 80.0 and logged["weekday"] == "Mon" and logged["tailnum"] == "N14228"
    assert logged["event_timestamp"] == MOMENT + timedelta(minutes=5) and logged["model_version"] == 1
    assert len(logged["model_digest"]) == 64 and rows["temp"][1] is None


def test_rows_scored_together_have_the_same_call_number_and_others_another(ready: TestClient, service: Service):
    for rows in ([FLIGHT, FLIGHT | {"flight": 7}], [FLIGHT], [FLIGHT]):
        predict(ready, *rows)
    logged, _ = service.answering.log.read()
    first, second, third, fourth = logged["call"].to_list()
    assert first == second and len({first, third, fourth}) == 3 and min(first, third, fourth) >= 0
    assert max(first, third, fourth) < 2**63, "a Delta table holds no larger whole number"
    assert logged["model_ms"].is_between(0, 10_000).all() and logged["model_ms"][0] == logged["model_ms"][1]
    assert logged["challenger_failed"].to_list() == [False] * 4 and logged["champion_probability"].null_count() == 4


def test_two_replicas_never_use_the_same_call_number(home: Home):
    environment = Environment("local", Path(), home)
    replicas = [assemble(USE_CASE, environment, temperatures().look_up).answering for _ in range(2)]
    calls = [[replica.next_call() for _ in range(1000)] for replica in replicas]
    assert not {*calls[0]} & {*calls[1]}


@pytest.mark.parametrize("when_hot", [float("nan"), 2.0, "raises"])
def test_no_request_fails_with_a_challenger_that_does(ready: TestClient, service: Service, home: Home, when_hot: WhenHot):
    place_blessed(home, 2, bias=1, when_hot=when_hot).route(challenger=2, share=0.5)
    service.answering.slots.poll()
    inputs = dict.fromkeys(USE_CASE.features.inputs)
    answered = [
        ready.post(
            "/predict", json={"features": [inputs | {"temp": HOT + 5 if turn % 2 else 20.0}], "rows": [FLIGHT | {"flight": turn}]}
        )
        for turn in range(1, 61)
    ]
    assert {response.status_code for response in answered} == {200}
    served = [response.json()["predictions"][0] for response in answered]
    rows = {row["prediction_id"]: row for row in service.answering.log.read()[0].to_dicts()}
    failed = 0
    for answer in served:
        row = rows[answer["prediction_id"]]
        hot, theirs = row["temp"] > HOT, row["challenger_failed"] or answer["arm"] == "challenger"
        assert row["challenger_failed"] == (hot and theirs) and answer["model_version"] == (
            2 if answer["arm"] == "challenger" else 1
        )
        bias = 1 if answer["arm"] == "challenger" else -1
        assert row["probability"] == answer["probability"] == pytest.approx(sigmoid(row["temp"] / 100 + bias), abs=1e-6)
        failed += row["challenger_failed"]
    arms = [answer["arm"] for answer in served]
    assert 5 < failed < 30 and arms.count("challenger") > 5 and arms.count("champion") > failed
    counted = ready.get("/metrics").text
    assert (
        f'mlops_challenger_failures_total{{use_case="flight_delay"}} {float(failed)}' in counted
        and 'mlops_requests_total{status="200",use_case="flight_delay"} 60.0' in counted
    )


def test_a_row_of_a_shadow_has_the_answer_of_the_champion(ready: TestClient, service: Service, home: Home):
    place_blessed(home, 3, bias=1).route(shadow=3)
    service.answering.slots.poll()
    served = {answer["prediction_id"]: answer["probability"] for answer in predict(ready, FLIGHT, FLIGHT).json()["predictions"]}
    service.answering.shadowing.stop()
    rows, _ = service.answering.shadowing.log.read()
    assert dict(rows.select("prediction_id", "champion_probability").iter_rows()) == served
    assert rows["probability"].to_list() == pytest.approx([sigmoid(0.80 + 1)] * 2, abs=1e-6)
    assert rows["call"].to_list() == service.answering.log.read()[0]["call"].to_list()


def test_a_refused_request_says_what_is_wrong_and_is_not_logged(ready: TestClient, service: Service):
    response = predict(ready, FLIGHT, FLIGHT | {"flight": "x"})
    assert response.status_code == 400
    details = response.json()["error"]
    assert (details["row"], details["field"], details["found"]) == (1, "flight", '"x"')
    assert service.answering.log.segments() == {}


def test_without_a_champion_the_answer_says_so_and_when_to_come_back(client: TestClient):
    response = predict(client, FLIGHT)
    assert response.status_code == 503 and response.headers["Retry-After"] == "5"
    assert response.json()["error"]["found"] == "no champion serves yet"
    assert client.get("/plan").json()["champion"] is None


def test_the_plan_says_what_answers_since_when(ready: TestClient):
    plan = ready.get("/plan").json()
    assert (plan["use_case"], plan["champion"], plan["plan"]) == ("flight_delay", 1, 1)
    assert plan["since"] == "2013-07-01T00:00:00+00:00" and plan["blessed_at"] == MOMENT.isoformat()
    assert len(plan["digest"]) == 64 and plan["last_load_error"] is plan["admission_error"] is None


def test_strangers_read_no_folder_of_a_plan_that_is_not_taken(ready: TestClient, service: Service, home: Home):
    place_blessed(home, 2, bias=1).point(2)
    model = next(home.deployments.rglob("2/*.onnx"))
    model.unlink()
    service.answering.slots.poll()
    error = ready.get("/plan").json()["last_load_error"]
    assert (
        "version 2 is not served" in error and model.name in error and "deployments" not in error and str(home.root) not in error
    )
    assert str(model) in str(service.answering.slots.last_error)


@pytest.fixture
def unreadable_keys(home: Home) -> Path:
    home.keys.mkdir()
    (home.keys / "api_keys.json").write_text("[")
    return home.keys


def test_while_the_keys_cannot_be_read_no_request_is_admitted_and_the_plan_has_the_reason(
    unreadable_keys: Path, ready: TestClient, service: Service
):
    response = predict(ready, FLIGHT)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert response.json()["error"]["found"] == ready.get("/plan").json()["admission_error"] == service.problem
    assert str(service.problem).startswith("the API keys cannot be read") and str(unreadable_keys) not in str(service.problem)


def test_a_body_that_is_too_large_is_refused(ready: TestClient):
    response = ready.post("/predict", content=b" " * (USE_CASE.serving.limits.max_body_bytes + 1))
    assert response.status_code == 413
    assert str(USE_CASE.serving.limits.max_body_bytes) in response.json()["error"]["legal"]


def test_a_moment_beyond_the_declared_horizon_is_refused_with_row_value_and_range_and_is_not_logged(
    ready: TestClient, service: Service
):
    response = predict(ready, FLIGHT, FLIGHT | {"sched_dep": "2099-01-01T02:00:00Z"})
    details = response.json()["error"]
    assert response.status_code == 400
    assert (details["row"], details["field"], details["found"]) == (1, "event_timestamp", "2099-01-01T00:00:00+00:00")
    assert details["legal"].startswith("a prediction moment from any time to 20") and "max_ahead" in details["next"]
    assert service.answering.log.segments() == {}


def test_only_the_request_with_the_illegal_moment_is_refused(ready: TestClient, service: Service):
    far, near = ({"rows": [FLIGHT | {"sched_dep": moment}]} for moment in ("2099-01-01T02:00:00Z", "2013-07-01T14:05:00Z"))
    refused, answered = service.answering.answer_together([service.parse(json.dumps(body).encode()) for body in (far, near)])
    assert isinstance(refused, BadRequest) and isinstance(answered, bytes)


@pytest.mark.parametrize(("ahead", "is_legal"), [(-25, False), (-24, True), (0, True), (2, True), (3, False)])
def test_the_horizon_is_declared(ahead: int, is_legal: bool):
    limits, now = Limits(max_ahead=timedelta(hours=2), max_past=timedelta(days=1)), MOMENT
    with nullcontext() if is_legal else pytest.raises(BadRequest, match="2013-06-30T12:00:00.*2013-07-01T14:00:00"):
        refuse_moments([now, now + timedelta(hours=ahead)], now, limits)


def test_a_row_without_a_moment_is_refused():
    with pytest.raises(BadRequest, match="none"):
        refuse_moments([None], MOMENT, Limits())


def test_a_retry_under_one_idempotency_key_is_answered_and_logged_once(ready: TestClient, service: Service):
    body, headers = {"rows": [FLIGHT]}, {"Idempotency-Key": "5f1c"}
    first, retry = (ready.post("/predict", json=body, headers=headers) for _ in range(2))
    assert first.content == retry.content and len(service.answering.log.read()[0]) == 1
    other = ready.post("/predict", json={"rows": [FLIGHT | {"flight": 2}]}, headers=headers)
    assert (other.status_code, other.json()["error"]["found"]) == (422, "an Idempotency-Key that came with another body")
    without = [predict(ready, FLIGHT) for _ in range(2)]
    assert len({response.content for response in without}) == 2 and len(service.answering.log.read()[0]) == 3


@pytest.mark.parametrize("rows", [1, 201])
def test_an_answer_that_is_ready_after_the_deadline_is_not_logged(ready: TestClient, service: Service, rows: int):
    body, now = json.dumps({"rows": [FLIGHT] * rows}).encode(), service.answering.clock()
    late, early = (service.parse(body, deadline=now + seconds) for seconds in (0, 100))
    outcomes = service.answering.answer_together([late, early])
    assert isinstance(outcomes[0], TimeoutError) and isinstance(outcomes[1], bytes)
    assert len(service.answering.log.read()[0]) == rows


def test_a_wrong_method_is_refused_in_json(ready: TestClient):
    response = ready.get("/predict")
    assert response.status_code == 405 and response.json()["error"]["found"] == "Method Not Allowed"


def test_when_the_log_cannot_be_written_every_request_is_refused(ready: TestClient, home: Home):
    home.prediction_log.write_text("a file where the folder belongs")
    response = predict(ready, FLIGHT)
    assert response.status_code == 503 and "prediction_id" not in response.text
    assert response.headers["Retry-After"] and response.json()["error"]["found"] == "the prediction log cannot be written"
    assert str(home.root) not in response.text
    assert 'mlops_log_failures_total{use_case="flight_delay"} 1.0' in ready.get("/metrics").text


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"Content-Type": "text/plain"}, "Content-Type: text/plain"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "Content-Type: application/x-www-form-urlencoded"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "Content-Encoding: gzip"),
    ],
)
def test_a_body_that_is_not_plain_json_is_refused_by_its_headers(ready: TestClient, headers: dict[str, str], found: str):
    response = ready.post("/predict", content=json.dumps({"rows": [FLIGHT]}), headers=headers)
    assert (response.status_code, response.json()["error"]["found"]) == (415, found)
    assert ("curl" in response.json()["error"]["next"]) == found.startswith("Content-Type")
    plain = {"Content-Type": "application/json; charset=utf-8", "Content-Encoding": "identity"}
    assert ready.post("/predict", content=json.dumps({"rows": [FLIGHT]}), headers=plain).status_code == 200


def test_the_old_address_of_the_api_document_leads_to_bento_s(ready: TestClient):
    response = ready.get("/openapi.json", follow_redirects=False)
    assert (response.status_code, response.headers["Location"]) == (307, "docs.json")


@pytest.mark.parametrize("prefix", ["", "/models/flights"])
def test_behind_a_proxy_the_routes_have_the_path_of_the_service_url_whether_the_proxy_removes_it_or_not(home: Home, prefix: str):
    environment = Environment("local", Path(), home, {SHARED: (f"https://example.com{prefix}/",)})
    service = assemble(USE_CASE, environment, temperatures().look_up)

    async def bento(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(f"Bento's {scope['path']}")(scope, receive, send)

    client = TestClient(ApiApp(bento, lambda: Services([service])))
    for before in {prefix, ""}:
        assert client.get(f"{before}/plan").json()["use_case"] == USE_CASE.name
        assert client.get(f"{before}/livez").text == "Bento's /livez"
        assert client.post(f"{before}/predict", json={}).json()["error"]["field"] == "rows"
    assert client.get("/other/plan/x").text == "Bento's /other/plan/x"


def test_features_given_are_taken_as_they_are_and_logged(ready: TestClient, service: Service):
    inputs = dict.fromkeys(USE_CASE.features.numeric) | {"carrier": "UA", "origin": "EWR", "dest": None, "weekday": "Mon"}
    feature_rows = [inputs | {"temp": 60.0}, inputs | {"temp": None}]
    alone = ready.post("/predict", json={"features": feature_rows}).json()["predictions"]
    with_rows = ready.post("/predict", json={"features": feature_rows, "rows": [FLIGHT, FLIGHT]}).json()["predictions"]
    for first, second in (alone, with_rows):
        assert first["probability"] == pytest.approx(sigmoid(0.60 - 1), abs=1e-6) and first["features_from"] == "request"
        assert second["probability"] == pytest.approx(sigmoid(-1), abs=1e-6)
    rows, _ = service.answering.log.read()
    assert rows["flight"].to_list() == [None, None, 1545, 1545] and rows["temp"].to_list() == [60.0, None, 60.0, None]
    assert rows["carrier"].to_list() == ["UA"] * 4 and rows["event_timestamp"].null_count() == 0


def test_an_explanation_adds_up_to_the_prediction(ready: TestClient):
    (prediction,) = ready.post("/predict", json={"rows": [FLIGHT], "explain": True}).json()["predictions"]
    details = prediction["explanation"]
    assert next(iter(details["contributions"])) == "temp"
    log_odds = sum(details["contributions"].values()) + math.log(
        details["baseline_probability"] / (1 - details["baseline_probability"])
    )
    assert sigmoid(log_odds) == pytest.approx(prediction["probability"], abs=1e-6)
    assert "explanation" not in predict(ready, FLIGHT).json()["predictions"][0]
    refused = ready.post("/predict?explain=true", json={"rows": [FLIGHT]})
    assert (refused.status_code, refused.json()["error"]["found"]) == (400, "explain in the query")


def test_a_request_belongs_to_the_trace_of_its_caller(ready: TestClient, service: Service):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    for header in (f"00-{trace}-00f067aa0ba902b7-01", "nonsense", ""):
        ready.post("/predict", json={"rows": [FLIGHT]}, headers={"traceparent": header})
    traces = service.answering.log.read()[0]["trace_id"].to_list()
    assert traces[0] == trace and len(set(traces)) == 3 and {len(trace_id) for trace_id in traces} == {32}


def test_requests_are_counted_by_status_and_arm(ready: TestClient):
    predict(ready, FLIGHT, FLIGHT)
    predict(ready, {})
    ready.get("/predict")
    counted = ready.get("/metrics").text
    for status in ("200", "400", "405"):
        assert f'mlops_requests_total{{status="{status}",use_case="flight_delay"}} 1.0' in counted
    assert 'mlops_answer_seconds_count{arm="champion",use_case="flight_delay",version="1"} 1.0' in counted
    assert 'mlops_predictions_total{arm="champion",features_from="online",use_case="flight_delay",version="1"} 2.0' in counted
    assert 'mlops_plan{use_case="flight_delay"} 1.0' in counted


def test_other_routes_are_answered_by_bento(client: TestClient):
    assert client.get("/livez").text == "Bento's"
