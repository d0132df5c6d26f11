"""One running service: its parts and their threads, started and stopped together."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event, Thread

from mlops_assets.serving.http.admission import Admission
from mlops_assets.serving.http.request import PredictRequest, RequestParser
from mlops_assets.serving.http.tracing import Tracing
from mlops_assets.serving.inference.answering import Answering
from mlops_assets.serving.inference.batching import Batching, LoopBatching
from mlops_assets.serving.telemetry import Telemetry

INLINE_ROWS = 10  # answered in the event loop: some 10 µs each, and 0.9 ms where features are looked up
INLINE_BYTES = 100_000  # are parsed in a millisecond; a larger body must not block the event loop
WARN_EVERY_S = 1.0

log = logging.getLogger("bentoml.mlops_assets")


@dataclass
class Service:
    """Serves between `start` and `stop`, which answers what is queued and leaves nothing of the log in memory."""

    answering: Answering
    admission: Admission
    tracing: Tracing

    def __post_init__(self) -> None:
        serving = self.answering.use_case.serving
        self.batching = Batching(self.answering.answer_together)
        self.loop_batching = LoopBatching(self.answering.answer_together)
        self.parse = RequestParser(self.answering.use_case)
        self.timeout_s, self.max_body_bytes = serving.limits.timeout.total_seconds(), serving.limits.max_body_bytes
        self._flush_every_s = serving.log.flush_every.total_seconds()
        self._stopped = Event()
        self._warn_at = 0.0
        self._flusher = Thread(target=self._flush_periodically, name="log-flusher", daemon=True)

    @property
    def telemetry(self) -> Telemetry:
        return self.answering.telemetry

    def start(self) -> None:
        for part in (self.answering.slots, self.answering.shadowing, self.batching, self._flusher):
            part.start()

    def stop(self) -> None:
        for part in (self.answering.slots, self.batching, self.answering.shadowing):
            part.stop()
        self._stopped.set()
        self._flusher.join()
        self._flush()
        self.tracing.stop()

    def is_ready(self) -> bool:
        return self.answering.slots.lineup is not None

    async def predict(self, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bytes:
        """The answer as JSON. Raises NotAdmitted above the limit of requests in flight, BadRequest, and the errors of
        `Answering.answer_together`.
        """
        started = self.answering.clock()
        self.admission.enter()
        try:
            with self.tracing.span(headers) as trace_id:
                if len(body) <= INLINE_BYTES:
                    request = self.parse(body, started=started, trace_id=trace_id)
                else:
                    request = await asyncio.to_thread(self.parse, body, started=started, trace_id=trace_id)
                batching = self.batching if self._blocks(request) else self.loop_batching
                return await batching.submit(request)
        finally:
            self.admission.leave()

    def warn(self, error: Exception) -> None:
        """Logs why requests fail, once a second: an outage concerns thousands of them."""
        if (now := self.answering.clock()) >= self._warn_at:
            self._warn_at = now + WARN_EVERY_S
            log.warning("no answer · %s: %s", type(error).__name__, error)

    def _blocks(self, request: PredictRequest) -> bool:
        """Whether the answer may take too long for the event loop."""
        slow = request.inputs is None and not self.answering.features.is_quick
        return slow or request.explain or len(request) > INLINE_ROWS

    def measure(self) -> None:
        """Updates the gauges."""
        lineup = self.answering.slots.lineup
        self.telemetry.plan.set(lineup.plan.number if lineup else 0)
        self.telemetry.in_flight.set(self.admission.in_flight)
        self.telemetry.queue.set(self.batching.waiting())

    def _flush_periodically(self) -> None:
        while not self._stopped.wait(self._flush_every_s):
            self._flush()

    def _flush(self) -> None:
        for prediction_log in (self.answering.log, self.answering.shadowing.log):
            try:
                prediction_log.flush()
            except OSError as error:
                self.telemetry.log_failures.inc()
                log.error("the prediction log could not be synced to disk: %s", error)
