"""The rate of each API key, counted in Redis for all replicas of a service or in the memory of one."""

import logging
import math
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter as SharedLimiter
from limits.errors import StorageError
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

TIMEOUT_S = 0.05  # of the connection to Redis, and of its answer
PAUSE_S = 1.0  # between a failure of Redis and the next attempt, so that a hanging one delays few requests
MAX_WINDOW_S = 60

log = logging.getLogger("bentoml.mlops_assets")


def rate_window(max_rate: float) -> RateLimitItem:
    """The shortest window of whole seconds in which the rate is a whole number of requests: 2.5 is 5 in 2 seconds."""
    if max_rate * MAX_WINDOW_S < 1:
        return RateLimitItemPerSecond(1, round(1 / max_rate))
    rate = Fraction(max_rate).limit_denominator(MAX_WINDOW_S)
    return RateLimitItemPerSecond(rate.numerator, rate.denominator)


class RateLimiter:
    """Counts the requests of each key in a moving window. `scope` separates services that share one Redis.

    While Redis is down each replica counts by itself, which is logged once. `clock` is monotonic, in seconds.
    """

    def __init__(self, max_rate: float, *, scope: str, redis_url: str | None, clock: Callable[[], float]) -> None:
        self._window, self._scope, self._clock = rate_window(max_rate), scope, clock
        self._local = MovingWindowRateLimiter(MemoryStorage())
        self._shared = SharedLimiter(_redis_storage(redis_url)) if redis_url else None
        self._retry_at = clock()
        self._is_down = False

    async def hit(self, key: str) -> int | None:
        """Counts one request. Returns None, or the whole seconds to wait when the key is above its rate."""
        if self._shared is not None and self._clock() >= self._retry_at:
            try:
                retry_after_s = await self._hit_shared(self._shared, key)
            except StorageError as error:
                self._pause(error)
            else:
                self._is_down = False
                return retry_after_s
        if self._local.hit(self._window, self._scope, key):
            return None
        return _whole_seconds_until(self._local.get_window_stats(self._window, self._scope, key).reset_time)

    async def _hit_shared(self, shared: SharedLimiter, key: str) -> int | None:
        if await shared.hit(self._window, self._scope, key):
            return None
        return _whole_seconds_until((await shared.get_window_stats(self._window, self._scope, key)).reset_time)

    def _pause(self, error: StorageError) -> None:
        self._retry_at = self._clock() + PAUSE_S
        if not self._is_down:
            log.error("rate limits · Redis does not answer, so each replica counts by itself: %s", error.storage_error)
        self._is_down = True


def _redis_storage(url: str) -> RedisStorage:
    options: dict[str, Any] = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S, "retry": Retry(NoBackoff(), 0)}
    return RedisStorage(f"async+{url}", wrap_exceptions=True, implementation="redispy", **options)


def _whole_seconds_until(unix_s: float) -> int:
    """`limits` counts by the wall clock."""
    return max(1, math.ceil(unix_s - time.time()))
