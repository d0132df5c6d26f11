import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from mlops_assets.serving.http.request import PredictRequest
from mlops_assets.serving.inference.answering import Outcome
from mlops_assets.serving.inference.batching import MAX_ROWS, Batching


def ask(number: int, rows: int = 1) -> PredictRequest:
    return PredictRequest([(number,)] * rows, None, trace_id=str(number))


@contextmanager
def batching(answer: Callable[[Sequence[PredictRequest]], Sequence[Outcome]]) -> Iterator[Batching]:
    batches = Batching(answer)
    batches.start()
    yield batches
    batches.stop()


def by_name(asks: Sequence[PredictRequest]) -> list[Outcome]:
    return [request.trace_id.encode() for request in asks]


def test_each_request_gets_its_own_answer_and_those_that_wait_go_together():
    sizes: list[int] = []
    all_wait = threading.Event()

    def once_all_wait(asks: Sequence[PredictRequest]) -> list[Outcome]:
        sizes.append(len(asks))
        assert all_wait.wait(30)
        return by_name(asks)

    async def main(batches: Batching) -> list[bytes]:
        submitted = [asyncio.create_task(batches.submit(ask(number), in_loop=False)) for number in range(50)]
        await asyncio.sleep(0)
        all_wait.set()
        return await asyncio.gather(*submitted)

    with batching(once_all_wait) as batches:
        assert asyncio.run(main(batches)) == [str(number).encode() for number in range(50)]
    assert sum(sizes) == 50 and len(sizes) <= 3


def test_an_error_of_one_request_is_raised_for_it_alone():
    def odd_fails(asks: Sequence[PredictRequest]) -> list[Outcome]:
        return [ValueError(request.trace_id) if int(request.trace_id) % 2 else request.trace_id.encode() for request in asks]

    async def main(batches: Batching) -> list[bytes | BaseException]:
        return await asyncio.gather(*(batches.submit(ask(number), in_loop=False) for number in range(4)), return_exceptions=True)

    with batching(odd_fails) as batches:
        outcomes = asyncio.run(main(batches))
    assert outcomes[::2] == [b"0", b"2"] and [str(outcome) for outcome in outcomes[1::2]] == ["1", "3"]


def test_a_large_request_delays_no_other():
    release = threading.Event()

    def large_waits(asks: Sequence[PredictRequest]) -> list[Outcome]:
        if len(asks[0]) > MAX_ROWS:
            assert release.wait(10)
        return by_name(asks)

    async def main(batches: Batching) -> list[bytes]:
        large = asyncio.create_task(batches.submit(ask(1, rows=MAX_ROWS + 1), in_loop=False))
        small = await asyncio.wait_for(batches.submit(ask(2), in_loop=False), 5)
        assert not large.done()
        release.set()
        return [await large, small]

    with batching(large_waits) as batches:
        assert asyncio.run(main(batches)) == [b"1", b"2"]


def test_a_request_that_was_given_up_is_not_answered():
    answered: list[str] = []
    busy, release = threading.Event(), threading.Event()

    def first_waits(asks: Sequence[PredictRequest]) -> list[Outcome]:
        answered.extend(request.trace_id for request in asks)
        busy.set()
        assert release.wait(10)
        return by_name(asks)

    async def main(batches: Batching) -> None:
        first = asyncio.create_task(batches.submit(ask(1), in_loop=False))
        await asyncio.to_thread(busy.wait)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batches.submit(ask(2), in_loop=False), 0.05)
        release.set()
        assert await first == b"1" and await batches.submit(ask(3), in_loop=False) == b"3"

    with batching(first_waits) as batches:
        asyncio.run(main(batches))
    assert answered == ["1", "3"]


def test_a_large_request_that_waits_no_longer_is_not_answered():
    answered: list[str] = []
    busy, release = threading.Semaphore(0), threading.Event()

    def waits(requests: Sequence[PredictRequest]) -> list[Outcome]:
        answered.extend(request.trace_id for request in requests)
        busy.release()
        assert release.wait(10)
        return by_name(requests)

    async def main(batches: Batching) -> None:
        large = [ask(number, rows=MAX_ROWS + 1) for number in range(4)]
        first = [asyncio.create_task(batches.submit(request, in_loop=False)) for request in large[:2]]
        for _ in first:
            await asyncio.to_thread(busy.acquire)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batches.submit(large[2], in_loop=False), 0.05)
        release.set()
        assert await asyncio.gather(*first) == [b"0", b"1"] and await batches.submit(large[3], in_loop=False) == b"3"

    with batching(waits) as batches:
        asyncio.run(main(batches))
    assert sorted(answered) == ["0", "1", "3"]


def test_queued_requests_are_answered_before_the_end():
    async def main(batches: Batching) -> list[bytes]:
        tasks = [asyncio.create_task(batches.submit(ask(number), in_loop=False)) for number in range(20)]
        await asyncio.sleep(0)
        await asyncio.to_thread(batches.stop)
        return await asyncio.gather(*tasks)

    with batching(by_name) as batches:
        assert len(asyncio.run(main(batches))) == 20
