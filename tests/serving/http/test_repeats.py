"""One answer for each idempotency key, in one process and over replicas that share a real Redis."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from redis import Redis

from mlops_assets.foundation.home_lock import await_readers, erasure_mark
from mlops_assets.serving.http import repeats
from mlops_assets.serving.http.repeats import Repeats, delete_answers, idempotency_key
from mlops_assets.serving.http.request import Refusal
from tests.servers.redis_server import RedisServer


def opened(redis_url: str | None = None, mark: Callable[[], object] = bool) -> Repeats:
    return Repeats(scope="flights", redis_url=redis_url, clock=time.monotonic, mark=mark)


def counting(answers: list[bytes], *, seconds: float = 0.0) -> Callable[[], Awaitable[bytes]]:
    async def predict() -> bytes:
        await asyncio.sleep(seconds)
        answers.append(b"answer %d" % len(answers))
        return answers[-1]

    return predict


def test_a_retry_gets_the_first_answer_also_while_that_is_on_its_way() -> None:
    async def main() -> None:
        kept, predicted = opened(), list[bytes]()
        predict = counting(predicted, seconds=0.05)
        together = await asyncio.gather(*(kept.answer("shop", b"k", b"body", predict) for _ in range(5)))
        assert {*together, await kept.answer("shop", b"k", b"body", predict)} == {b"answer 0"}
        others = [await kept.answer(client, key, b"body", predict) for client, key in (("shop", b"k2"), ("bank", b"k"))]
        assert others == [b"answer 1", b"answer 2"]

    asyncio.run(main())


def test_a_key_with_another_body_is_refused_and_the_first_answer_stays() -> None:
    async def main() -> None:
        kept, predicted = opened(), list[bytes]()
        await kept.answer("shop", b"k", b"body", counting(predicted))
        with pytest.raises(Refusal, match="422"):
            await kept.answer("shop", b"k", b"other", counting(predicted))
        assert await kept.answer("shop", b"k", b"body", counting(predicted)) == b"answer 0"

    asyncio.run(main())


def test_an_answer_whose_client_waited_no_longer_is_there_for_the_retry() -> None:
    async def main() -> None:
        kept, predicted = opened(), list[bytes]()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(kept.answer("shop", b"k", b"body", counting(predicted, seconds=0.1)), 0.02)
        assert await kept.answer("shop", b"k", b"body", counting(predicted)) == b"answer 0"
        assert len(predicted) == 1

    asyncio.run(main())


def test_after_an_error_the_key_may_be_used_again() -> None:
    async def fails() -> bytes:
        raise ConnectionError("the store is down")

    async def main() -> None:
        kept = opened()
        with pytest.raises(ConnectionError):
            await kept.answer("shop", b"k", b"body", fails)
        assert await kept.answer("shop", b"k", b"body", counting([])) == b"answer 0"

    asyncio.run(main())


def test_memory_is_bounded_and_the_oldest_answers_are_dropped_first() -> None:
    size = repeats.MAX_KEPT_BYTES // 4

    async def large() -> bytes:
        return bytes(size)

    async def main() -> None:
        kept, predicted = opened(), list[bytes]()
        for number in range(8):
            await kept.answer("shop", b"%d" % number, b"body", large)
        assert len(await kept.answer("shop", b"7", b"body", counting(predicted))) == size
        assert await kept.answer("shop", b"0", b"body", counting(predicted)) == b"answer 0"

    asyncio.run(main())


def test_replicas_with_one_redis_answer_a_key_once(redis_server: RedisServer) -> None:
    async def main() -> None:
        predicted, started, released = list[bytes](), asyncio.Event(), asyncio.Event()
        first, second = opened(redis_server.url), opened(redis_server.url)

        async def predict() -> bytes:
            started.set()
            await released.wait()
            return await counting(predicted)()

        running = asyncio.create_task(first.answer("shop", b"k", b"body", predict))
        await started.wait()
        with pytest.raises(Refusal, match="409"):
            await second.answer("shop", b"k", b"body", counting(predicted))
        released.set()
        assert await running == await second.answer("shop", b"k", b"body", counting(predicted)) == b"answer 0"
        with pytest.raises(Refusal, match="422"):
            await opened(redis_server.url).answer("shop", b"k", b"other", counting(predicted))

    asyncio.run(main())


def test_while_redis_is_down_each_replica_knows_its_own(redis_server: RedisServer) -> None:
    async def main() -> None:
        predicted, kept = list[bytes](), opened(redis_server.url)
        redis_server.kill()
        assert [await kept.answer("shop", b"k", b"body", counting(predicted)) for _ in range(2)] == [b"answer 0"] * 2

    asyncio.run(main())


@pytest.mark.parametrize("shared", [False, True])
def test_no_answer_from_before_an_erasure_is_sent_after_it(redis_server: RedisServer, tmp_path: Path, *, shared: bool) -> None:
    """Neither one that was complete nor one on its way, by this process or another one."""

    async def main() -> None:
        url, mark, predicted = redis_server.url if shared else None, partial(erasure_mark, tmp_path), list[bytes]()
        kept, other = opened(url, mark), opened(url, mark)
        await kept.answer("shop", b"complete", b"body", counting(predicted))
        on_its_way = asyncio.create_task(kept.answer("shop", b"late", b"body", counting(predicted, seconds=0.2)))
        await asyncio.sleep(0.05)
        await_readers(tmp_path, seconds=0, on_wait=lambda: None)
        assert await on_its_way == b"answer 1"
        for server in (kept, other) if shared else (kept,):
            for number, key in enumerate((b"complete", b"late"), start=2):
                assert await server.answer("shop", key, b"body", counting(predicted)) == b"answer %d" % number
        assert len(predicted) == 4, "and the answers after it are kept"

    asyncio.run(main())


def test_an_erasure_deletes_the_answers_of_its_use_case_from_redis(redis_server: RedisServer) -> None:
    async def main() -> None:
        await opened(redis_server.url).answer("shop", b"k", b"body", counting([b"flights "]))
        hotels = Repeats(scope="hotels", redis_url=redis_server.url, clock=time.monotonic, mark=bool)
        await hotels.answer("shop", b"k", b"body", counting([b"hotels "]))

    asyncio.run(main())
    with Redis.from_url(redis_server.url) as redis:
        assert kept(redis) == {b"flights", b"hotels"}
        delete_answers(redis, "flights")
        assert kept(redis) == {b"hotels"}


def kept(redis: Redis) -> set[bytes]:
    """The use cases with a kept answer."""
    return {name.split(b"/")[2] for name in cast(list[bytes], redis.keys("mlops/answers/*"))}


@pytest.mark.parametrize("key", [b"", b"x" * 256])
def test_a_key_of_an_illegal_length_is_refused(key: bytes) -> None:
    with pytest.raises(Refusal, match="400"):
        idempotency_key([(b"idempotency-key", key)])
    assert idempotency_key([(b"x-api-key", b"t")]) is None
