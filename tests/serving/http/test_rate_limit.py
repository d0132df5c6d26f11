"""Rates over real Redis servers: shared by replicas, and counted in each while Redis is down or hangs."""

import asyncio
import logging
import math
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from mlops_assets.serving.http.admission import Admission
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.serving.http.rate_limit import PAUSE_S, RateLimiter, rate_window
from mlops_assets.serving.http.request import Refusal
from mlops_assets.spec.serving import Limits
from tests.servers.redis_server import RedisServer


class Clock:
    """Seconds that the test moves on."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def limiter(url: str | None, rate: float = 3, scope: str = "flights", clock: Clock | None = None) -> RateLimiter:
    return RateLimiter(rate, scope=scope, redis_url=url, clock=clock or Clock())


@pytest.mark.parametrize(
    ("rate", "requests", "seconds"), [(10, 10, 1), (2.5, 5, 2), (0.5, 1, 2), (0.05, 1, 20), (0.001, 1, 1000), (1000.3, 10003, 10)]
)
def test_a_rate_is_a_whole_number_of_requests_in_whole_seconds(rate: float, requests: int, seconds: int) -> None:
    window = rate_window(rate)
    assert (window.amount, window.get_expiry()) == (requests, seconds)


def test_two_admissions_on_one_redis_share_one_rate(tmp_path: Path, redis_server: RedisServer) -> None:
    keys, limits = ApiKeys(tmp_path), Limits(max_rate=0.2)
    headers = [(b"x-api-key", keys.add("shop", datetime(2026, 3, 2, tzinfo=UTC), lambda: "s").encode())]

    def replica() -> Admission:
        rates = limiter(redis_server.url, rate=0.2)
        return Admission(keys, limits, use_case="flights", clock=Clock(), is_open=False, rates=rates)

    async def both() -> Refusal:
        first, second = replica(), replica()
        assert await first.admit(headers) == "shop"
        with pytest.raises(Refusal) as refusal:
            await second.admit(headers)
        return refusal.value

    refusal = asyncio.run(both())
    assert refusal.status == 429
    ((name, seconds),) = refusal.headers
    assert name == b"retry-after" and seconds in (b"4", b"5"), "one request in 5 seconds"


def test_two_services_on_one_redis_have_their_own_rates(redis_server: RedisServer) -> None:
    async def hits() -> list[int | None]:
        one, other = (limiter(redis_server.url, rate=0.2, scope=scope) for scope in ("flights", "tumor"))
        return [await one.hit("shop"), await other.hit("shop"), await one.hit("shop")]

    first, second, third = asyncio.run(hits())
    assert (first, second) == (None, None) and third is not None


def test_replicas_share_a_rate_and_seldom_ask_redis(redis_server: RedisServer) -> None:
    async def admitted() -> int:
        replicas = [limiter(redis_server.url, rate=1000, clock=time.monotonic) for _ in range(3)]
        waits = [await replica.hit("shop") for _ in range(500) for replica in replicas]
        return waits.count(None)

    began = time.monotonic()
    count = asyncio.run(admitted())
    windows = 1 + math.ceil(time.monotonic() - began)  # of a second each, with the one before
    assert 900 <= count <= 1000 * windows
    with Redis.from_url(redis_server.url) as client:
        calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert calls < count / 20, "far fewer round trips than requests"


def test_requests_at_the_same_moment_share_one_lease(redis_server: RedisServer) -> None:
    async def waits() -> list[int | None]:
        rates = limiter(redis_server.url, rate=0.2)
        return await asyncio.gather(*(rates.hit("shop") for _ in range(5)))

    assert [wait is None for wait in asyncio.run(waits())] == [True, False, False, False, False]


def test_in_memory_a_key_is_admitted_again_after_the_stated_wait() -> None:
    async def hits() -> tuple[int | None, int | None]:
        clock = Clock()
        rates = limiter(None, rate=1, clock=clock)
        await rates.hit("shop")
        clock.now += 0.25
        wait_s = await rates.hit("shop")
        clock.now += wait_s or 0
        return wait_s, await rates.hit("shop")

    assert asyncio.run(hits()) == (1, None)


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_in_memory_no_window_holds_more_than_the_rate_and_none_is_refused_below_it(pauses: list[float]) -> None:
    clock, admitted = Clock(), list[float]()
    rates = limiter(None, rate=2.5, clock=clock)  # 5 in 2 seconds
    for pause in pauses:
        clock.now += pause
        is_full = len([moment for moment in admitted if moment > clock.now - 2]) == 5
        wait_s = asyncio.run(rates.hit("shop"))
        assert (wait_s is not None) == is_full and (wait_s is None or 1 <= wait_s <= 2)
        admitted += [] if is_full else [clock.now]


def test_without_redis_each_replica_counts_by_itself_and_logs_it_once(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def hits() -> None:
        clock = Clock()
        rates = limiter(redis_server.url, rate=0.2, clock=clock)
        redis_server.kill()
        assert await rates.hit("shop") is None
        for _ in range(3):
            clock.now += PAUSE_S
            assert await rates.hit("shop") is not None
        assert len(caplog.records) == 1
        redis_server.start()
        assert await rates.hit("shop") is not None, "Redis is not called again within the pause"
        clock.now += PAUSE_S
        assert await rates.hit("shop") is None, "the count of Redis holds again"

    with caplog.at_level(logging.ERROR):
        asyncio.run(hits())
    assert "each replica counts by itself" in caplog.text


def test_a_hanging_redis_delays_few_requests_and_never_the_event_loop() -> None:
    async def seconds_and_turns(url: str) -> tuple[float, int]:
        rates, turns = limiter(url, rate=10_000), 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.001)
                turns += 1

        counter, began = asyncio.create_task(count_turns()), time.monotonic()
        for _ in range(1000):
            assert await rates.hit("shop") is None
        counter.cancel()
        return time.monotonic() - began, turns

    async def seconds_at_once(url: str) -> float:
        rates, began = limiter(url, rate=10_000), time.monotonic()
        assert await asyncio.gather(*(rates.hit("shop") for _ in range(1000))) == [None] * 1000
        return time.monotonic() - began

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        assert asyncio.run(seconds_at_once(url)) < 25, "requests that wait for the same lease share its time-out"
        took_s, turns = asyncio.run(seconds_and_turns(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
    assert took_s < 25, "one time-out for a thousand requests, of which each would take 0.05 s"
    assert turns > 1, "the event loop went on during the time-out"
