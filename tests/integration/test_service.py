"""Two replicas of the real service on one home, through every planned change, under continuous traffic."""

import json
import math
import pickle
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from scipy.stats import binom

from mlops_assets.foundation.home import Home
from mlops_assets.promotion.deployment import Plan
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.integration.running_service import AT, Response, Server, started, wait_for_plan, wait_until
from tests.integration.traffic import AGREED, flights, log_of, traffic
from tests.serving.flights import FLIGHT, DirectDeployment, blessed, flip_a_bit, place_blessed, tiny_model

pytestmark = pytest.mark.integration

BIAS = {1: -1.0, 2: 1.0, 3: 0.5}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector(ThreadingHTTPServer):
    """Receives OpenTelemetry's spans by OTLP over HTTP, on a port of its own."""

    def __init__(self) -> None:
        self.traces = traces = set[str]()

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
                    traces.update(span.trace_id.hex() for scope in resource.scope_spans for span in scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Prints nothing."""

        super().__init__(("127.0.0.1", 0), Take)
        Thread(target=self.serve_forever, daemon=True).start()


@dataclass
class Replicas:
    """Two servers of one home; spans of the second go to `collector`. `before` holds the responses of the first without a champion."""

    home: Home
    first: Server
    second: Server
    collector: Collector
    before: dict[str, Response]

    @property
    def both(self) -> tuple[Server, Server]:
        return self.first, self.second

    @property
    def deployment(self) -> DirectDeployment:
        return DirectDeployment(self.home.deployments, USE_CASE.name)

    def taken(self, plan: Plan) -> Plan:
        """The plan, once both serve it, which must be within a second."""
        assert max(wait_for_plan(server, plan.number) for server in self.both) < 1
        return plan

    def point(self, version: int) -> Plan:
        return self.taken(self.deployment.point(version, AT, "better"))

    def route(self, **slots: Any) -> Plan:
        return self.taken(self.deployment.route(**slots, at=AT, reason="a test"))


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    home, collector = Home(tmp_path_factory.mktemp("home")), Collector()
    traced = {
        "OTEL_SDK_DISABLED": "false",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    service = "tests.integration.varied_services:Sticky"
    first, second = Server(home, service), Server(home, service, traced)
    with started(first, second):
        responses = {"predict": first.predict({"rows": [FLIGHT]}), "readyz": first.ask("/readyz"), "livez": first.ask("/livez")}
        there = Replicas(home, first, second, collector, responses | {"plan": first.ask("/plan")})
        for version, bias in BIAS.items():
            place_blessed(home, version, bias)
        there.point(1)
        yield there
    collector.shutdown()


def probability(version: int) -> float:
    """Of FLIGHT by the tiny model of that version, at 80 degrees."""
    return 1 / (1 + math.exp(-(0.80 + BIAS[version])))


def arms(server: Server, rows: list[dict[str, Any]]) -> list[str]:
    return [prediction["arm"] for prediction in server.predict({"rows": rows}).content["predictions"]]


def test_without_a_champion_a_server_is_alive_and_not_ready(replicas: Replicas):
    before = replicas.before
    assert {name: response.status for name, response in before.items()} == {
        "predict": 503,
        "readyz": 503,
        "livez": 200,
        "plan": 200,
    }
    assert before["predict"].content["error"]["found"] == "no champion serves yet" and int(
        before["predict"].headers["retry-after"]
    )
    assert before["plan"].content["champion"] is None


def test_a_server_with_a_champion_is_ready_documented_and_counts_its_responses(replicas: Replicas):
    server = replicas.first
    before = {status: server.counted("mlops_requests_total", status=status) for status in ("200", "400", "503")}
    statuses = [server.predict(request).status for request in ({"rows": [FLIGHT]}, {"rows": []}, {"rows": [{}]})]
    assert statuses == [200, 400, 400] and before["503"] == 1
    assert server.counted("mlops_requests_total", status="200") == before["200"] + 1
    assert server.counted("mlops_requests_total", status="400") == before["400"] + 2
    assert server.answers("/readyz") and server.answers("/")
    assert server.ask("/openapi.json").headers["location"] == "docs.json"
    plan = server.plan()
    assert (plan["champion"], plan["plan"], plan["last_load_error"]) == (1, replicas.deployment.plan().number, None)  # type: ignore[union-attr]


def test_many_rows_are_answered_in_order_and_an_explanation_adds_up(replicas: Replicas):
    rows = flights(0, 1000)
    predictions = replicas.first.predict({"rows": rows}).content["predictions"]
    kept = log_of(replicas.home).read()[0].select("prediction_id", "flight").rows()
    flights_by_id = {prediction["prediction_id"]: row["flight"] for prediction, row in zip(predictions, rows, strict=True)}
    assert flights_by_id.items() <= dict(kept).items()
    (explained,) = replicas.first.predict({"rows": [FLIGHT], "explain": True}).content["predictions"]
    baseline = explained["explanation"]["baseline_probability"]
    log_odds = math.log(baseline / (1 - baseline)) + sum(explained["explanation"]["contributions"].values())
    assert 1 / (1 + math.exp(-log_odds)) == pytest.approx(explained["probability"], abs=1e-6)


def test_no_request_fails_while_models_are_promoted_rolled_back_and_rolled_out(replicas: Replicas):
    before = [server.counted("mlops_requests_total", status="200") for server in replicas.both]
    with traffic(*replicas.both) as flow:
        plans = [replicas.point(2)]
        plans.append(replicas.point(plans[0].previous or 0))  # what a rollback does
        plans.append(replicas.route(challenger=2, share=0.3))
        plans.append(replicas.route(challenger=2, share=0.5, split="ab", shadow=3))
        plans.append(replicas.route(shadow=3))
        plans.append(replicas.route())
        time.sleep(0.2)
    assert [plan.champion for plan in plans] == [2, 1, 1, 1, 1, 1]
    assert (flow.refused.total(), flow.cut, flow.not_connected) == (0, 0, 0) and flow.sent == flow.answers > 100
    assert flow.difference() == AGREED
    assert {plan.number for plan in plans} <= {answer.plan for answer in flow.answered.values()}
    assert {(answer.version, answer.arm) for answer in flow.answered.values()} == {
        (1, "champion"),
        (2, "champion"),
        (2, "challenger"),
    }
    after = [server.counted("mlops_requests_total", status="200") for server in replicas.both]
    assert sum(after) - sum(before) == flow.answers


def test_a_canary_has_its_declared_share_is_equal_on_both_replicas_and_grows_by_adding(replicas: Replicas):
    rows, arms_by_share = flights(0, 4000), list[list[str]]()
    for share in (0.05, 0.2):
        plan = replicas.route(challenger=2, share=share)
        first, second = (server.predict({"rows": rows}).content for server in replicas.both)
        arms_by_share.append([prediction["arm"] for prediction in first["predictions"]])
        assert arms_by_share[-1] == [prediction["arm"] for prediction in second["predictions"]]
        least, most = binom.interval(0.999, len(rows), share)
        assert least <= arms_by_share[-1].count("challenger") <= most
        kept = log_of(replicas.home).read()[0]
        logged = {name: values for name, *values in kept.select("prediction_id", "arm", "plan", "flight").iter_rows()}
        for row, prediction in zip(rows, first["predictions"], strict=True):
            assert logged[prediction["prediction_id"]] == [prediction["arm"], plan.number, row["flight"]]
    for small, large in zip(*arms_by_share, strict=True):
        assert large == "challenger" or small == "champion"
    replicas.route()


def test_an_a_b_test_keeps_each_client_in_one_arm_on_every_replica(replicas: Replicas):
    replicas.route(challenger=2, share=0.5, split="ab")
    clients = [f"N{number}" for number in range(300)]
    requests = [[row | {"tailnum": client} for row, client in zip(flights(at, 300), clients, strict=True)] for at in (0, 5000)]
    answers = [arms(server, rows) for server in replicas.both for rows in requests]
    assert all(answer == answers[0] for answer in answers) and 100 < answers[0].count("challenger") < 200
    replicas.route()


def test_a_shadow_scores_what_the_champion_answers_and_no_client_notices(replicas: Replicas):
    shadows, waited = PredictionLog(replicas.home.shadow_log, USE_CASE), 5
    _, before = shadows.read()
    plan = replicas.route(shadow=3)
    with traffic(*replicas.both) as flow:
        time.sleep(0.3)
    assert {(answer.version, answer.arm) for answer in flow.answered.values()} == {
        (1, "champion")
    } and flow.difference() == AGREED
    (answer,) = replicas.first.predict({"rows": [FLIGHT]}).content["predictions"]
    ids = [*flow.answered, answer["prediction_id"]]
    wait_until(lambda: len(shadows.read(before)[0]) == len(ids), waited, lambda: len(shadows.read(before)[0]))
    kept = shadows.read(before)[0]
    assert sorted(kept["prediction_id"]) == sorted(ids)
    assert kept.select("arm", "model_version", "plan").unique().rows() == [("shadow", 3, plan.number)]
    (shadowed,) = kept.filter(prediction_id=answer["prediction_id"])["probability"]
    assert (answer["probability"], shadowed) == pytest.approx((probability(1), probability(3)), abs=1e-6)
    replicas.route()


def test_nothing_unblessed_is_served_and_the_previous_champion_serves_on(replicas: Replicas):
    server, deployment, keys = replicas.first, replicas.deployment, SigningKeys(replicas.home.keys)
    model, pickled = tiny_model(2), pickle.dumps({"a": "pickle"})
    deployment.place(11, model, blessed(11, model, keys).to_json())
    flip_a_bit(replicas.home.deployments / USE_CASE.name / "models" / "11" / "model.onnx")
    deployment.place(12, model, replace(blessed(12, model, keys), signature="").to_json())
    deployment.place(13, pickled, blessed(13, pickled, keys).to_json())
    with traffic(*replicas.both, clients=2) as flow:
        for version, why in ((11, "not the blessed one"), (12, "was altered"), (13, "onnxruntime refuses it")):
            failures = server.counted("mlops_model_load_failures_total")
            plan = deployment.point(version, AT, "an attempt")
            wait_until(lambda why=why: why in str(server.plan()["last_load_error"]), 2, server.plan)
            assert server.counted("mlops_model_load_failures_total") == failures + 1
            message = f"plan {plan.number} is not taken · version {version} is not served"
            assert any(message in line["message"] and why in line["message"] for line in log_lines(server))
    assert flow.sent == flow.answers and flow.difference() == AGREED
    assert {answer.version for answer in flow.answered.values()} == {1}
    replicas.point(1)
    assert server.plan()["last_load_error"] is None


def test_a_trace_goes_on_from_the_caller_into_the_collector_and_the_log(replicas: Replicas):
    answer = replicas.second.predict({"rows": [FLIGHT]}, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01").content
    wait_until(lambda: TRACE in replicas.collector.traces, 5, lambda: len(replicas.collector.traces))
    kept = log_of(replicas.home).read()[0].filter(prediction_id=answer["predictions"][0]["prediction_id"])
    assert kept["trace_id"].to_list() == [TRACE]


def test_no_request_fails_while_a_replica_is_drained_and_started_again(replicas: Replicas):
    """Clients switch to the other replica when one refuses or cuts a connection. Requests that were cut are not in the log: on
    SIGTERM a server answers what it has read, and reads no more.
    """
    leaving = replicas.first
    with traffic(*replicas.both, again=True) as flow:
        large = HTTPConnection("127.0.0.1", leaving.port, timeout=30)
        large.request("POST", "/predict", json.dumps({"rows": flights(0, 10_000)}))
        time.sleep(0.1)  # its processing takes some tenths of a second
        assert leaving.end(signal.SIGTERM) == 0
        answered_ids = {prediction["prediction_id"] for prediction in json.loads(large.getresponse().read())["predictions"]}
        gone_at = time.monotonic()
        leaving.start()
        wait_until(lambda: leaving.answers("/readyz"), 30, leaving.last_words)
    assert flow.refused.total() == 0 and flow.sent == flow.answers and flow.moments[-1] > gone_at
    assert sorted(flow.logged["prediction_id"]) == sorted(flow.answered.keys() | answered_ids)
    with traffic(leaving) as flow:
        time.sleep(0.2)
    assert flow.sent == flow.answers > 0 and flow.difference() == AGREED


def log_lines(server: Server) -> list[dict[str, Any]]:
    """The lines of the worker: JSON with MLOPS_ENV=test, except what Bento's parent prints at its start."""
    lines = server.log.read_text().splitlines()
    return [json.loads(line) for line in lines if "Starting production HTTP BentoServer" not in line]


def test_log_lines_of_a_server_are_json_with_moment_level_and_message(replicas: Replicas):
    for line in log_lines(replicas.first):
        assert {"at", "level", "name", "message"} <= line.keys()
    assert any("version 1 serves" in line["message"] for line in log_lines(replicas.first))


def test_a_server_ends_cleanly_when_it_is_interrupted(replicas: Replicas):
    assert replicas.second.end(signal.SIGINT) == 0
