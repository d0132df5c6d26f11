"""Answers requests that wait at the same time together: in the event loop where nothing blocks, else in one thread."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from mlops_assets.serving.http.request import PredictRequest
from mlops_assets.serving.inference.answering import Outcome

MAX_ROWS = 200  # in one batch; a larger request is answered by itself, in another thread
LARGE_AT_ONCE = 2
# Of the event loop, after a lookup: the answers are sent, and what their clients send next is parsed. Without them 8 busy
# connections end in lookups of 1 and of 7, and each costs as much as 3 requests.
GATHERING_TURNS = 2


class _Waiting(NamedTuple):
    request: PredictRequest
    future: asyncio.Future[bytes]


class Batching:
    """Answers between `start` and `stop`, which returns after what is queued has been answered. `answer` returns one outcome
    for each request, and never raises; `answer_async` the same for requests without features, in the event loop.
    """

    # A batch costs some 0.1 ms more than its requests, so it takes all that has come meanwhile: the busier the server, the
    # larger its batches. No request waits for others to come. One lookup at a time: those that follow it share the next.

    def __init__(
        self,
        answer: Callable[[Sequence[PredictRequest]], Sequence[Outcome]],
        answer_async: Callable[[Sequence[PredictRequest]], Awaitable[Sequence[Outcome]]] | None = None,
    ) -> None:
        self._answer, self._answer_async = answer, answer_async
        self._turn: list[_Waiting] = []  # the requests of this turn of the event loop
        self._lookups: list[_Waiting] = []  # those that wait for the next lookup
        self._looking_up: asyncio.Task[None] | None = None
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._large = ThreadPoolExecutor(LARGE_AT_ONCE, thread_name_prefix="large-request")
        self._thread = Thread(target=self._work, name="lookups", daemon=True)
        self.start = self._thread.start

    def waiting(self) -> int:
        return self._queue.qsize() + len(self._lookups)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._large.shutdown()

    async def submit(self, request: PredictRequest, *, in_loop: bool) -> bytes:
        """The answer; with `in_loop` from the event loop itself. Raises the error of this request."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, loop.create_future())
        if not in_loop and len(request) > MAX_ROWS:
            self._large.submit(self._answer_in_thread, [waiting])
        elif not in_loop:
            self._queue.put(waiting)
        elif self._answer_async and request.inputs is None:
            self._lookups.append(waiting)
            if self._looking_up is None or self._looking_up.done():
                self._looking_up = loop.create_task(self._answer_lookups(self._answer_async))
        else:
            if not self._turn:
                loop.call_soon(self._answer_turn)
            self._turn.append(waiting)
        return await waiting.future

    def _answer_turn(self) -> None:
        batch, self._turn = self._turn, []
        _deliver(batch, self._answer([waiting.request for waiting in batch]))

    async def _answer_lookups(self, answer: Callable[[Sequence[PredictRequest]], Awaitable[Sequence[Outcome]]]) -> None:
        while self._lookups:
            batch, self._lookups = self._lookups[:MAX_ROWS], self._lookups[MAX_ROWS:]
            batch = [waiting for waiting in batch if not waiting.future.cancelled()]
            _deliver(batch, await answer([waiting.request for waiting in batch]))
            for _ in range(GATHERING_TURNS):
                await asyncio.sleep(0)

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
