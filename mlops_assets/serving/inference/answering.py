"""From parsed requests to logged answers: features, arm, prediction, warnings."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, repeat
from typing import Any, cast

import msgspec
import polars as pl

from mlops_assets.features.online.key_value_stores import OnlineStoreDown
from mlops_assets.features.online.online_mirror import LookupResult
from mlops_assets.features.request_features import Columns, entity_columns
from mlops_assets.foundation.names import EVENT_TIMESTAMP, REQUEST
from mlops_assets.foundation.wording import counted
from mlops_assets.serving.http.answer import Answer
from mlops_assets.serving.http.moments import refuse_moments
from mlops_assets.serving.http.request import BadRequest, PredictRequest
from mlops_assets.serving.http.row_blocks import BLOCK_ROWS
from mlops_assets.serving.inference.composing import Composer
from mlops_assets.serving.inference.model_slots import Lineup, ModelSlots
from mlops_assets.serving.inference.row_encoder import other_columns
from mlops_assets.serving.inference.scoring import Scorer, ScoringRow
from mlops_assets.serving.inference.shadowing import Shadowing
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.telemetry import Origins, Telemetry, origins_of
from mlops_assets.spec.use_case import UseCase

# Of absolute paths, which strangers need not know: in quotes, where they may have blanks, or outside.
FOLDERS = re.compile(r"(?<=['\"])/[^'\"\n]*/|(?<![\w:/.…])/(?:[^/\s'\"]+/)+")
LookUp = Callable[[Columns], LookupResult]  # every feature as known at each row's `event_timestamp`, in the same order
AsyncLookUp = Callable[[Columns], Awaitable[LookupResult]]
Outcome = bytes | Exception  # the answer as JSON, or the error of a request


class NotReady(RuntimeError):
    """No blessed champion serves."""


class LogUnavailable(RuntimeError):
    """The prediction log cannot be written, and the declaration allows no answer without it."""


@dataclass
class Answering:
    """One use case, ready to answer. `now` is the present in UTC, `clock` in seconds, `new_id` and `next_call` are unique."""

    use_case: UseCase
    slots: ModelSlots
    look_up: LookUp
    look_up_async: AsyncLookUp
    log: PredictionLog
    shadowing: Shadowing
    scorer: Scorer
    telemetry: Telemetry
    now: Callable[[], datetime]
    clock: Callable[[], float]
    new_id: Callable[[], str]
    next_call: Callable[[], int]

    def __post_init__(self) -> None:
        self._entity_columns = entity_columns(self.use_case)
        self._others = other_columns(self.use_case)
        self._unlogged = 0
        self._composer = Composer(self.use_case, self.scorer, now=self.now, clock=self.clock, new_id=self.new_id)

    def answer_together(self, requests: Sequence[PredictRequest]) -> Sequence[Outcome]:
        """One outcome for each request; their features are looked up together. A failing request fails alone: by NotReady,
        LogUnavailable, OnlineStoreDown, BadRequest, TimeoutError after the deadline, or what a model raises.
        """
        if not self.slots.lineup or not requests:
            return self._not_ready(requests)
        try:
            if len(requests[0]) > BLOCK_ROWS:  # a large request comes alone
                return [self._answer_large(self.slots.lineup, requests[0])]
            prepared = self._prepare(requests)
        except OnlineStoreDown as error:
            complete = iter(self.answer_together([request for request in requests if request.inputs is not None]))
            return [error if request.inputs is None else next(complete) for request in requests]
        except Exception as error:  # noqa: BLE001 - becomes an outcome: this may be the event loop's thread
            if len(requests) == 1:
                return [error]
            return [outcome for request in requests for outcome in self.answer_together([request])]
        return self._answer_prepared(requests, prepared)

    async def answer_async(self, requests: Sequence[PredictRequest]) -> Sequence[Outcome]:
        """As `answer_together`, of requests without features, in an event loop that does other work during the lookup."""
        if not self.slots.lineup:
            return self._not_ready(requests)
        rows = [row for request in requests for row in request.rows or ()]
        try:
            columns = self._columns(rows)
            looked_up = iter(self._scoring_rows(rows, columns, await self.look_up_async(columns)))
        except OnlineStoreDown as error:  # common to all: one by one they would wait for it again
            return [error] * len(requests)
        except Exception as error:  # noqa: BLE001 - of one request, which fails alone; others get their answer
            if len(requests) == 1:
                return [error]
            return [outcome for request in requests for outcome in await self.answer_async([request])]
        return self._answer_prepared(requests, [list(islice(looked_up, len(request))) for request in requests])

    def _not_ready(self, requests: Sequence[PredictRequest]) -> Sequence[Outcome]:
        return [NotReady(self.slots.last_error or "no version has been promoted yet")] * len(requests)

    def _answer_prepared(self, requests: Sequence[PredictRequest], prepared: Sequence[Sequence[ScoringRow]]) -> Sequence[Outcome]:
        lineup = cast(Lineup, self.slots.lineup)  # of this moment: a lookup may have taken a while
        try:
            return self._answer(lineup, requests, prepared)
        except LogUnavailable as error:  # common to all
            return [error] * len(requests)
        except Exception as error:  # noqa: BLE001 - a model may raise anything; a request fails alone
            if len(requests) == 1:
                return [error]
            pairs = zip(requests, prepared, strict=True)
            return [outcome for request, rows in pairs for outcome in self._answer_prepared([request], [rows])]

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
        return status | {"last_load_error": self.load_error}

    @property
    def load_error(self) -> str | None:
        """Why the newest plan was not taken, without folders; complete in the log."""
        error = self.slots.last_error
        return error and FOLDERS.sub("…/", error)

    @property
    def log_error(self) -> str | None:
        """Why the prediction log cannot be written now, and how many rows of this process it lacks."""
        lost = f"{counted(self._unlogged, 'row')} answered without a log entry since this server process started"
        parts = [f"it cannot be written: {self.log.problem}"] * bool(self.log.problem) + [lost] * bool(self._unlogged)
        return f"prediction log: {'; '.join(parts)}" if parts else None

    def _prepare(self, requests: Sequence[PredictRequest]) -> list[list[ScoringRow]]:
        """The rows of each request with their features, from the request itself or from the feature store."""
        looked_up = iter(self._look_up([row for request in requests if request.inputs is None for row in request.rows or ()]))
        return [self._complete(request) or list(islice(looked_up, len(request))) for request in requests]

    def _complete(self, request: PredictRequest) -> list[ScoringRow]:
        """The rows of a request that carries its features; none of another."""
        moment, rows = self.now(), request.rows or repeat(None)
        pairs = zip(rows, request.inputs or (), strict=False)
        return [ScoringRow(row, inputs + self._other_values(row), moment, REQUEST, None) for row, inputs in pairs]

    def _other_values(self, row: tuple[Any, ...] | None) -> tuple[Any, ...]:
        return tuple(row[place] if row else None for place in self._others)

    def _look_up(self, rows: Sequence[tuple[Any, ...]]) -> list[ScoringRow]:
        if not rows:
            return []
        columns = self._columns(rows)
        return self._scoring_rows(rows, columns, self.look_up(columns))

    def _columns(self, rows: Sequence[tuple[Any, ...]]) -> Columns:
        """What features are looked up by. Raises BadRequest for an illegal moment."""
        columns, now = self._entity_columns(rows), self.now()
        if not self.use_case.features.has_moment:
            columns = {**columns, EVENT_TIMESTAMP: [now] * len(rows)}
        refuse_moments(columns[EVENT_TIMESTAMP], now, self.use_case.serving.limits)
        return columns

    def _scoring_rows(self, rows: Sequence[tuple[Any, ...]], columns: Columns, result: LookupResult) -> list[ScoringRow]:
        features = self.use_case.features
        inputs = {name: result.features.get(name) or columns[name] for name in features.inputs}
        inputs |= {name: _texts(inputs[name]) for name in features.categorical}
        values = (own + self._other_values(row) for own, row in zip(zip(*inputs.values(), strict=True), rows, strict=True))
        fields = zip(rows, values, columns[EVENT_TIMESTAMP], *result[1:], strict=True)
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
            if problem := self._composer.illegal(scores):
                outcomes.append(problem)
                continue
            answer, lines = self._composer.compose(lineup, request, rows, scores, call)
            if self.clock() > request.deadline:  # just before the log, which must not have what its client did not get
                outcomes.append(TimeoutError())
                continue
            answers.append(answer)
            scored += rows
            logged += lines
            outcomes.append(msgspec.json.encode(answer))
        self._write_log(logged)
        self._count_lookups(scored)
        for answer in answers:
            self.telemetry.answered(origins_of(answer), answer.latency_ms)
        if lineup.shadow:
            self.shadowing.put(lineup.shadow, scored, logged)
        return outcomes

    def _answer_large(self, lineup: Lineup, request: PredictRequest) -> bytes:
        """Without all rows in memory as values."""
        try:
            content, origins = self._answer_and_log(lineup, request)
        except TimeoutError:
            raise
        except OSError as error:
            self._refuse_without_log(error, len(request))
            with self.shadowing.large_request(lineup.shadow) as shadow:
                content, origins = self._answer_blocks(lineup, request, shadow)
        self.telemetry.answered(origins, self._composer.latency_ms(request))
        return content

    def _answer_and_log(self, lineup: Lineup, request: PredictRequest) -> tuple[bytes, Origins]:
        with self.log.spool() as file, self.shadowing.large_request(lineup.shadow) as shadow:

            def write(rows: Sequence[ScoringRow], lines: list[dict[str, Any]]) -> None:
                file.write(self.log.lines(lines))
                shadow(rows, lines)

            result = self._answer_blocks(lineup, request, write)
            self.log.append_file(file)
        return result

    def _answer_blocks(
        self, lineup: Lineup, request: PredictRequest, use: Callable[[Sequence[ScoringRow], list[dict[str, Any]]], object]
    ) -> tuple[bytes, Origins]:
        """The answer, and where its rows come from. Each block of rows is one call of the model."""
        parts, origins = [b'{"predictions":'], Origins()
        for at in range(0, len(request), BLOCK_ROWS):
            block = request.block(at)
            try:
                (rows,) = self._prepare([block])
            except BadRequest as error:  # of a moment
                raise error.after(at) from None
            scores = self.scorer.score(lineup, rows)
            if problem := self._composer.illegal(scores):
                raise problem
            answer, lines = self._composer.compose(lineup, block, rows, scores, self.next_call())
            use(rows, lines)
            self._count_lookups(rows)
            parts += [b"," if at else b"[", msgspec.json.encode(answer.predictions)[1:-1]]
            origins += origins_of(answer)
            if self.clock() > request.deadline:  # before anything is logged
                raise TimeoutError
        end = msgspec.json.encode(Answer([], lineup.plan.number, self._composer.latency_ms(request))).partition(b"[")[2]
        return b"".join([*parts, end]), origins

    def _count_lookups(self, rows: Sequence[ScoringRow]) -> None:
        for row in rows:
            self.telemetry.looked_up(row.ages or {}, row.missing)

    def _write_log(self, rows: list[dict[str, Any]]) -> None:
        try:
            self.log.append(rows)
        except OSError as error:
            self._refuse_without_log(error, len(rows))

    def _refuse_without_log(self, error: OSError, rows: int) -> None:
        """Raises LogUnavailable, unless the declaration has it that rows are answered all the same."""
        self.telemetry.log_failures.inc()
        if self.use_case.serving.log.when_full == "refuse":
            raise LogUnavailable(str(error)) from error
        self.telemetry.unlogged.inc(rows)
        self._unlogged += rows


def _texts(values: Sequence[Any]) -> Sequence[str | None]:
    if all(value is None or isinstance(value, str) for value in values):
        return values
    return pl.Series(values).cast(pl.String).to_list()
