"""One running service: everything that answers, started and stopped together.

Belongs here: its parts and their threads. Not here: which port is handed to what (boot.py), HTTP (web.py).
"""

import logging
from dataclasses import dataclass, field
from threading import Event, Thread

from mlops_assets.serving.admission import Admission
from mlops_assets.serving.answering import Answering, Ask
from mlops_assets.serving.batching import Batching, LoopBatching
from mlops_assets.serving.decode import RequestDecoder
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.serving.tracing import Tracing

INLINE_ROWS = 10  # answered in the event loop: some 10 µs each, and 0.9 ms where features are looked up

log = logging.getLogger("bentoml.mlops_assets")


@dataclass
class Service:
    """Between `start` and `stop`, which answers what is queued and leaves nothing of the log in memory."""

    answering: Answering
    admission: Admission
    tracing: Tracing
    batching: Batching = field(init=False)
    loop_batching: LoopBatching = field(init=False)
    decode: RequestDecoder = field(init=False)

    def __post_init__(self) -> None:
        use_case = self.answering.use_case
        self.batching = Batching(self.answering.answer_together)
        self.loop_batching = LoopBatching(self.answering.answer_together)
        self.decode = RequestDecoder(use_case)
        self.timeout_s = use_case.serving.limits.timeout.total_seconds()
        self.max_body_bytes = use_case.serving.limits.max_body_bytes
        # A cache in Redis may take 50 ms for its answer, and the event loop waits for nobody.
        self._inline_rows = 0 if (cache := use_case.serving.cache) and cache.where == "redis" else INLINE_ROWS
        self._flush_every_s = use_case.serving.log.flush_every.total_seconds()
        self._stopped = Event()
        self._flusher = Thread(target=self._flush_now_and_then, name="log-flusher", daemon=True)

    @property
    def telemetry(self) -> Telemetry:
        return self.answering.telemetry

    def start(self) -> None:
        self.answering.slots.start()
        self.answering.shadowing.start()
        self.batching.start()
        self._flusher.start()

    def stop(self) -> None:
        self.answering.slots.stop()
        self.batching.stop()
        self.answering.shadowing.stop()
        self._stopped.set()
        self._flusher.join()
        self._flush()
        self.tracing.stop()

    def is_ready(self) -> bool:
        return self.answering.slots.lineup is not None

    def blocks(self, ask: Ask) -> bool:
        """Whether answering may take longer than the event loop can spare."""
        slow = ask.asked.inputs is None and not self.answering.features.is_quick
        return slow or ask.explain or len(ask.asked) > self._inline_rows

    def measure(self) -> None:
        """Brings what is a state rather than an event up to date in the metrics."""
        lineup = self.answering.slots.lineup
        self.telemetry.plan.set(lineup.plan.number if lineup else 0)
        self.telemetry.in_flight.set(self.admission.in_flight)
        self.telemetry.queue.set(self.batching.waiting())

    def _flush_now_and_then(self) -> None:
        while not self._stopped.wait(self._flush_every_s):
            self._flush()

    def _flush(self) -> None:
        for each in (self.answering.log, self.answering.shadowing.log):
            try:
                each.flush()
            except OSError as error:
                self.telemetry.log_failures.inc()
                log.error("the prediction log could not be forced to the disk: %s", error)
