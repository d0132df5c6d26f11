"""The shadow: a model that scores the same rows as the champion, off the hot path, into a log of its own."""

import logging
import pickle
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import repeat
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, BinaryIO, NamedTuple

from mlops_assets.serving.inference.model_slots import LoadedModel
from mlops_assets.serving.inference.scoring import ScoringRow
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of

# Where the shadow lags, rows are dropped and counted rather than kept.
MAX_WAITING_ROWS = 20_000  # in memory, some 80 MB
MAX_WAITING_LARGE = 4  # requests, whose rows wait in files

log = logging.getLogger("bentoml.mlops_assets")
Block = tuple[Sequence[ScoringRow], Sequence[dict[str, Any]]]  # rows that were answered, each with its row of the prediction log
Use = Callable[[Sequence[ScoringRow], Sequence[dict[str, Any]]], object]


class _Job(NamedTuple):
    loaded: LoadedModel
    size: int  # rows
    blocks: Iterable[Block]
    release: Callable[[], None]


class Shadowing:
    """Scores in a thread of its own between `start` and `stop`, which waits for what is queued."""

    def __init__(self, log: PredictionLog, use_case: UseCase, telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self.log, self._task, self._telemetry, self._clock = log, task_of(use_case.task), telemetry, clock
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._rows, self._large = _Room(MAX_WAITING_ROWS), _Room(MAX_WAITING_LARGE)
        self._thread = Thread(target=self._work, name="shadow", daemon=True)
        self.start = self._thread.start
        self._last_error = ""

    def stop(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def put(self, loaded: LoadedModel, rows: Sequence[ScoringRow], logged: Sequence[dict[str, Any]]) -> None:
        """Rows that were answered, each with its row of the prediction log."""
        if self._rows.take(len(rows)):
            self._queue.put(_Job(loaded, len(rows), [(rows, logged)], partial(self._rows.release, len(rows))))
        else:
            self._telemetry.shadow_dropped.inc(len(rows))

    @contextmanager
    def large_request(self, loaded: LoadedModel | None) -> Generator[Use]:
        """What gets the blocks of a request, which is scored unless it fails; of no shadow nothing."""
        if loaded is None:
            yield lambda _rows, _logged: None
            return
        request = _LargeRequest(self.log)
        try:
            yield request.add
        except BaseException:  # a canceled request too frees its space on the disk
            request.close()
            raise
        self._put_large(loaded, request)

    def _put_large(self, loaded: LoadedModel, request: "_LargeRequest") -> None:
        def release() -> None:
            request.close()
            self._large.release(1)

        if self._large.take(1):
            self._queue.put(_Job(loaded, request.size, request.blocks(), release))
        else:
            request.close()
            self._telemetry.shadow_dropped.inc(request.size)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            self._score_blocks(job)

    def _score_blocks(self, job: _Job) -> None:
        left = job.size
        try:
            for rows, logged in job.blocks:
                self._score(job.loaded, rows, logged)
                left -= len(rows)
        except Exception as error:  # such as a full disk; the thread goes on, as the next shadow may be a good one
            self._telemetry.shadow_dropped.inc(left)
            if str(error) != self._last_error:
                log.exception("the shadow, version %s, did not score %d rows", job.loaded.version, left)
            self._last_error = str(error)
        finally:
            job.release()

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


class _LargeRequest:
    """The blocks of a request that has more rows than are held in memory, in a file without a name."""

    def __init__(self, log: PredictionLog) -> None:
        self._log, self.size = log, 0
        self._file: BinaryIO | None = None
        self._error: OSError | None = None

    def add(self, rows: Sequence[ScoringRow], logged: Sequence[dict[str, Any]]) -> None:
        """Raises nothing: the answer does not depend on the shadow."""
        self.size += len(rows)
        if self._error:
            return
        try:
            self._file = self._file or self._log.spool()
            pickle.dump((rows, logged), self._file, pickle.HIGHEST_PROTOCOL)
        except OSError as error:  # such as a full disk
            self._error = error

    def blocks(self) -> Iterator[Block]:
        """Raises OSError where the disk did not take all of them."""
        if self._error:
            raise self._error
        if self._file:
            end = self._file.tell()
            self._file.seek(0)
            while self._file.tell() < end:
                yield pickle.load(self._file)

    def close(self) -> None:
        if self._file:
            with suppress(OSError):  # of what is left in its buffer
                self._file.close()


class _Room:
    """For so much that waits."""

    def __init__(self, size: int) -> None:
        self._free, self._lock = size, Lock()

    def take(self, size: int) -> bool:
        with self._lock:
            is_enough = size <= self._free
            self._free -= size if is_enough else 0
        return is_enough

    def release(self, size: int) -> None:
        with self._lock:
            self._free += size
