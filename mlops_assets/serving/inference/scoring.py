"""Scores rows with the model of their arm, through a cache of scores where one is declared."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from hashlib import blake2b
from threading import Lock
from typing import Any, NamedTuple

import msgspec
import numpy as np
from cachetools import TTLCache
from numpy.typing import NDArray

from mlops_assets.features.online.online_mirror import Missing
from mlops_assets.foundation.names import SEED
from mlops_assets.promotion.deployment import Plan
from mlops_assets.serving.inference.explain import Unexplainable, explain
from mlops_assets.serving.inference.model_slots import Lineup, LoadedModel
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of

CHAMPION, CHALLENGER = "champion", "challenger"
EXPLAIN_S = 0.05  # at most, for one row
KEY_BYTES, DRAW_BYTES = 16, 8

Scores = TTLCache[bytes, Any, float]
log = logging.getLogger("bentoml.mlops_assets")


class ScoringRow(NamedTuple):
    """One row to score: its request columns (None: features only), the inputs in the order of `readable_names`, the moment
    they hold for, where they come from, the age of each view's features (seconds; None: not known), and the views without a
    value at that moment.
    """

    request: tuple[Any, ...] | None
    inputs: tuple[Any, ...]
    moment: datetime
    features_from: str
    ages: Mapping[str, float | None] | None
    missing: Missing = ()


class RowScore(NamedTuple):
    """The output for one row and the model that gave it. `model_ms` is for all rows that this model scored together.
    `challenger_failed`: the row is the challenger's, which gave no legal output, so the champion scored it.
    """

    arm: str
    loaded: LoadedModel
    output: Any
    model_ms: float
    challenger_failed: bool = False


class Scorer:
    """Scores the rows of one use case, in any number of threads. `clock` is monotonic, in seconds."""

    def __init__(self, use_case: UseCase, telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self._task = task_of(use_case.task)
        self._use_case, self._telemetry, self._clock, self._lock = use_case, telemetry, clock, Lock()
        cache = use_case.serving.cache
        self._cache = cache and Scores(cache.max_entries, cache.ttl.total_seconds(), clock)
        self._sticky = [use_case.features.request.index(name) for name in use_case.serving.sticky_key]

    def score(self, lineup: Lineup, rows: Sequence[ScoringRow]) -> list[RowScore]:
        """One score for each row, in their order."""
        challenger = lineup.challenger
        if challenger is None or lineup.plan.share == 0:
            return self._score(CHAMPION, lineup.champion, rows)
        # What keeps a row in its arm: the declared columns in an A/B rollout, else the whole row.
        sticky = self._sticky if lineup.plan.split == "ab" else []
        keys = [[row.request[place] for place in sticky] if sticky and row.request else row.request or row.inputs for row in rows]
        moved = to_challenger(lineup.plan, self._use_case.name, [msgspec.json.encode(key) for key in keys])
        tried = iter(self._try(challenger, [row for row, is_moved in zip(rows, moved, strict=True) if is_moved]))
        scores = [next(tried) if is_moved else None for is_moved in moved]
        left = [row for row, score in zip(rows, scores, strict=True) if score is None]
        champions = iter(self._score(CHAMPION, lineup.champion, left) if left else ())
        pairs = zip(scores, moved, strict=True)
        return [score or next(champions)._replace(challenger_failed=is_moved) for score, is_moved in pairs]

    def explain(self, score: RowScore, row: ScoringRow) -> dict[str, Any]:
        """What each input adds to one score."""
        model, encoder = score.loaded.model, score.loaded.encoder
        inputs, baseline = encoder.encode([row.inputs, [None] * len(row.inputs)])  # the baseline: nothing is known
        names, rng, until = model.signature.inputs, np.random.default_rng(SEED), self._clock() + EXPLAIN_S

        def additive(rows: NDArray[np.float32]) -> NDArray[np.float64]:
            return self._task.additive(model.score(rows), score.output)

        try:
            explanation = asdict(
                explain(additive, inputs, baseline, names=names, rng=rng, deadline=lambda: self._clock() > until)
            )
            return self._task.baseline(explanation.pop("baseline")) | explanation
        except Unexplainable as error:  # the prediction itself is good
            return {"problem": str(error)}

    def _try(self, challenger: LoadedModel, rows: Sequence[ScoringRow]) -> list[RowScore | None]:
        """The challenger's scores; None where it gives no legal output, in whatever way it fails."""
        if not rows:
            return []
        try:
            scores: list[RowScore | None] = [
                s if self._task.is_legal(s.output) else None for s in self._score(CHALLENGER, challenger, rows)
            ]
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no parent but Exception
            log.error("%s · challenger, version %s · %s", self._use_case.name, challenger.version, error)
            scores = [None] * len(rows)
        self._telemetry.challenger_failures.inc(scores.count(None))
        return scores

    def _score(self, arm: str, loaded: LoadedModel, rows: Sequence[ScoringRow]) -> list[RowScore]:
        matrix = loaded.encoder.encode([row.inputs for row in rows])
        began, scored = self._clock(), len(rows)
        try:
            if self._cache is None:
                scores = loaded.model.score(matrix)
            else:
                scores, scored = self._cached(self._cache, loaded, matrix)
        finally:
            seconds = self._clock() - began
            if scored:
                loaded.pace.record(seconds, scored)
        return [RowScore(arm, loaded, output, round(seconds * 1000, 3)) for output in scores.tolist()]

    def _cached(self, cache: Scores, loaded: LoadedModel, matrix: NDArray[np.float32]) -> tuple[NDArray[np.float64], int]:
        """The scores, and how many of them the model gave."""
        keys = score_keys(matrix, loaded.blessing.model_digest)
        with self._lock:
            known = [cache.get(key) for key in keys]
        missing = [place for place, score in enumerate(known) if score is None]
        self._telemetry.cache.labels("hit").inc(len(known) - len(missing))
        self._telemetry.cache.labels("miss").inc(len(missing))
        if missing:
            scored = loaded.model.score(matrix[missing]).tolist()
            with self._lock:
                cache.update(zip([keys[place] for place in missing], scored, strict=True))
            for place, score in zip(missing, scored, strict=True):
                known[place] = score
        return np.array(known, dtype=np.float64), len(missing)


def to_challenger(plan: Plan, use_case: str, keys: Sequence[bytes]) -> list[bool]:
    """For each key, whether the challenger scores it: a draw of use case, challenger and key. A larger share only adds keys."""
    salt = f"{use_case}\0{plan.challenger}\0".encode()
    limit = int(plan.share * 2 ** (8 * DRAW_BYTES))  # exact: a double times a power of two
    return [int.from_bytes(blake2b(salt + key, digest_size=DRAW_BYTES).digest(), "big") < limit for key in keys]


def score_keys(matrix: NDArray[np.float32], digest: str) -> list[bytes]:
    """One key of KEY_BYTES for each row of `matrix` (rows, inputs), under the model of that digest: equal bytes, equal key."""
    model = blake2b(digest.encode(), digest_size=KEY_BYTES).digest()
    content, width = memoryview(matrix.tobytes()), matrix.shape[1] * matrix.itemsize
    rows = (content[start : start + width] for start in range(0, len(content), width))
    return [blake2b(row, digest_size=KEY_BYTES, key=model).digest() for row in rows]
