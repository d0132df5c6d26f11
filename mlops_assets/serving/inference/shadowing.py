"""The shadow: a model that scores what others have answered, off the hot path, and whose scores nobody is given.

Belongs here: its queue and its log. Not here: which version it is (model_slots.py). Its rows bear the id of the answer that
they stand beside; where it lags, rows are dropped and counted rather than kept in memory.
"""

from collections.abc import Callable, Sequence
from queue import Full, Queue
from threading import Thread
from typing import Any

from mlops_assets.serving.inference.model_slots import Loaded
from mlops_assets.serving.inference.scoring import ScoringRow
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.telemetry import Telemetry

SHADOW = "shadow"
MAX_WAITING = 1000  # requests

Answered = tuple[Loaded, Sequence[ScoringRow], Sequence[dict[str, Any]]]


class Shadowing:
    """Scores in a thread of its own between `start` and `stop`, which waits for what is queued."""

    def __init__(self, log: PredictionLog, threshold: float, telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self.log, self._threshold, self._telemetry, self._clock = log, threshold, telemetry, clock
        self._queue: Queue[Answered | None] = Queue(MAX_WAITING)
        self._thread = Thread(target=self._work, name="shadow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def put(self, loaded: Loaded, rows: Sequence[ScoringRow], logged: Sequence[dict[str, Any]]) -> None:
        """Rows that were answered, and what the prediction log holds of each."""
        try:
            self._queue.put_nowait((loaded, rows, logged))
        except Full:
            self._telemetry.shadow_dropped.inc(len(rows))

    def _work(self) -> None:
        while (answered := self._queue.get()) is not None:
            try:
                self._score(*answered)
            except (OSError, KeyError):  # a full disk: those who were answered must not notice
                self._telemetry.shadow_dropped.inc(len(answered[1]))

    def _score(self, loaded: Loaded, rows: Sequence[ScoringRow], logged: Sequence[dict[str, Any]]) -> None:
        began = self._clock()
        scores = _scores(loaded, rows)
        model_ms = round((self._clock() - began) * 1000, 3)
        whose = {
            "arm": SHADOW,
            "model_version": loaded.version,
            "model_digest": loaded.blessing.model_digest,
            "model_ms": model_ms,
        }
        self.log.append([row | whose | self._beside(row, score) for row, score in zip(logged, scores, strict=True)])

    def _beside(self, row: dict[str, Any], score: float | None) -> dict[str, Any]:
        """The shadow's own score, None where it gave no probability, beside what was answered."""
        decision = None if score is None else score >= self._threshold
        said = {"probability": score, "decision": decision, "challenger_failed": score is None}
        return said | {"champion_probability": row["probability"]}


def _scores(loaded: Loaded, rows: Sequence[ScoringRow]) -> list[float | None]:
    try:
        found = loaded.model.score(loaded.encoder.encode([row.inputs for row in rows])).tolist()
    except Exception:  # noqa: BLE001 - a candidate may fail in any way, and the log says that it did
        return [None] * len(rows)
    return [score if 0.0 <= score <= 1.0 else None for score in found]
