"""From parsed requests to logged answers: features, arm, probability, decision, warnings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import islice, repeat
from typing import Annotated, Any

import msgspec
import polars as pl
from msgspec import UNSET, Meta, UnsetType

from mlops_assets.features.online.key_value_stores import OnlineStoreDown
from mlops_assets.foundation.names import FEATURE_AGE_S
from mlops_assets.serving.http.request import PredictRequest, request_columns
from mlops_assets.serving.inference.model_slots import Lineup, LoadedModel, ModelSlots
from mlops_assets.serving.inference.pace import PacedLookup
from mlops_assets.serving.inference.scoring import CHALLENGER, CHAMPION, RowScore, Scorer, ScoringRow
from mlops_assets.serving.inference.shadowing import Shadowing
from mlops_assets.serving.log.prediction_log import DTYPES, PredictionLog
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.spec.use_case import UseCase

REQUEST = "request"  # where features come from when the caller sends them
# For a few rows: Polars' own choice of an engine takes 0.08 ms more, and looking for a better plan 0.04.
UNOPTIMIZED = pl.QueryOptFlags.none()
SOURCES = (
    "The online store, its last known values while it is down, point-in-time retrieval where that store is ahead of the "
    "prediction moment, or the request itself."
)


class NotReady(RuntimeError):
    """No blessed champion serves."""


class LogUnavailable(RuntimeError):
    """The prediction log cannot be written, and the declaration allows no answer without it."""


class IllegalScore(RuntimeError):
    """The model returned no probability."""


class Prediction(msgspec.Struct):
    """The answer for one row. The annotations become the schema of the answer; values are not checked against them."""

    prediction_id: Annotated[str, Meta(description="Finds features, model, data and gates of this prediction later.")]
    probability: Annotated[float, Meta(ge=0, le=1)]
    decision: Annotated[bool, Meta(description="The probability reaches the declared threshold.")]
    model_version: int
    arm: Annotated[
        str, Meta(description="Which side of a rollout served it.", extra_json_schema={"enum": [CHAMPION, CHALLENGER]})
    ]
    features_from: Annotated[
        str, Meta(description=SOURCES, extra_json_schema={"enum": ["online", "last_known", "point_in_time", REQUEST]})
    ]
    warnings: list[str]
    explanation: (
        Annotated[
            dict[str, Any], Meta(description="With explain: what each input adds to the log-odds, compared with no known input.")
        ]
        | UnsetType
    ) = UNSET


class Answer(msgspec.Struct):
    predictions: list[Prediction]
    plan: int
    latency_ms: float


Outcome = bytes | Exception  # the answer as JSON, or the error of a request


@dataclass(frozen=True)
class Answering:
    """One use case, ready to answer. `now` returns the present in UTC, `clock` monotonic seconds, `new_id` a prediction id
    and `next_call` the number of a batch, both unique.
    """

    use_case: UseCase
    slots: ModelSlots
    features: PacedLookup
    log: PredictionLog
    shadowing: Shadowing
    scorer: Scorer
    telemetry: Telemetry
    now: Callable[[], datetime]
    clock: Callable[[], float]
    new_id: Callable[[], str]
    next_call: Callable[[], int]

    def answer_together(self, requests: Sequence[PredictRequest]) -> Sequence[Outcome]:
        """One outcome for each request; their features are looked up together. A failing request fails alone.

        The errors are NotReady, LogUnavailable, OnlineStoreDown, IllegalScore, and whatever a model raises.
        """
        lineup = self.slots.lineup
        if lineup is None or not requests:
            return [NotReady(self.slots.last_error or "no version has been promoted yet")] * len(requests)
        try:
            return self._answer(lineup, requests, self._prepare(requests))
        except LogUnavailable as error:  # common to all: one by one they would wait for it again
            return [error] * len(requests)
        except OnlineStoreDown as error:
            complete = iter(self.answer_together([request for request in requests if request.inputs is not None]))
            return [error if request.inputs is None else next(complete) for request in requests]
        # An exception becomes an outcome, because this may be the event loop's thread.
        except Exception as error:  # noqa: BLE001
            if len(requests) == 1:
                return [error]
            return [outcome for request in requests for outcome in self.answer_together([request])]

    def plan(self) -> dict[str, Any]:
        """Which versions serve, by what routing, since when, and why a newer plan was not taken."""
        lineup = self.slots.lineup
        status: dict[str, Any] = {"use_case": self.use_case.name, "question": self.use_case.question}
        status |= dict.fromkeys(("champion", "digest", "blessed_at", "plan", "since", "reason", "challenger", "shadow"))
        if lineup:
            plan, blessing = lineup.plan, lineup.champion.blessing
            status |= {"champion": plan.champion, "plan": plan.number, "since": plan.at, "reason": plan.reason}
            status |= {"digest": blessing.model_digest, "blessed_at": blessing.blessed_at}
            status |= {"challenger": plan.challenger, "share": plan.share, "split": plan.split, "shadow": plan.shadow}
        return status | {"last_load_error": self.slots.last_error}

    def _prepare(self, requests: Sequence[PredictRequest]) -> list[list[ScoringRow]]:
        """The rows of each request with their features, from the request itself or from the feature store."""
        looked_up = iter(self._look_up([row for request in requests if request.inputs is None for row in request.rows or ()]))
        return [self._complete(request) or list(islice(looked_up, len(request))) for request in requests]

    def _complete(self, request: PredictRequest) -> list[ScoringRow]:
        """The rows of a request that carries its features; none of another."""
        moment, rows = self.now(), request.rows or repeat(None)
        return [ScoringRow(row, inputs, moment, REQUEST, None) for row, inputs in zip(rows, request.inputs or (), strict=False)]

    def _look_up(self, rows: Sequence[tuple[Any, ...]]) -> list[ScoringRow]:
        if not rows:
            return []
        features = self.use_case.features
        frame = pl.DataFrame(rows, schema=self._request_schema, orient="row")
        entity_rows = features.entity_rows(frame.lazy()).collect(engine="in-memory", optimizations=UNOPTIMIZED)
        result = self.features.look_up(entity_rows)
        columns = [result.features.get(name) or entity_rows[name].to_list() for name in features.numeric]
        columns += [_texts(result.features.get(name) or entity_rows[name].to_list()) for name in features.categorical]
        moments = entity_rows["event_timestamp"].to_list()
        fields = zip(rows, zip(*columns, strict=True), moments, result.features_from, result.ages, strict=True)
        return [ScoringRow(*values) for values in fields]

    def _answer(
        self, lineup: Lineup, requests: Sequence[PredictRequest], prepared: Sequence[Sequence[ScoringRow]]
    ) -> list[Outcome]:
        """One call of the model and one write of the log for all requests."""
        all_scores = iter(self.scorer.score(lineup, [row for rows in prepared for row in rows]))
        call, outcomes = self.next_call(), list[Outcome]()
        answers, scored, logged = list[Answer](), list[ScoringRow](), list[dict[str, Any]]()
        for request, rows in zip(requests, prepared, strict=True):
            scores = list(islice(all_scores, len(rows)))
            if illegal := next((score for score in scores if not score.is_legal), None):
                problem = f"version {illegal.loaded.version} gave {illegal.probability}, which is no probability"
                outcomes.append(IllegalScore(f"{self.use_case.name} · {problem}."))
                continue
            answer = self._compose(lineup, request, rows, scores)
            answers.append(answer)
            scored += rows
            logged += self._log_rows(request, answer, rows, scores, call)
            outcomes.append(msgspec.json.encode(answer))
        self._write_log(logged)
        for row in scored:
            self.telemetry.aged(row.ages or {})
        for answer in answers:
            arms = ((row.arm, row.model_version, row.features_from) for row in answer.predictions)
            self.telemetry.answered(arms, answer.latency_ms / 1000)
        if lineup.shadow:
            self.shadowing.put(lineup.shadow, scored, logged)
        return outcomes

    def _compose(self, lineup: Lineup, request: PredictRequest, rows: Sequence[ScoringRow], scores: Sequence[RowScore]) -> Answer:
        seconds = self.clock() - request.started
        predictions = [
            Prediction(
                self.new_id(), score.probability, score.probability >= self.use_case.threshold, score.loaded.version,
                score.arm, row.features_from, _warnings(score.loaded, row),
                self.scorer.explain(score, row) if request.explain else UNSET,
            )
            for row, score in zip(rows, scores, strict=True)
        ]  # fmt: skip
        return Answer(predictions, lineup.plan.number, round(seconds * 1000, 3))

    def _log_rows(
        self, request: PredictRequest, answer: Answer, rows: Sequence[ScoringRow], scores: Sequence[RowScore], call: int
    ) -> list[dict[str, Any]]:
        features, moment = self.use_case.features, self.now()
        return [
            {
                "prediction_id": prediction.prediction_id,
                "answered_at": moment,
                "event_timestamp": row.moment,
                "trace_id": request.trace_id,
                "plan": answer.plan,
                "arm": prediction.arm,
                "model_version": prediction.model_version,
                "model_digest": score.loaded.blessing.model_digest,
                "probability": prediction.probability,
                "decision": prediction.decision,
                "features_from": prediction.features_from,
                "latency_ms": answer.latency_ms,
                "call": call,
                "model_ms": score.model_ms,
                "challenger_failed": score.challenger_failed,
                "champion_probability": None,
                FEATURE_AGE_S: row.ages,
                **dict(zip(features.inputs, row.inputs, strict=True)),
                **(dict(zip(features.request, row.request, strict=True)) if row.request else self._no_request),
            }
            for prediction, row, score in zip(answer.predictions, rows, scores, strict=True)
        ]

    def _write_log(self, rows: list[dict[str, Any]]) -> None:
        try:
            self.log.append(rows)
        except OSError as error:
            self.telemetry.log_failures.inc()
            if self.use_case.serving.log.when_full == "refuse":
                raise LogUnavailable(str(error)) from error
            self.telemetry.unlogged.inc(len(rows))

    @cached_property
    def _request_schema(self) -> dict[str, pl.DataType]:
        return {column.name: DTYPES[column.dtype] for column in request_columns(self.use_case)}

    @cached_property
    def _no_request(self) -> dict[str, None]:
        """The request columns in the log of a request without rows, except those that are inputs as well."""
        features = self.use_case.features
        return dict.fromkeys(name for name in features.request if name not in features.inputs)


def _texts(values: list[Any]) -> list[str | None]:
    if all(value is None or isinstance(value, str) for value in values):
        return values
    return pl.Series(values).cast(pl.String).to_list()


def _warnings(loaded: LoadedModel, row: ScoringRow) -> list[str]:
    unseen = loaded.encoder.unseen(row.inputs)
    return [f"{name} {value!r} was not in the training data; the model treats it as unknown" for name, value in unseen]
