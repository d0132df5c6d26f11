import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops_assets.serving.http.admission import ANONYMOUS, Admission
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.serving.http.rate_limit import RateLimiter
from mlops_assets.serving.http.request import Refusal
from mlops_assets.spec.serving import Limits

AT = datetime(2026, 3, 2, 8, tzinfo=UTC)
SHOP = [(b"host", b"localhost"), (b"authorization", b"Bearer mlops_s"), (b"content-type", b"application/json")]
APP = [(b"x-api-key", b"mlops_a")]


class Clock:
    """Seconds that the test moves on."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """An Admission over a real file of keys: `shop` and `app` by default."""

    def __init__(self, folder: Path, *, names: str = "shop app", limits: Limits | None = None, is_open: bool = True) -> None:
        self.keys, self.clock, self.file = ApiKeys(folder), Clock(), folder / "api_keys.json"
        for name in names.split():
            self.keys.add(name, AT, lambda name=name: name[0])
        limits = limits or Limits()
        rates = RateLimiter(limits.max_rate, scope="flights", redis_url=None, clock=self.clock) if limits.max_rate else None
        self.admission = Admission(self.keys, limits, use_case="flights", clock=self.clock, is_open=is_open, rates=rates)

    def admit(self, headers: list[tuple[bytes, bytes]], *, after_s: float = 0.0) -> str:
        self.clock.now += after_s
        return asyncio.run(self.admission.admit(headers))

    def refused(self, headers: list[tuple[bytes, bytes]], *, after_s: float = 0.0) -> Refusal:
        with pytest.raises(Refusal) as refusal:
            self.admit(headers, after_s=after_s)
        return refusal.value


@pytest.mark.parametrize(
    "headers",
    [
        SHOP,
        [(b"x-api-key", b"mlops_s")],
        [(b"authorization", b"bearer mlops_s")],
        [(b"authorization", b"Bearer   mlops_s ")],
        [(b"authorization", b"Basic dXNlcjpwYXNz"), (b"x-api-key", b"mlops_s")],
        [(b"x-api-key", b"mlops_s"), (b"authorization", b"Bearer of-a-proxy")],
    ],
)
def test_a_key_is_taken_from_either_header(tmp_path: Path, headers: list[tuple[bytes, bytes]]):
    assert Server(tmp_path).admit(headers) == "shop"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], "no API key"),
        ([(b"authorization", b"Basic mlops_s")], "no API key"),
        ([(b"authorization", b"mlops_s")], "no API key"),
        ([(b"authorization", b"Bearer ")], "unknown or revoked"),
        ([(b"x-api-key", b"")], "unknown or revoked"),
        ([(b"x-api-key", b"mlops_x")], "unknown or revoked"),
        ([(b"x-api-key", b"s")], "unknown or revoked"),
        ([(b"x-api-key", b"\xff\x00")], "unknown or revoked"),
    ],
)
def test_a_request_without_a_known_key_is_refused(tmp_path: Path, headers: list[tuple[bytes, bytes]], found: str):
    refusal = Server(tmp_path).refused(headers)
    assert (refusal.status, refusal.headers) == (401, ((b"www-authenticate", b"Bearer"),))
    assert found in refusal.problem.found
    assert "Authorization: Bearer" in refusal.problem.legal
    assert "mlops keys add" in refusal.problem.next


def test_a_refusal_does_not_repeat_the_token(tmp_path: Path):
    refusal = Server(tmp_path).refused([(b"x-api-key", b"mlops_almost-right")])
    assert "almost-right" not in f"{refusal} {refusal.problem}"


def test_the_hash_of_a_token_is_no_token(tmp_path: Path):
    server = Server(tmp_path)
    stored = server.keys.entries()[0].sha256
    for token in (stored.encode(), bytes.fromhex(stored)):
        assert server.refused([(b"x-api-key", token)]).status == 401


def test_before_the_first_key_a_server_is_open_or_closed_as_declared(tmp_path: Path):
    assert Server(tmp_path, names="").admit([]) == ANONYMOUS
    refusal = Server(tmp_path, names="", is_open=False).refused(APP)
    assert refusal.status == 401
    assert "mlops keys add NAME" in refusal.problem.next


def test_the_first_key_closes_an_open_server_within_a_second(tmp_path: Path):
    server = Server(tmp_path, names="")
    assert server.admit([]) == ANONYMOUS
    server.keys.add("shop", AT, lambda: "s")
    assert server.refused([], after_s=1.0).status == 401
    assert server.admit(SHOP) == "shop"


@pytest.mark.parametrize("is_open", [True, False])
def test_a_revocation_holds_within_a_second_even_of_the_last_key(tmp_path: Path, is_open: bool):
    server = Server(tmp_path, is_open=is_open)
    assert server.admit(SHOP) == "shop"
    server.keys.revoke("shop", AT)
    assert server.refused(SHOP, after_s=1.0).status == 401
    assert server.admit(APP) == "app"
    server.keys.revoke("app", AT)
    assert server.refused(APP, after_s=1.0).status == 401
    assert server.refused([]).status == 401, "no key any more does not open the server"


def test_the_file_is_looked_at_once_a_second_at_most(tmp_path: Path):
    server = Server(tmp_path)
    server.keys.revoke("shop", AT)
    assert server.admit(SHOP, after_s=0.9) == "shop"
    assert server.refused(SHOP, after_s=0.1).status == 401


@pytest.mark.parametrize("how", ["torn", "removed", "a folder"])
def test_a_file_that_cannot_be_read_any_more_admits_no_request_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
):
    server = Server(tmp_path)
    good = server.file.read_bytes()
    server.file.unlink()
    if how == "torn":
        server.file.write_bytes(good[:30])
    elif how == "a folder":
        server.file.mkdir()
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            refusal = server.refused(SHOP, after_s=1.0)
            assert (refusal.status, refusal.headers) == (503, ((b"retry-after", b"5"),))
            assert refusal.problem.found.startswith("the API keys cannot be read, so no request is admitted")
            assert server.refused([]).status == 503
    assert server.admission.problem == refusal.problem.found and str(tmp_path) not in server.admission.problem
    (record,) = caplog.records
    assert "no request is admitted: " in record.getMessage()
    if how == "a folder":
        server.file.rmdir()
    server.file.write_bytes(good)
    server.keys.revoke("shop", AT)
    assert server.refused(SHOP, after_s=1.0).status == 401, "once mended, it counts again"
    assert server.admit(APP) == "app" and server.admission.problem is None


@pytest.mark.parametrize("is_folder", [True, False])
def test_an_open_server_that_cannot_read_the_first_key_admits_no_request(tmp_path: Path, is_folder: bool):
    server = Server(tmp_path, names="")
    assert server.admit([]) == ANONYMOUS
    if is_folder:
        server.file.mkdir()
    else:
        server.file.write_text('[{"name": "shop"')
    assert server.refused([], after_s=1.0).status == 503
    assert server.refused(SHOP).status == 503


def test_trouble_that_comes_again_is_logged_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    server = Server(tmp_path)
    good = server.file.read_bytes()
    for content in (b"[", good, b"["):
        server.file.write_bytes(content)
        server.clock.now += 1.0
        assert (server.admission.problem is None) == (content == good)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("is_open", [True, False])
def test_a_server_that_starts_without_reading_its_keys_admits_no_request_until_it_can(tmp_path: Path, is_open: bool):
    (tmp_path / "api_keys.json").write_text("[")
    server = Server(tmp_path, names="", is_open=is_open)
    assert [server.refused(headers).status for headers in (SHOP, APP, [])] == [503, 503, 503]
    server.file.unlink()
    assert server.refused([], after_s=1.0).status == 503, "the file was there: its keys are lost, and not never made"
    server.keys.add("shop", AT, lambda: "s")
    assert server.admit(SHOP, after_s=1.0) == "shop" and server.refused([]).status == 401


def test_above_its_rate_a_key_gets_429_with_retry_after_and_other_keys_pass(tmp_path: Path):
    server = Server(tmp_path, limits=Limits(max_rate=10))
    for _ in range(10):
        assert server.admit(SHOP) == "shop"
    refusal = server.refused(SHOP)
    assert (refusal.status, refusal.headers) == (429, ((b"retry-after", b"1"),))
    assert (refusal.problem.found, refusal.problem.legal) == (
        "too many requests with the key 'shop'",
        "10 requests a second for each key",
    )
    assert server.admit(APP) == "app"


def test_without_a_rate_every_request_is_admitted(tmp_path: Path):
    server = Server(tmp_path)
    assert {server.admit(SHOP) for _ in range(200)} == {"shop"}


def test_anonymous_callers_share_one_rate(tmp_path: Path):
    server = Server(tmp_path, names="", limits=Limits(max_rate=1))
    assert server.admit([]) == ANONYMOUS
    assert server.refused([]).status == 429


def test_above_so_many_at_once_a_request_is_refused_until_another_has_left(tmp_path: Path):
    admission = Server(tmp_path, limits=Limits(max_in_flight=2)).admission
    admission.enter()
    admission.enter()
    for _ in range(3):
        with pytest.raises(Refusal) as refusal:
            admission.enter()
        assert (refusal.value.status, refusal.value.headers) == (429, ((b"retry-after", b"1"),))
        assert refusal.value.problem.legal == "at most 2 requests at once"
    assert admission.in_flight == 2, "who was refused has nothing to leave"
    admission.leave()
    admission.enter()
    admission.leave()
    admission.leave()
    assert admission.in_flight == 0


def test_a_key_of_other_use_cases_is_refused_by_403_and_unknown_ones_by_401(tmp_path: Path):
    server = Server(tmp_path, names="")
    server.keys.add("shop", AT, lambda: "s", use_cases=("loans", "cars"))
    server.keys.add("app", AT, lambda: "a", use_cases=("loans", "flights"))
    assert server.admit(APP, after_s=2) == "app"
    refused = server.refused(SHOP)
    assert (refused.status, refused.problem.found, refused.problem.legal) == (
        403,
        "an API key of loans, cars",
        "an API key of flights",
    )
    assert server.refused([(b"x-api-key", b"mlops_x")]).status == server.refused([]).status == 401
    server.keys.revoke("shop", AT)
    assert server.refused(SHOP, after_s=2).status == 401
    server.file.write_text("[")
    assert server.refused(SHOP, after_s=2).status == server.refused(APP).status == 503


def test_the_first_key_of_another_use_case_ends_requests_without_a_key_here_too(tmp_path: Path):
    server = Server(tmp_path, names="")
    assert server.admit([]) == ANONYMOUS
    server.keys.add("shop", AT, lambda: "s", use_cases=("loans",))
    assert server.refused([], after_s=2).status == 401
