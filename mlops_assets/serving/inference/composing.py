"""The answers of scored rows, and their rows of the prediction log."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from msgspec import UNSET

from mlops_assets.foundation.names import EVENT_TIMESTAMP, FEATURE_AGE_S
from mlops_assets.serving.http.answer import Answer, prediction_type
from mlops_assets.serving.http.request import PredictRequest
from mlops_assets.serving.inference.model_slots import Lineup
from mlops_assets.serving.inference.scoring import RowScore, Scorer, ScoringRow
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of
from mlops_assets.training.signature import MIN_ROWS

UNSEEN = f"is in fewer than {MIN_ROWS} training rows, or in none; the model treats it as unknown"
TREATED = "at the moment of the prediction; the model treats its features as missing"
MISSING = {"unknown": f"has no value for this entity {TREATED}", "expired": f"has only expired values for this entity {TREATED}"}


class Composer:
    """Of one use case. `now` is the present in UTC, `clock` in seconds, `new_id` is unique."""

    def __init__(
        self,
        use_case: UseCase,
        scorer: Scorer,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._use_case, self._scorer, self._now, self._clock, self._new_id = use_case, scorer, now, clock, new_id
        self._task, self._prediction, features = task_of(use_case.task), prediction_type(use_case), use_case.features
        # The request columns in the log of a request without rows, except those that are inputs as well.
        self._no_rival = dict.fromkeys(self._task.rival_columns())
        self._no_request = dict.fromkeys(name for name in features.request if name not in features.inputs)

    def compose(
        self, lineup: Lineup, request: PredictRequest, rows: Sequence[ScoringRow], scores: Sequence[RowScore], call: int
    ) -> tuple[Answer, list[dict[str, Any]]]:
        """The answer of one request, and its rows of the log."""
        features, moment, logged = self._use_case.features, self._now(), list[dict[str, Any]]()
        answer = Answer([], lineup.plan.number, self.latency_ms(request))
        for row, score in zip(rows, scores, strict=True):
            encoder, values, prediction_id = score.loaded.encoder, score.loaded.answer(score.output), self._new_id()
            prediction = self._prediction(
                prediction_id, *values, score.loaded.version, score.arm, row.features_from,
                [
                    *encoder.warnings,
                    *(f"{name} {value!r} {UNSEEN}" for name, value in encoder.unseen(row.inputs)),
                    *(f"{view} {MISSING[reason]}" for view, reason in row.missing),
                ],
                self._scorer.explain(score, row) if request.explain else UNSET,
            )  # fmt: skip
            answer.predictions.append(prediction)
            line: dict[str, Any] = {
                "prediction_id": prediction_id,
                "answered_at": moment,
                EVENT_TIMESTAMP: row.moment,
                "trace_id": request.trace_id,
                "plan": answer.plan,
                "arm": score.arm,
                "model_version": score.loaded.version,
                "model_digest": score.loaded.blessing.model_digest,
                **dict(zip(self._task.COLUMNS, values, strict=True)),
                "features_from": row.features_from,
                "latency_ms": answer.latency_ms,
                "call": call,
                "model_ms": score.model_ms,
                "challenger_failed": score.challenger_failed,
                **self._no_rival,
                FEATURE_AGE_S: row.ages,
                **dict(zip(features.inputs, row.inputs, strict=False)),
                **(dict(zip(features.request, row.request, strict=True)) if row.request else self._no_request),
            }
            logged.append(line)
        return answer, logged

    def illegal(self, scores: Sequence[RowScore]) -> ValueError | None:
        if illegal := next((score for score in scores if not self._task.is_legal(score.output)), None):
            problem = f"version {illegal.loaded.version} gave {illegal.output}, which is no {self._task.SCORES[0]}"
            return ValueError(f"{self._use_case.name} · {problem}.")
        return None

    def latency_ms(self, request: PredictRequest) -> float:
        return round((self._clock() - request.started) * 1000, 3)
