"""The shadow: a model that scores what others have answered, off the hot path, and whose scores nobody is given.

Belongs here: its queue and its log. Not here: which version it is (model_slots.py). Its rows bear the id of the answer that
they stand beside; where it lags, rows are dropped and counted rather than kept in memory.
"""

from collections.abc import Sequence
from queue import Full, Queue
from threading import Thread
from typing import Any

from mlops_assets.ports.prediction_log import PredictionLog
from mlops_assets.serving.model_slots import Loaded
from mlops_assets.serving.scoring import Given
from mlops_assets.serving.telemetry import Telemetry

SHADOW = "shadow"
MAX_WAITING = 1000  # requests

Answered = tuple[Loaded, Sequence[Given], Sequence[dict[str, Any]]]


class Shadowing:
    """Scores in a thread of its own between `start` and `stop`, which waits for what is queued."""

    def __init__(self, log: PredictionLog, threshold: float, telemetry: Telemetry) -> None:
        self.log, self._threshold, self._telemetry = log, threshold, telemetry
        self._queue: Queue[Answered | None] = Queue(MAX_WAITING)
        self._thread = Thread(target=self._work, name="shadow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def put(self, loaded: Loaded, rows: Sequence[Given], logged: Sequence[dict[str, Any]]) -> None:
        """Rows that were answered, and what the prediction log holds of each."""
        try:
            self._queue.put_nowait((loaded, rows, logged))
        except Full:
            self._telemetry.shadow_dropped.inc(len(rows))

    def _work(self) -> None:
        while (answered := self._queue.get()) is not None:
            try:
                self._score(*answered)
            # A candidate may fail in any way; those who were answered must not notice, and the next row is tried again.
            except Exception:  # noqa: BLE001
                self._telemetry.shadow_dropped.inc(len(answered[1]))

    def _score(self, loaded: Loaded, rows: Sequence[Given], logged: Sequence[dict[str, Any]]) -> None:
        scores = loaded.model.score(loaded.encoder.encode([row.inputs for row in rows])).tolist()
        whose = {"arm": SHADOW, "model_version": loaded.version, "model_digest": loaded.blessing.model_digest}
        self.log.append(
            [
                row | whose | {"probability": score, "decision": score >= self._threshold}
                for row, score in zip(logged, scores, strict=True)
            ]
        )
