"""From typed request rows to logged answers: features, probability, decision, warnings.

Belongs here: the order of one answer's steps. Not here: HTTP (web.py), loading models (model_slot.py), retrieval (ports).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import polars as pl

from mlops_assets.ports.prediction_log import PredictionLog
from mlops_assets.serving.model_slot import Champion, ModelSlot
from mlops_assets.spec.use_case import UseCase


class FeatureLookup(Protocol):
    """What answers the features of entity rows."""

    def lookup(self, entity_rows: pl.DataFrame) -> pl.DataFrame:
        """The rows in their order, with every feature as known at each `event_timestamp`, and `features_from`."""
        ...


class NotReady(RuntimeError):
    """No blessed champion to answer with."""


class Unanswerable(RuntimeError):
    """The model or the features gave what must not leave the house."""


@dataclass(frozen=True)
class Answering:
    """One use case, ready to answer. `now` gives the present in UTC, `new_id` a prediction id that was never given before."""

    use_case: UseCase
    slot: ModelSlot
    features: FeatureLookup
    log: PredictionLog
    now: Callable[[], datetime]
    new_id: Callable[[], str]

    def answer(self, rows: pl.DataFrame) -> dict[str, Any]:
        """One prediction a row, in order, durably logged before it returns. Raises NotReady, Unanswerable, OSError."""
        started = perf_counter()
        champion = self.slot.champion
        if champion is None:
            raise NotReady(self._not_ready())
        entity_rows = self.use_case.features.entity_rows(rows.lazy()).collect()
        answered = self._predict(champion, self.features.lookup(entity_rows))
        latency_ms = (perf_counter() - started) * 1000
        self.log.append(answered.with_columns(latency_ms=pl.lit(latency_ms), answered_at=pl.lit(self.now())))
        return {
            "predictions": _predictions(answered, self._warnings(champion, answered)),
            "model_version": champion.plan.champion,
            "latency_ms": round(latency_ms, 3),
        }

    def plan(self) -> dict[str, Any]:
        """Which version answers, since when, and what last kept another from answering."""
        champion = self.slot.champion
        said: dict[str, Any] = {"use_case": self.use_case.name, "question": self.use_case.question}
        said |= dict.fromkeys(("champion", "digest", "blessed_at", "plan", "since", "reason"))
        if champion:
            said |= {"champion": champion.plan.champion, "plan": champion.plan.number, "since": champion.plan.at}
            said |= {"digest": champion.blessing.model_digest, "blessed_at": champion.blessing.blessed_at}
            said |= {"reason": champion.plan.reason}
        return said | {"last_load_error": self.slot.last_error}

    def _predict(self, champion: Champion, found: pl.DataFrame) -> pl.DataFrame:
        probability = champion.model.predict(found.select(self.use_case.features.inputs)).astype(np.float64)
        if not np.isfinite(probability).all():
            raise Unanswerable(f"{self.use_case.name} · version {champion.plan.champion} gave a probability that is no number.")
        return found.with_columns(
            prediction_id=pl.Series([self.new_id() for _ in range(found.height)], dtype=pl.String),
            probability=pl.Series(probability),
            decision=pl.Series(probability >= self.use_case.threshold),
            model_version=pl.lit(champion.plan.champion),
            model_digest=pl.lit(champion.blessing.model_digest),
        )

    def _warnings(self, champion: Champion, answered: pl.DataFrame) -> list[list[str]]:
        warnings: list[list[str]] = [[] for _ in range(answered.height)]
        for name, vocabulary in champion.model.signature.categories.items():
            unseen = answered.select(pl.int_range(pl.len()), name).filter(
                pl.col(name).is_not_null() & ~pl.col(name).is_in(vocabulary)
            )
            for index, value in unseen.iter_rows():
                warnings[index].append(f"{name} {value!r} was not in the training data; the model treats it as unknown")
        return warnings

    def _not_ready(self) -> str:
        why = self.slot.last_error or "no version has been promoted yet"
        return f"{self.use_case.name} · no champion answers: {why}. Train and promote a model, then ask again."


def _predictions(answered: pl.DataFrame, warnings: list[list[str]]) -> list[dict[str, Any]]:
    said = answered.select("prediction_id", "probability", "decision", "model_version", "features_from").to_dicts()
    return [row | {"warnings": warning} for row, warning in zip(said, warnings, strict=True)]
