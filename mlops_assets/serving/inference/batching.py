"""Requests that wait at the same time, answered together: in the event loop where nothing blocks, else by one thread.

Belongs here: who waits, and who goes along. Not here: what an answer is (answering.py).
A lookup costs some 0.9 ms for one row and 1.1 for ten (a frame, and one read of the store), so whatever has come meanwhile
goes along: the busier the server, the larger its batches. Nothing waits for company.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple

from mlops_assets.serving.http.request import PredictRequest
from mlops_assets.serving.inference.answering import Outcome

MAX_ROWS = 200  # together; a request of more is answered by itself, beside the others
LARGE_AT_ONCE = 2


class _Waiting(NamedTuple):
    ask: PredictRequest
    future: asyncio.Future[Outcome]


class LoopBatching:
    """What came in one turn of the event loop is answered at its end: one call of the model, one write of the log.

    `answer` gives one outcome for each request, never raises, and keeps the loop waiting.
    """

    def __init__(self, answer: Callable[[Sequence[PredictRequest]], Sequence[Outcome]]) -> None:
        self._answer = answer
        self._waiting: list[_Waiting] = []

    async def submit(self, ask: PredictRequest) -> bytes:
        """The answer. Raises what kept the request from one."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(ask, loop.create_future())
        if not self._waiting:
            loop.call_soon(self._work)
        self._waiting.append(waiting)
        return _said(await waiting.future)

    def _work(self) -> None:
        batch, self._waiting = self._waiting, []
        _tell(batch, self._answer([each.ask for each in batch]))


class Batching:
    """Between `start` and `stop`. `answer` gives one outcome for each request, and never raises."""

    def __init__(self, answer: Callable[[Sequence[PredictRequest]], Sequence[Outcome]]) -> None:
        self._answer = answer
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._large = ThreadPoolExecutor(LARGE_AT_ONCE, thread_name_prefix="large-request")
        self._thread = Thread(target=self._work, name="lookups", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """After what is queued has been answered."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._large.shutdown()

    def waiting(self) -> int:
        return self._queue.qsize()

    async def submit(self, ask: PredictRequest) -> bytes:
        """The answer; to be called in an event loop. Raises what kept the request from one."""
        loop = asyncio.get_running_loop()
        if len(ask) > MAX_ROWS:
            outcome = (await loop.run_in_executor(self._large, self._answer, [ask]))[0]
        else:
            future: asyncio.Future[Outcome] = loop.create_future()
            self._queue.put(_Waiting(ask, future))
            outcome = await future
        return _said(outcome)

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            ended = self._gather(batch)
            # Whoever has been told that it took too long is not answered, and so must not be in the log either.
            batch = [each for each in batch if not each.future.cancelled()]
            outcomes = self._answer([each.ask for each in batch])
            first.future.get_loop().call_soon_threadsafe(_tell, batch, outcomes)
            if ended:
                return

    def _gather(self, batch: list[_Waiting]) -> bool:
        """Adds what has come; whether the end has come, too."""
        rows = len(batch[0].ask)
        while rows < MAX_ROWS:
            try:
                another = self._queue.get_nowait()
            except Empty:
                return False
            if another is None:
                return True
            batch.append(another)
            rows += len(another.ask)
        return False


def _said(outcome: Outcome) -> bytes:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _tell(batch: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
    for each, outcome in zip(batch, outcomes, strict=True):
        if not each.future.done():
            each.future.set_result(outcome)
