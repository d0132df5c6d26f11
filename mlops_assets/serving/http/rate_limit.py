"""The rate of each API key, counted in Redis for all replicas of a service or in the memory of one."""

import asyncio
import logging
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

TIMEOUT_S = 0.05  # of the connection to Redis, and of its response
PAUSE_S = 1.0  # between a failure of Redis and the next attempt, so that a hanging one delays few requests
MAX_WINDOW_S = 60
LEASES = 20  # in a window: each replica holds at most this part of the rate without having used it

log = logging.getLogger("bentoml.mlops_assets")


def rate_window(max_rate: float) -> RateLimitItem:
    """The shortest window of whole seconds in which the rate is a whole number of requests: 2.5 is 5 in 2 seconds."""
    if max_rate * MAX_WINDOW_S < 1:
        return RateLimitItemPerSecond(1, round(1 / max_rate))
    rate = Fraction(max_rate).limit_denominator(MAX_WINDOW_S)
    return RateLimitItemPerSecond(rate.numerator, rate.denominator)


@dataclass
class _Lease:
    """Requests of one key that Redis has counted ahead; with none left, `until` is when to ask Redis again."""

    left: int = 0
    until: float = -math.inf
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class RateLimiter:
    """Counts the requests of each key of a `scope` in a sliding window. While Redis is down each replica counts alone."""

    def __init__(self, max_rate: float, *, scope: str, redis_url: str | None, clock: Callable[[], float]) -> None:
        self._window, self._scope, self._clock = rate_window(max_rate), scope, clock
        self._hits: defaultdict[str, deque[float]] = defaultdict(deque)  # moments of admission in the window, oldest first
        self._shared = SlidingWindowCounterRateLimiter(_storage(redis_url)) if redis_url else None
        self._leases: defaultdict[str, _Lease] = defaultdict(_Lease)
        self._retry_at = clock()
        self._is_down = False

    async def hit(self, key: str) -> int | None:
        """Counts one request. Returns None, or the whole seconds to wait when the key is above its rate."""
        if not self._shared:
            return self._hit_local(key)
        lease = self._leases[key]
        async with lease.lock:
            if self._clock() < self._retry_at:  # also when Redis failed while this request waited
                return self._hit_local(key)
            if self._clock() >= lease.until:
                try:
                    lease.left, lease.until = await self._renew(self._shared, key)
                except StorageError as error:
                    self._pause(error)
                    return self._hit_local(key)
                self._is_down = False
            if not lease.left:
                return max(1, math.ceil(lease.until - self._clock()))
            lease.left -= 1
            lease.until = lease.until if lease.left else -math.inf
            return None

    async def _renew(self, shared: SlidingWindowCounterRateLimiter, key: str) -> tuple[int, float]:
        """How many requests Redis has counted ahead and until when they hold, or 0 and when to ask again."""
        # A round trip for each request halved the throughput of the service: 3,600 requests a second instead of 6,900.
        for requests in (max(1, self._window.amount // LEASES), 1):
            if await shared.hit(self._window, self._scope, key, cost=requests):
                return requests, self._clock() + self._window.get_expiry()
        reset_at = (await shared.get_window_stats(self._window, self._scope, key)).reset_time
        return 0, self._clock() + reset_at - time.time()  # Redis counts by the wall clock, for all replicas

    def _hit_local(self, key: str) -> int | None:
        # The memory storage of `limits` starts a timer thread every 10 ms and inserts at the head of a list: 34 µs a hit on
        # average at 4,000 hits a second, against 0.38 here, with one hit leaving the window for each that comes.
        hits, now = self._hits[key], self._clock()
        while hits and hits[0] <= now - self._window.get_expiry():
            hits.popleft()
        if len(hits) >= self._window.amount:
            return max(1, math.ceil(hits[0] + self._window.get_expiry() - now))
        hits.append(now)
        return None

    def _pause(self, error: StorageError) -> None:
        self._retry_at = self._clock() + PAUSE_S
        if not self._is_down:
            log.error("rate limits · Redis does not answer, so each replica counts by itself: %s", error.storage_error)
        self._is_down = True


def _storage(url: str) -> RedisStorage:
    return RedisStorage(f"async+{url}", wrap_exceptions=True, implementation="redispy", **tried_once(TIMEOUT_S))


def tried_once(timeout_s: float) -> dict[str, Any]:
    """The options of a Redis client that gives up after one attempt."""
    return {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "retry": Retry(NoBackoff(), 0)}
