"""From typed requests to logged answers: features, arm, probability, decision, warnings.

Belongs here: the order of one answer's steps, for one request or for several at once. Not here: HTTP (web.py), reading
requests (decode.py), loading models (model_slots.py), retrieval (ports).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import repeat
from typing import Any

import msgspec
import polars as pl
from msgspec import UNSET, UnsetType

from mlops_assets.ports.blob_stores import OnlineStoreDown
from mlops_assets.ports.prediction_log import DTYPES, FEATURE_AGE_S, PredictionLog
from mlops_assets.serving.model_slots import Lineup, Loaded, ModelSlots
from mlops_assets.serving.pace import PacedLookup
from mlops_assets.serving.request import Asked, request_columns
from mlops_assets.serving.scoring import Given, Scored, Scorer
from mlops_assets.serving.shadowing import Shadowing
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.spec.use_case import UseCase

REQUEST = "request"  # where features come from when the caller gives them
# For a few rows: Polars' own choice of an engine takes 0.08 ms more, and looking for a better plan 0.04.
AS_SAID = pl.QueryOptFlags.none()


class NotReady(RuntimeError):
    """No blessed champion to answer with."""


class LogUnavailable(RuntimeError):
    """The prediction log cannot be written, and no answer leaves without it."""


class Unanswerable(RuntimeError):
    """The model or the features gave what must not leave the house."""


@dataclass(frozen=True)
class Ask:
    """One request as it came: `started` in seconds of the clock, `trace_id` 32 hex digits."""

    asked: Asked
    started: float
    trace_id: str
    explain: bool = False


class Prediction(msgspec.Struct):
    """One row's answer, as it leaves; an explanation only where it was asked for."""

    prediction_id: str
    probability: float
    decision: bool
    model_version: int
    arm: str
    features_from: str
    warnings: list[str]
    explanation: dict[str, Any] | UnsetType = UNSET


class Answer(msgspec.Struct):
    predictions: list[Prediction]
    plan: int
    latency_ms: float


Outcome = bytes | Exception
"""What a request gets: its answer as JSON, or why it gets none."""


@dataclass(frozen=True)
class Answering:
    """One use case, ready to answer. `now` gives the present in UTC, `clock` seconds that only grow, `new_id` a prediction id
    and `next_call` the number of a batch, never given before.
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

    def answer_together(self, asks: Sequence[Ask]) -> Sequence[Outcome]:
        """One outcome for each request, their features looked up at once. What goes wrong with one spoils no other."""
        if not asks:
            return []
        try:
            return self._answer(self._lineup(), asks, self._prepare(asks))
        # Nobody's own: one by one they would wait for it again.
        except (NotReady, LogUnavailable) as error:
            return [error] * len(asks)
        except OnlineStoreDown as error:
            brought = iter(self.answer_together([ask for ask in asks if ask.asked.inputs is not None]))
            return [error if ask.asked.inputs is None else next(brought) for ask in asks]
        # Whatever it was, it is told to those who asked; this may be the thread that answers everybody.
        except Exception as error:  # noqa: BLE001
            if len(asks) == 1:
                return [error]
            return [outcome for ask in asks for outcome in self.answer_together([ask])]

    def plan(self) -> dict[str, Any]:
        """Which versions answer, by what routing, since when, and what last kept another plan from being taken."""
        lineup = self.slots.lineup
        said: dict[str, Any] = {"use_case": self.use_case.name, "question": self.use_case.question}
        said |= dict.fromkeys(("champion", "digest", "blessed_at", "plan", "since", "reason", "challenger", "shadow"))
        if lineup:
            plan, blessing = lineup.plan, lineup.champion.blessing
            said |= {"champion": plan.champion, "plan": plan.number, "since": plan.at, "reason": plan.reason}
            said |= {"digest": blessing.model_digest, "blessed_at": blessing.blessed_at}
            said |= {"challenger": plan.challenger, "share": plan.share, "split": plan.split, "shadow": plan.shadow}
        return said | {"last_load_error": self.slots.last_error}

    def _lineup(self) -> Lineup:
        lineup = self.slots.lineup
        if lineup is None:
            why = self.slots.last_error or "no version has been promoted yet"
            raise NotReady(f"{self.use_case.name} · no champion answers: {why}. Train and promote a model, then ask again.")
        return lineup

    def _prepare(self, asks: Sequence[Ask]) -> list[list[Given]]:
        """The rows of each request with their features, as the caller gives them or as the store knows them."""
        found = iter(self._look_up([row for ask in asks if ask.asked.inputs is None for row in ask.asked.rows or ()]))
        return [self._brought(ask.asked) or [next(found) for _ in range(len(ask.asked))] for ask in asks]

    def _brought(self, asked: Asked) -> list[Given]:
        moment, rows = self.now(), asked.rows or repeat(None)
        return [Given(row, inputs, moment, REQUEST, None) for row, inputs in zip(rows, asked.inputs or (), strict=False)]

    def _look_up(self, rows: Sequence[tuple[Any, ...]]) -> list[Given]:
        if not rows:
            return []
        features = self.use_case.features
        frame = pl.DataFrame(rows, schema=self._request_schema, orient="row")
        entity_rows = features.entity_rows(frame.lazy()).collect(engine="in-memory", optimizations=AS_SAID)
        found = self.features.look_up(entity_rows)
        said = [found.features.get(name) or entity_rows[name].to_list() for name in features.numeric]
        said += [_texts(found.features.get(name) or entity_rows[name].to_list()) for name in features.categorical]
        moments = entity_rows["event_timestamp"].to_list()
        beside = zip(rows, zip(*said, strict=True), moments, found.features_from, found.ages, strict=True)
        return [Given(*each) for each in beside]

    def _answer(self, lineup: Lineup, asks: Sequence[Ask], given: Sequence[Sequence[Given]]) -> list[Outcome]:
        """Scored together, logged together, and said apart."""
        scored = iter(self.scorer.score(lineup, [row for rows in given for row in rows]))
        call = self.next_call()
        outcomes: list[Outcome] = []
        answers: list[Answer] = []
        answered: list[Given] = []
        logged: list[dict[str, Any]] = []
        for ask, rows in zip(asks, given, strict=True):
            scores = [next(scored) for _ in rows]
            if wrong := next((each for each in scores if not each.is_legal), None):
                version = wrong.loaded.version
                why = f"version {version} gave {wrong.probability}, which is no probability"
                outcomes.append(Unanswerable(f"{self.use_case.name} · {why}."))
                continue
            answer = self._said(lineup, ask, rows, scores)
            answers.append(answer)
            answered += rows
            logged += self._log_rows(ask, answer, rows, scores, call)
            outcomes.append(msgspec.json.encode(answer))
        self._keep(logged)
        self._count(answers)
        if lineup.shadow:
            self.shadowing.put(lineup.shadow, answered, logged)
        return outcomes

    def _said(self, lineup: Lineup, ask: Ask, rows: Sequence[Given], scores: Sequence[Scored]) -> Answer:
        seconds = self.clock() - ask.started
        predictions = [
            Prediction(
                self.new_id(), each.probability, each.probability >= self.use_case.threshold, each.loaded.version, each.arm,
                row.features_from, _warnings(each.loaded, row),
                self.scorer.explain(each, row) if ask.explain else UNSET,
            )
            for row, each in zip(rows, scores, strict=True)
        ]  # fmt: skip
        return Answer(predictions, lineup.plan.number, round(seconds * 1000, 3))

    def _count(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            for arm, version, sources in _by_arm(answer.predictions):
                self.telemetry.answered(arm, version, sources, answer.latency_ms / 1000)

    def _log_rows(
        self, ask: Ask, answer: Answer, rows: Sequence[Given], scores: Sequence[Scored], call: int
    ) -> list[dict[str, Any]]:
        moment = self.now()
        return [
            {
                "prediction_id": said.prediction_id,
                "answered_at": moment,
                "event_timestamp": row.moment,
                "trace_id": ask.trace_id,
                "plan": answer.plan,
                "arm": said.arm,
                "model_version": said.model_version,
                "model_digest": each.loaded.blessing.model_digest,
                "probability": said.probability,
                "decision": said.decision,
                "features_from": said.features_from,
                "latency_ms": answer.latency_ms,
                "call": call,
                "model_ms": each.model_ms,
                "challenger_failed": each.challenger_failed,
                "champion_probability": None,
                FEATURE_AGE_S: self._aged(row.ages),
                **dict(zip(self.use_case.features.inputs, row.inputs, strict=True)),
                **(dict(zip(self.use_case.features.request, row.request, strict=True)) if row.request else self._unsaid),
            }
            for said, row, each in zip(answer.predictions, rows, scores, strict=True)
        ]

    def _keep(self, rows: list[dict[str, Any]]) -> None:
        try:
            self.log.append(rows)
        except OSError as error:
            self.telemetry.log_failures.inc()
            if self.use_case.serving.log.when_full == "refuse":
                raise LogUnavailable(f"{self.use_case.name} · the prediction log cannot be written: {error}.") from error
            self.telemetry.unlogged.inc(len(rows))

    def _aged(self, ages: Mapping[str, float | None] | None) -> Mapping[str, float | None] | None:
        for view, seconds in (ages or {}).items():
            if seconds is not None:
                self.telemetry.aged(view, seconds)
        return ages

    @cached_property
    def _request_schema(self) -> dict[str, pl.DataType]:
        return {column.name: DTYPES[column.dtype] for column in request_columns(self.use_case)}

    @cached_property
    def _unsaid(self) -> dict[str, None]:
        """What the log holds of a request that brings its features alone: one that is an input is known all the same."""
        features = self.use_case.features
        return dict.fromkeys(name for name in features.request if name not in features.inputs)


def _texts(values: list[Any]) -> list[str | None]:
    return (
        values if all(each is None or isinstance(each, str) for each in values) else pl.Series(values).cast(pl.String).to_list()
    )


def _warnings(loaded: Loaded, row: Given) -> list[str]:
    unseen = loaded.encoder.unseen(row.inputs)
    return [f"{name} {value!r} was not in the training data; the model treats it as unknown" for name, value in unseen]


def _by_arm(predictions: Sequence[Prediction]) -> list[tuple[str, int, Mapping[str, int]]]:
    """How many rows of each arm and version came from where; most requests have one row, and need no counting."""
    if len(predictions) == 1:
        one = predictions[0]
        return [(one.arm, one.model_version, {one.features_from: 1})]
    counted: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for each in predictions:
        counted[each.arm, each.model_version][each.features_from] += 1
    return [(arm, version, sources) for (arm, version), sources in counted.items()]
