"""The shadow: a model that scores the same rows as the champion, off the hot path, into a log of its own."""

from collections.abc import Callable, Sequence
from queue import Full, Queue
from threading import Thread
from typing import Any

from mlops_assets.serving.inference.model_slots import LoadedModel
from mlops_assets.serving.inference.scoring import ScoringRow
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.telemetry import Telemetry

MAX_WAITING = 1000  # requests; where the shadow lags, rows are dropped and counted rather than kept in memory

Job = tuple[LoadedModel, Sequence[ScoringRow], Sequence[dict[str, Any]]]


class Shadowing:
    """Scores in a thread of its own between `start` and `stop`, which waits for what is queued."""

    def __init__(self, log: PredictionLog, threshold: float, telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self.log, self._threshold, self._telemetry, self._clock = log, threshold, telemetry, clock
        self._queue: Queue[Job | None] = Queue(MAX_WAITING)
        self._thread = Thread(target=self._work, name="shadow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def put(self, loaded: LoadedModel, rows: Sequence[ScoringRow], logged: Sequence[dict[str, Any]]) -> None:
        """Rows that were answered, each with its row of the prediction log."""
        try:
            self._queue.put_nowait((loaded, rows, logged))
        except Full:
            self._telemetry.shadow_dropped.inc(len(rows))

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                self._score(*job)
            except (OSError, KeyError):  # a full disk; the answers were sent before, and must not suffer
                self._telemetry.shadow_dropped.inc(len(job[1]))

    def _score(self, loaded: LoadedModel, rows: Sequence[ScoringRow], logged: Sequence[dict[str, Any]]) -> None:
        """Logs the shadow's own scores under the ids of the answers; None where it gave no probability."""
        began = self._clock()
        scores = _scores(loaded, rows)
        model_ms = round((self._clock() - began) * 1000, 3)
        shadow: dict[str, Any] = {"arm": "shadow", "model_version": loaded.version, "model_ms": model_ms}
        shadow["model_digest"] = loaded.blessing.model_digest
        lines = [row | shadow | {"champion_probability": row["probability"]} for row in logged]
        for line, score in zip(lines, scores, strict=True):
            decision = None if score is None else score >= self._threshold
            line |= {"probability": score, "decision": decision, "challenger_failed": score is None}
        self.log.append(lines)


def _scores(loaded: LoadedModel, rows: Sequence[ScoringRow]) -> list[float | None]:
    try:
        scores = loaded.model.score(loaded.encoder.encode([row.inputs for row in rows])).tolist()
    except Exception:  # noqa: BLE001 - a candidate may fail in any way, and the log records that it did
        return [None] * len(rows)
    return [score if 0.0 <= score <= 1.0 else None for score in scores]
