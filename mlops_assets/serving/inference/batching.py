"""Answers requests that wait at the same time together: in the event loop where nothing blocks, else in one thread."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple

from mlops_assets.serving.http.request import PredictRequest
from mlops_assets.serving.inference.answering import Outcome

MAX_ROWS = 200  # in one batch; a larger request is answered by itself, in another thread
LARGE_AT_ONCE = 2

# One outcome for each request; never raises.
Answer = Callable[[Sequence[PredictRequest]], Sequence[Outcome]]


class _Waiting(NamedTuple):
    request: PredictRequest
    future: asyncio.Future[Outcome]


class LoopBatching:
    """Answers the requests of one turn of the event loop at its end: one call of the model, one write of the log."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._waiting: list[_Waiting] = []

    async def submit(self, request: PredictRequest) -> bytes:
        """The answer. Raises the error of this request."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, loop.create_future())
        if not self._waiting:
            loop.call_soon(self._work)
        self._waiting.append(waiting)
        return _unwrap(await waiting.future)

    def _work(self) -> None:
        batch, self._waiting = self._waiting, []
        _deliver(batch, self._answer([waiting.request for waiting in batch]))


class Batching:
    """Answers in threads between `start` and `stop`."""

    # A lookup costs some 0.9 ms for one row and 1.1 for ten (a frame, and one read of the store), so a batch takes all that
    # has come meanwhile: the busier the server, the larger its batches. No request waits for others to come.

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._large = ThreadPoolExecutor(LARGE_AT_ONCE, thread_name_prefix="large-request")
        self._thread = Thread(target=self._work, name="lookups", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns after what is queued has been answered."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._large.shutdown()

    def waiting(self) -> int:
        return self._queue.qsize()

    async def submit(self, request: PredictRequest) -> bytes:
        """The answer. Raises the error of this request."""
        loop = asyncio.get_running_loop()
        if len(request) > MAX_ROWS:
            return _unwrap((await loop.run_in_executor(self._large, self._answer, [request]))[0])
        waiting = _Waiting(request, loop.create_future())
        self._queue.put(waiting)
        return _unwrap(await waiting.future)

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, ended = self._gather(first)
            # A request that has timed out gets no answer, and so must not be in the log either.
            batch = [waiting for waiting in batch if not waiting.future.cancelled()]
            outcomes = self._answer([waiting.request for waiting in batch])
            first.future.get_loop().call_soon_threadsafe(_deliver, batch, outcomes)
            if ended:
                return

    def _gather(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """The next batch, and whether `stop` was called."""
        batch, rows = [first], len(first.request)
        while rows < MAX_ROWS:
            try:
                another = self._queue.get_nowait()
            except Empty:
                break
            if another is None:
                return batch, True
            batch.append(another)
            rows += len(another.request)
        return batch, False


def _unwrap(outcome: Outcome) -> bytes:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _deliver(batch: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
    for waiting, outcome in zip(batch, outcomes, strict=True):
        if not waiting.future.done():
            waiting.future.set_result(outcome)
