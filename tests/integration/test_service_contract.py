"""What clients may send to a running service: everything that its schema allows, and what it does not."""

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from mlops_assets.foundation.home import Home
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.serving.http.request import BODY, MAX_EXPLAINED
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.integration import traffic as ask
from tests.integration.hostile_clients import MB, sent, unharmed
from tests.integration.running_service import AT, Response, Server, started, wait_until
from tests.integration.traffic import flights, log_of, traffic
from tests.serving.flights import FLIGHT, place_blessed

pytestmark = pytest.mark.integration

MOST = USE_CASE.serving.limits.max_body_bytes
# What OpenAPI does not express: equal lengths, one part at least, rows to explain, how far ahead a moment is.
UNDOCUMENTED = ("as many features as rows", BODY, f"at most {MAX_EXPLAINED} rows", "a prediction moment from")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """One with the usual limits, one with narrow ones."""
    usual, narrow = (
        Server(Home(tmp_path_factory.mktemp(name)), f"tests.integration.varied_services:{name}") for name in ("Sticky", "Narrow")
    )
    for server in (usual, narrow):
        place_blessed(server.home, 1, bias=-1).point(1, AT, "first")
    with started(usual, narrow):
        yield usual, narrow


@pytest.fixture
def server(servers: tuple[Server, Server]) -> Server:
    return servers[0]


@pytest.fixture
def narrow(servers: tuple[Server, Server]) -> Server:
    time.sleep(1)  # its callers have used up their rate
    return servers[1]


# --- the document ------------------------------------------------------------------------------------------------------


def test_schemathesis_finds_no_response_that_the_document_does_not_describe(server: Server, tmp_path: Path):
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"http://127.0.0.1:{server.port}/docs.json"]
    # A valid request that is refused is looked for below, for here no exception can be made for what is UNDOCUMENTED.
    options = ["--max-examples", "60", "--continue-on-failure", "--exclude-checks", "positive_data_acceptance", "--seed", "4"]
    options += ["--exclude-path", "/predict"]  # the same as /flight_delay/predict
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert server.counted("mlops_requests_total", status="200") > 50 and server.counted("mlops_requests_total", status="400") > 50
    assert server.counted("mlops_requests_total", status="500") == 0


def test_a_request_that_the_schema_allows_is_answered(server: Server):
    operation = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/docs.json")["/predict"]["POST"]
    answered = 0

    @settings(max_examples=60, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None)
    @given(operation.as_strategy())
    def every_request(case: schemathesis.Case) -> None:
        nonlocal answered
        response = case.call()
        answered += response.status_code == 200
        is_legal = response.status_code == 200
        assert is_legal or all(one["legal"].startswith(UNDOCUMENTED) for one in response.json()["errors"]), response.text

    every_request()
    assert answered > 30


# --- what is too large ------------------------------------------------------------------------------------------------


def test_a_hundred_megabytes_are_refused_however_they_come_and_never_held(server: Server):
    piece = b" " * 65536
    chunk, count = b"%x\r\n%b\r\n" % (len(piece), piece), 100 * MB // len(piece)
    announced, chunked = f"Content-Length: {100 * MB}", "Transfer-Encoding: chunked"
    before = server.counted("mlops_requests_total", status="413")
    with unharmed(server, max_grown_mb=4 * MOST / MB + 60), ThreadPoolExecutor(8) as clients:
        responses = [clients.submit(sent, server, announced, [piece] * count) for _ in range(4)]
        responses += [clients.submit(sent, server, chunked, [chunk] * count) for _ in range(4)]
        assert {answer.result() for answer in responses} <= {413, None}
        assert sent(server, f"{announced}\r\nExpect: 100-continue", []) == 413
    assert server.counted("mlops_requests_total", status="413") == before + len(responses) + 1


@pytest.mark.parametrize(
    ("start", "one", "end", "status"),
    [
        (b'{"rows": [', b"{},", b"{}]}", 400),
        (b'{"rows": [', b"1,", b"1]}", 400),
        (b"", b"[", b"", 400),
        (b'{"rows": [{"carrier": ', b'{"a":', b"", 400),
        (b'{"rows": [{', b'"a":1,', b'"b":1}]}', 400),
        (b'{"features": [{"temp": 1', b"1", b"}]}", 400),
        (b'{"rows": [{"carrier": "', b"\\u0041", b'"}]}', 400),
    ],
    ids=["empty rows", "numbers", "deep lists", "deep objects", "unknown fields", "a long number", "a long text"],
)
def test_the_largest_body_that_is_read_delays_no_other_request(server: Server, start: bytes, one: bytes, end: bytes, status: int):
    body = start + one * ((MOST - len(start) - len(end)) // len(one)) + end
    with unharmed(server, max_grown_mb=4 * MOST / MB + 60):
        assert server.ask("/predict", body).status == status


def test_ten_thousand_wrong_rows_delay_no_other_request(server: Server):
    with unharmed(server, max_grown_mb=60):
        responses = [server.predict({"rows": [{}] * 10_000}) for _ in range(5)]
    assert {answer.status for answer in responses} == {400} and len(responses[0].content["errors"]) == 20
    assert responses[0].content["total_errors"] < 1100  # of 60,000: the rest is not searched for


# --- what is no request -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"rows": [FLIGHT]}).encode("utf-16"),
        json.dumps({"rows": [FLIGHT]}).encode("utf-32"),
        json.dumps({"rows": [FLIGHT | {"carrier": "Ü"}]}, ensure_ascii=False).encode("latin-1"),
        gzip.compress(json.dumps({"rows": [FLIGHT]}).encode()),
        b'{"rows": [{"carrier": "\xff\xfe"}]}',
        b'{"rows": [{"carrier": "\\ud800"}]}',
        b"\x00" * 1000,
        b"",
        b'{"rows": [], "rows": []}',
        b'{"rows": [], "features": []}',
        json.dumps({"rows": [FLIGHT], "features": []}).encode(),
        json.dumps({"rows": [], "features": [ask.NOTHING]}).encode(),
        *(json.dumps({"rows": [FLIGHT | {"flight": value}]}).encode() for value in (float("nan"), float("inf"), 1e400, 10**400)),
        *(json.dumps({"features": [ask.NOTHING | {"temp": value}]}).encode() for value in (float("nan"), float("-inf"))),
        b'{"features": [' + json.dumps(ask.NOTHING | {"temp": 0}).encode().replace(b'"temp": 0', b'"temp": 1e999') + b"]}",
    ],
)
def test_a_body_that_is_no_request_gets_an_error_that_describes_one(server: Server, body: bytes):
    response = server.ask("/predict", body, {"Content-Type": "application/json"})
    assert response.status == 400 and set(response.content["error"]) == {"row", "field", "found", "legal", "next"}


def test_a_compressed_body_is_refused_by_its_header(server: Server):
    body = gzip.compress(json.dumps({"rows": [FLIGHT]}).encode())
    assert server.ask("/predict", body, {"Content-Encoding": "gzip"}).status == 415


# --- keys and limits --------------------------------------------------------------------------------------------------


def test_above_the_rate_a_429_has_the_time_to_wait(narrow: Server):
    with traffic(narrow, clients=1, asks=(ask.given,)) as flow:
        time.sleep(1.5)
    response = next(candidate for candidate in iter(lambda: narrow.predict(ask.given(0)), None) if candidate.status == 429)
    assert int(response.headers["retry-after"]) >= 1 and response.content["error"]["legal"] == "20 requests a second for each key"
    assert set(flow.refused) == {429} and flow.sent == flow.answers + flow.refused[429]
    assert 40 <= flow.answers <= 55 and flow.difference().answered_not_logged == 0  # a burst of 20, and 20 a second


def test_a_key_is_valid_from_its_creation_to_its_revocation_while_the_server_runs(narrow: Server):
    def with_key(token: str) -> Response:
        time.sleep(0.1)
        return narrow.predict(ask.given(0), Authorization=f"Bearer {token}")

    keys, now = ApiKeys(narrow.home.keys), datetime.now(UTC)
    assert narrow.predict(ask.given(0)).status == 200
    first, second = (keys.add(name, now, lambda name=name: name * 43) for name in ("a", "b"))
    wait_until(lambda: with_key("").status == 401, 1.5, lambda: "answers without a key")
    unknown = with_key("mlops_unknown")
    assert unknown.status == 401 and unknown.headers["www-authenticate"] == "Bearer"
    assert with_key(first).status == 200 and narrow.predict(ask.given(0), **{"X-API-Key": second}).status == 200
    keys.revoke("a", now)
    wait_until(lambda: with_key(first).status == 401, 1.5, lambda: "answers a revoked key")
    assert with_key(second).status == 200
    assert narrow.counted("mlops_requests_total", status="401") >= 3 and len(log_of(narrow.home).read()[0]) > 0
    assert first not in narrow.log.read_text()


def test_a_full_service_refuses_at_once_with_the_time_to_wait(narrow: Server):
    """The last test of this server: a request that timed out continues for a while, and delays others."""
    key = {"X-API-Key": ApiKeys(narrow.home.keys).add("last", datetime.now(UTC), lambda: "last" * 11)}
    wait_until(lambda: narrow.predict(ask.given(0), **key).status == 200, 3, lambda: "does not know the key")
    with ThreadPoolExecutor(1) as large:
        slow = large.submit(lambda: narrow.predict({"rows": flights(0, 60_000)}, **key))
        wait_until(lambda: narrow.counted("mlops_in_flight") == 1, 5, lambda: "never in flight")
        response = narrow.predict(ask.given(0), **key)
        assert slow.result().status == 504  # it takes longer than the 0.3 s that it may
    assert (response.status, response.headers["retry-after"], response.content["error"]["found"]) == (
        429,
        "1",
        "the service is full",
    )
    assert narrow.counted("mlops_in_flight") == 0
