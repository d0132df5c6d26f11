"""Requests that are sent again under one Idempotency-Key get the answer of the first, which is predicted and logged once.
The header is that of https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import cast

from cachetools import TTLCache
from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from redis.exceptions import RedisError

from mlops_assets.serving.http.rate_limit import tried_once
from mlops_assets.serving.http.request import Headers, Refusal

HEADER = b"idempotency-key"
MAX_KEY_BYTES = 255
KEPT_S = 24 * 3600
MAX_KEPT_BYTES = 64 * 1024 * 1024  # of answers in the memory of a process; the oldest are dropped first
PENDING_BYTES = 1000  # about the size of an entry itself
CLAIM_S = 60  # of a replica that has died meanwhile; longer than any timeout of a request
TIMEOUT_S, PAUSE_S = 0.25, 1.0
DIGEST_BYTES = 16
LEGAL = f"1 to {MAX_KEY_BYTES} bytes, new for every request and the same for its retries"

Predict = Callable[[], Awaitable[bytes]]
log = logging.getLogger("bentoml.mlops_assets")


def idempotency_key(headers: Headers) -> bytes | None:
    """None without the header. Raises Refusal."""
    key = next((value for name, value in headers if name == HEADER), None)
    if key is not None and not 1 <= len(key) <= MAX_KEY_BYTES:
        raise Refusal(400, f"an Idempotency-Key of {len(key)} bytes", legal=LEGAL, next="Send another key, or none.")
    return key


@dataclass(frozen=True)
class _Entry:
    """A request by the digest of its body, and its answer, which may be on its way."""

    body: bytes
    answer: asyncio.Task[bytes]

    @property
    def size(self) -> int:
        return PENDING_BYTES + (len(self.answer.result()) if self.answer.done() else 0)


class Repeats:
    """The answers of one service, shared by its replicas through Redis. While that is down, every process knows its own only.

    After an erasure no earlier answer is sent again, as it may be about the subject: `mark` is another value after each.
    """

    def __init__(self, *, scope: str, redis_url: str | None, clock: Callable[[], float], mark: Callable[[], object]) -> None:
        self._prefix, self._clock, self._retry_at = _prefix(scope), clock, clock()
        self._read_mark, self._mark = mark, mark()
        self._entries: TTLCache[bytes, _Entry] = TTLCache(MAX_KEPT_BYTES, KEPT_S, clock, getsizeof=lambda entry: entry.size)
        self._redis = Redis.from_url(redis_url, **tried_once(TIMEOUT_S)) if redis_url else None

    async def answer(self, client: str, key: bytes, body: bytes, predict: Predict) -> bytes:
        """The answer of `predict`, which is called once for each client and key and completes even if its first caller has
        gone. Raises Refusal for a key of another body, or that another replica is about to answer; the errors of `predict`,
        which free the key.
        """
        mark = self._forget_erased()
        name, digest = self._prefix + _digest(b"\0".join([repr(mark).encode(), client.encode(), key])), _digest(body)
        entry = self._entries.get(name)
        if entry is None:
            answer = asyncio.create_task(self._once(name=name, digest=digest, mark=mark, predict=predict))
            entry = self._entries[name] = _Entry(digest, answer)
            answer.add_done_callback(lambda _: self._keep(name, entry) if self._forget_erased() == mark else None)
        if entry.body != digest:
            raise _another_body()
        return await asyncio.shield(entry.answer)

    def _forget_erased(self) -> object:
        """The mark of now."""
        if (mark := self._read_mark()) != self._mark:
            self._entries.clear()
            self._mark = mark
        return mark

    def _keep(self, name: bytes, entry: _Entry) -> None:
        self._entries.pop(name, None)
        if not entry.answer.cancelled() and entry.answer.exception() is None:
            with suppress(ValueError):  # larger than all that is kept
                self._entries[name] = entry

    async def _once(self, *, name: bytes, digest: bytes, mark: object, predict: Predict) -> bytes:
        if stored := await self._ask(lambda redis: _claim(redis, name, digest)):
            return _stored_answer(stored, digest)
        try:
            answer = await predict()
        except BaseException:  # also where the client is gone: its next try must find no claim without an answer
            await self._ask(lambda redis: redis.delete(name))
            raise
        is_current = self._forget_erased() == mark
        await self._ask(lambda redis: redis.set(name, digest + answer, ex=KEPT_S) if is_current else redis.delete(name))
        return answer

    async def _ask(self, command: Callable[[Redis], Awaitable[object]]) -> bytes | None:
        if self._redis is None or self._clock() < self._retry_at:
            return None
        try:
            result = await command(self._redis)
        except (RedisError, OSError) as error:
            self._retry_at = self._clock() + PAUSE_S
            log.error("idempotency keys · Redis does not answer, so each replica knows its own: %s", error)
            return None
        return result if isinstance(result, bytes) else None


def delete_answers(redis: BlockingRedis, scope: str) -> None:
    """Of all replicas of one service."""
    for name in cast(Iterator[bytes], redis.scan_iter(_prefix(scope) + b"*", count=10_000)):
        redis.delete(name)


def _prefix(scope: str) -> bytes:
    return f"mlops/answers/{scope}/".encode()


async def _claim(redis: Redis, name: bytes, digest: bytes) -> bytes | None:
    """None where this process is to answer; otherwise the digest of the first body, followed by the answer once there is one."""
    return None if await redis.set(name, digest, nx=True, ex=CLAIM_S) else await redis.get(name)


def _stored_answer(stored: bytes, digest: bytes) -> bytes:
    if not stored.startswith(digest):
        raise _another_body()
    if len(stored) == DIGEST_BYTES:
        raise Refusal(409, "another replica is about to answer this Idempotency-Key", headers=((b"retry-after", b"1"),))
    return stored[DIGEST_BYTES:]


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=DIGEST_BYTES).digest()


def _another_body() -> Refusal:
    found, legal = "an Idempotency-Key that came with another body", "one key for one request and its retries"
    return Refusal(422, found, legal=legal, next="Send a new key with a new request.")
