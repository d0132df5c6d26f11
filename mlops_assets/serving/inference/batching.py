"""Answers requests that wait at the same time together: in the event loop where nothing blocks, else in one thread."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from mlops_assets.serving.http.request import PredictRequest
from mlops_assets.serving.inference.answering import Outcome

MAX_ROWS = 200  # in one batch; a larger request is answered by itself, in another thread
LARGE_AT_ONCE = 2


class _Waiting(NamedTuple):
    request: PredictRequest
    future: asyncio.Future[bytes]


class Batching:
    """Answers between `start` and `stop`, which returns after what is queued has been answered.

    `answer` returns one outcome for each request, and never raises.
    """

    # A lookup costs some 0.9 ms for one row and 1.1 for ten (a frame, and one read of the store), so a batch takes all that
    # has come meanwhile: the busier the server, the larger its batches. No request waits for others to come.

    def __init__(self, answer: Callable[[Sequence[PredictRequest]], Sequence[Outcome]]) -> None:
        self._answer = answer
        self._turn: list[_Waiting] = []  # the requests of this turn of the event loop
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._large = ThreadPoolExecutor(LARGE_AT_ONCE, thread_name_prefix="large-request")
        self._thread = Thread(target=self._work, name="lookups", daemon=True)
        self.start, self.waiting = self._thread.start, self._queue.qsize

    def stop(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._large.shutdown()

    async def submit(self, request: PredictRequest, *, in_loop: bool) -> bytes:
        """The answer; with `in_loop` it comes at the end of this turn of the event loop. Raises the error of this request."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, loop.create_future())
        if in_loop:
            if not self._turn:
                loop.call_soon(self._answer_turn)
            self._turn.append(waiting)
        elif len(request) > MAX_ROWS:
            self._large.submit(self._answer_in_thread, [waiting])
        else:
            self._queue.put(waiting)
        return await waiting.future

    def _answer_turn(self) -> None:
        batch, self._turn = self._turn, []
        _deliver(batch, self._answer([waiting.request for waiting in batch]))

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, rows = [first], len(first.request)
            while rows < MAX_ROWS and not self._queue.empty():  # nobody else takes from the queue
                if (another := self._queue.get()) is None:
                    self._queue.put(None)  # ends the outer loop
                    break
                batch.append(another)
                rows += len(another.request)
            self._answer_in_thread(batch)

    def _answer_in_thread(self, batch: Sequence[_Waiting]) -> None:
        loop = batch[0].future.get_loop()
        # A request that has timed out gets no answer, and so must not be in the log either.
        batch = [waiting for waiting in batch if not waiting.future.cancelled()]
        loop.call_soon_threadsafe(_deliver, batch, self._answer([waiting.request for waiting in batch]))


def _deliver(batch: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
    for waiting, outcome in zip(batch, outcomes, strict=True):
        if waiting.future.done():
            continue
        if isinstance(outcome, Exception):
            waiting.future.set_exception(outcome)
        else:
            waiting.future.set_result(outcome)
