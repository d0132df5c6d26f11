"""Scores of inputs that were seen before, in this process or in a Redis for all servers.

Belongs here: keys of scores, and keeping them for a while. Not here: the models (model_slot.py) and when to ask (answering.py).
"""

import struct
import threading
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Protocol, cast

import numpy as np
import redis
from cachetools import TTLCache
from numpy.typing import NDArray
from redis.backoff import NoBackoff
from redis.retry import Retry

from mlops_assets.spec.serving import Cache

KEY_BYTES = 16
PREFIX = "mlops/score/"
TIMEOUT_S = 0.05  # of the connection, and of each answer
PAUSE_S = 1.0
SCORE = struct.Struct("<d")


class ScoreCache(Protocol):
    """A cache that fails is a cache that knows nothing: neither method raises for a store that is down."""

    def read(self, keys: Sequence[bytes]) -> list[float | None]:
        """One score a key; None where none is known, or none can be read."""
        ...

    def write(self, keys: Sequence[bytes], scores: Sequence[float]) -> None:
        """As many `scores` as `keys`."""
        ...


class MemoryScores:
    """Any number of threads; those used least recently go first. `clock` gives seconds that only grow."""

    def __init__(self, word: Cache, clock: Callable[[], float]) -> None:
        self._scores = TTLCache[bytes, float, float](word.max_entries, word.ttl.total_seconds(), clock)
        self._lock = threading.Lock()

    def read(self, keys: Sequence[bytes]) -> list[float | None]:
        with self._lock:
            return [self._scores.get(key) for key in keys]

    def write(self, keys: Sequence[bytes], scores: Sequence[float]) -> None:
        with self._lock:
            self._scores.update(zip(keys, scores, strict=True))


class RedisScores:
    """Any number of threads and servers. A Redis that fails is not asked again for PAUSE_S.

    Redis has no bound for a part of its keys, so each score has one of `max_entries` places, by its key, and a newer score
    takes the place of an older one there: never above the bound, at the price of some entries lost before it is reached. A
    value holds its whole key, so that two in one place are never mistaken for each other.
    """

    def __init__(self, word: Cache, url: str, clock: Callable[[], float]) -> None:
        self._places = word.max_entries
        self._ttl_ms = max(1, round(word.ttl.total_seconds() * 1000))
        self._clock, self._ask_at = clock, clock()
        limits: dict[str, Any] = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
        self._redis = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **limits)

    def read(self, keys: Sequence[bytes]) -> list[float | None]:
        if not keys or self._clock() < self._ask_at:
            return [None] * len(keys)
        try:
            found = cast(list[bytes | None], self._redis.mget([self._place(key) for key in keys]))
        except redis.RedisError:
            self._pause()
            return [None] * len(keys)
        return [_score(key, value) for key, value in zip(keys, found, strict=True)]

    def write(self, keys: Sequence[bytes], scores: Sequence[float]) -> None:
        if not keys or self._clock() < self._ask_at:
            return
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for key, score in zip(keys, scores, strict=True):
                    pipeline.set(self._place(key), key + SCORE.pack(score), px=self._ttl_ms)
                pipeline.execute()
        except redis.RedisError:
            self._pause()

    def _place(self, key: bytes) -> str:
        return f"{PREFIX}{int.from_bytes(key[:8], 'little') % self._places}"

    def _pause(self) -> None:
        self._ask_at = self._clock() + PAUSE_S


def score_keys(matrix: NDArray[np.float32], digest: str) -> list[bytes]:
    """One key of KEY_BYTES for each row of `matrix` (rows, inputs), under the model of that digest: equal bytes, equal key."""
    model = blake2b(digest.encode(), digest_size=KEY_BYTES).digest()
    content, width = memoryview(matrix.tobytes()), matrix.shape[1] * matrix.itemsize
    rows = (content[start : start + width] for start in range(0, len(content), width))
    return [blake2b(row, digest_size=KEY_BYTES, key=model).digest() for row in rows]


def _score(key: bytes, value: bytes | None) -> float | None:
    if value is None or len(value) != len(key) + SCORE.size or not value.startswith(key):
        return None
    return SCORE.unpack_from(value, len(key))[0]
