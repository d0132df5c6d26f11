"""Rows with their features, each scored by the model of its arm.

Belongs here: choosing arms, the cache of scores, running models. Not here: who is in which arm by what hash (routing.py),
looking features up and saying the answer (answering.py).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_assets.foundation.names import SEED
from mlops_assets.serving.inference.cache import MemoryScores, score_keys
from mlops_assets.serving.inference.explain import Unexplainable, explain, nothing_known
from mlops_assets.serving.inference.model_slots import Lineup, Loaded
from mlops_assets.serving.inference.routing import to_challenger
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.spec.use_case import UseCase

CHAMPION, CHALLENGER = "champion", "challenger"
EXPLAINED_S = 0.05  # at most so long for one row

log = logging.getLogger("bentoml.mlops_assets")


class ScoringRow(NamedTuple):
    """One row to score: what the request said (None: features only), the inputs as the declaration orders them, the moment
    that they hold for, where they come from, and how old each view's were (seconds; None: not known).
    """

    request: tuple[Any, ...] | None
    inputs: tuple[Any, ...]
    moment: datetime
    features_from: str
    ages: Mapping[str, float | None] | None


class Scored(NamedTuple):
    """The probability of one row, and whose it is. `model_ms` is what its model took for all rows that it scored together.

    `challenger_failed`: it was the challenger's to answer, which gave no probability, so that the champion answers.
    """

    arm: str
    loaded: Loaded
    probability: float
    model_ms: float
    challenger_failed: bool = False

    @property
    def is_legal(self) -> bool:
        return 0.0 <= self.probability <= 1.0  # a NaN is not


class Scorer:
    """Scores the rows of one use case. `clock` gives seconds that only grow."""

    def __init__(self, use_case: UseCase, cache: MemoryScores | None, telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self._use_case, self._cache, self._telemetry, self._clock = use_case, cache, telemetry, clock
        self._sticky = [use_case.features.request.index(name) for name in use_case.serving.sticky_key]

    def score(self, lineup: Lineup, rows: Sequence[ScoringRow]) -> list[Scored]:
        """One score for each row, in their order."""
        challenger = lineup.challenger
        if challenger is None or lineup.plan.share == 0:
            return self._score(CHAMPION, lineup.champion, rows)
        keys = [self._key(row, lineup.plan.split == "ab") for row in rows]
        moved = to_challenger(lineup.plan, self._use_case.name, keys)
        tried = iter(self._try(challenger, [row for row, theirs in zip(rows, moved, strict=True) if theirs]))
        found = [next(tried) if theirs else None for theirs in moved]
        left = [row for row, each in zip(rows, found, strict=True) if each is None]
        kept = iter(self._score(CHAMPION, lineup.champion, left) if left else ())
        pairs = zip(found, moved, strict=True)
        return [each or next(kept)._replace(challenger_failed=theirs) for each, theirs in pairs]

    def explain(self, scored: Scored, row: ScoringRow) -> dict[str, Any]:
        """What each input adds to the log-odds of one score."""
        loaded, signature = scored.loaded, scored.loaded.model.signature
        until = self._clock() + EXPLAINED_S
        try:
            return explain(
                loaded.model.score, loaded.encoder.encode([row.inputs])[0], nothing_known(signature),
                names=signature.inputs, rng=np.random.default_rng(SEED), deadline=lambda: self._clock() > until,
            ).to_dict()  # fmt: skip
        except Unexplainable as error:  # the prediction stands all the same
            return {"problem": str(error)}

    def _key(self, row: ScoringRow, sticky: bool) -> bytes:
        """What keeps a row in its arm: the declared columns in an A/B rollout, else all that the request says."""
        if sticky and self._sticky and row.request:
            return msgspec.json.encode([row.request[place] for place in self._sticky])
        return msgspec.json.encode(row.request or row.inputs)

    def _try(self, challenger: Loaded, rows: Sequence[ScoringRow]) -> list[Scored | None]:
        """The challenger's scores; None where it gives no probability, in whatever way it fails."""
        if not rows:
            return []
        try:
            scored: list[Scored | None] = [each if each.is_legal else None for each in self._score(CHALLENGER, challenger, rows)]
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no parent but Exception
            log.error("%s · challenger, version %s · %s", self._use_case.name, challenger.version, error)
            scored = [None] * len(rows)
        self._telemetry.challenger_failures.inc(scored.count(None))
        return scored

    def _score(self, arm: str, loaded: Loaded, rows: Sequence[ScoringRow]) -> list[Scored]:
        matrix = loaded.encoder.encode([row.inputs for row in rows])
        score = loaded.model.score if self._cache is None else self._through_cache(self._cache, loaded)
        began = self._clock()
        found = score(matrix).tolist()
        model_ms = round((self._clock() - began) * 1000, 3)
        return [Scored(arm, loaded, probability, model_ms) for probability in found]

    def _through_cache(self, cache: MemoryScores, loaded: Loaded) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
        def score(matrix: NDArray[np.float32]) -> NDArray[np.float64]:
            keys = score_keys(matrix, loaded.blessing.model_digest)
            known = cache.read(keys)
            missing = [place for place, each in enumerate(known) if each is None]
            self._telemetry.cache_read(len(known) - len(missing), len(missing))
            scores = np.array(known, dtype=np.float64)
            if missing:
                scores[missing] = loaded.model.score(matrix[missing])
                cache.write([keys[place] for place in missing], scores[missing].tolist())
            return scores

        return score
