"""The shadow: a model that scores the same rows as the champion, off the hot path, into a log of its own."""

import logging
from collections.abc import Callable, Sequence
from itertools import repeat
from queue import Full, Queue
from threading import Thread
from typing import Any

from mlops_assets.serving.inference.model_slots import LoadedModel
from mlops_assets.serving.inference.scoring import ScoringRow
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of

MAX_WAITING = 1000  # requests; where the shadow lags, rows are dropped and counted rather than kept in memory

log = logging.getLogger("bentoml.mlops_assets")
Job = tuple[LoadedModel, Sequence[ScoringRow], Sequence[dict[str, Any]]]


class Shadowing:
    """Scores in a thread of its own between `start` and `stop`, which waits for what is queued."""

    def __init__(self, log: PredictionLog, use_case: UseCase, telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self.log, self._task, self._telemetry, self._clock = log, task_of(use_case.task), telemetry, clock
        self._queue: Queue[Job | None] = Queue(MAX_WAITING)
        self._thread = Thread(target=self._work, name="shadow", daemon=True)
        self.start = self._thread.start
        self._last_error = ""

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
            # Such as a full disk. Whatever it is, the thread goes on: the next shadow may be a good one.
            except Exception as error:
                self._telemetry.shadow_dropped.inc(len(job[1]))
                if str(error) != self._last_error:
                    log.exception("the shadow, version %s, scored no rows", job[0].version)
                self._last_error = str(error)

    def _score(self, loaded: LoadedModel, rows: Sequence[ScoringRow], logged: Sequence[dict[str, Any]]) -> None:
        """Logs the shadow's own scores under the ids of the answers; None where it gave no legal output."""
        began = self._clock()
        try:
            outputs = loaded.model.score(loaded.encoder.encode([row.inputs for row in rows])).tolist()
        except Exception:  # noqa: BLE001 - a candidate may fail in any way, and the log records that it did
            outputs = [None] * len(rows)
        shadow: dict[str, Any] = {"arm": "shadow", "model_version": loaded.version, "model_digest": loaded.blessing.model_digest}
        shadow["model_ms"] = round((self._clock() - began) * 1000, 3)
        lines = list[dict[str, Any]]()
        for row, output in zip(logged, outputs, strict=True):
            failed = output is None or not self._task.is_legal(output)
            answer = repeat(None) if failed else loaded.answer(output)
            own = dict(zip(self._task.COLUMNS, answer, strict=False)) | {"challenger_failed": failed}
            lines.append(row | shadow | own | {f"champion_{name}": row[name] for name in self._task.SCORES})
        self.log.append(lines)
