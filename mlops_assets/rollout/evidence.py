"""The evidence of a rollout about its challenger: a small state, updated chunk by chunk from logged answers and outcomes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any, Literal, Self

import numpy as np
import polars as pl

from mlops_assets.spec.rollout import Canary, Rollback, Split
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics.dedup_bitmap import DedupBitmap
from mlops_assets.statistics.metrics import Array
from mlops_assets.statistics.sequential import Wealth, bet_on_draws, bet_on_pairs
from mlops_assets.tasks.task import Task

Test = Literal["errors", "latency", "score", "quality", "figure"]
_FAILED = pl.col("challenger_failed").fill_null(False)
_DRAWN = (pl.col("arm") == "challenger") | _FAILED  # the draw chose the challenger
CHAMPIONS = "champion_"  # the start of the champion's columns in a shadow's log
UNIT, CALL, OUTCOME, SHADOW = 0, 1, 2, 4  # salts of what counts once; a key may count in the shadow and again when drawn
WORST = {"errors": 0.0}  # the champion's worst outcome, else 1: its failed calls give no answer and so no row


@dataclass(frozen=True)
class RolloutState:
    """`share` is that of the current step (0: shadow), which began at `stepped`. `answers` counts the different requests that
    its challenger served. `edges` are what claims and losses are relative to, as Task.edges returns them.
    """

    share: float
    began: datetime
    stepped: datetime
    answers: int
    edges: tuple[float, ...]
    wealth: Mapping[Test, Wealth]
    seen: DedupBitmap

    @classmethod
    def begin(cls, canary: Canary, *, edges: Sequence[float], claims: int, at: datetime) -> Self:
        """No evidence, at the first step; `claims` is their number."""
        tests = margins(canary.rollback)
        wealth: dict[Test, Wealth] = {test: Wealth.fresh(claims if test == "score" else 1) for test in tests}
        requests = canary.shadow_rows + sum(canary.step_rows / share for share in canary.steps)
        return cls(canary.shares[0], at, at, 0, tuple(edges), wealth, DedupBitmap.for_keys(3 * requests))

    def entering(self, share: float, at: datetime) -> Self:
        """The same evidence at the start of another step."""
        wealth = {test: one.counted_anew() for test, one in self.wealth.items()}
        return replace(self, share=share, stepped=at, answers=0, wealth=wealth)

    def not_after(self, now: datetime) -> Self:
        """Times to come are those of a clock that was set back since: the rollout, or its step, counts from now on."""
        return replace(self, began=min(self.began, now), stepped=min(self.stepped, now))

    def to_json(self) -> str:
        fields = vars(self) | {"began": self.began.isoformat(), "stepped": self.stepped.isoformat(), "seen": self.seen.to_text()}
        return json.dumps(fields | {"wealth": {test: one.to_dict() for test, one in self.wealth.items()}})

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields: dict[str, Any] = json.loads(text)
        fields |= {name: datetime.fromisoformat(fields[name]) for name in ("began", "stepped")}
        fields["wealth"] = {test: Wealth.from_dict(one) for test, one in fields["wealth"].items()}
        fields |= {"edges": tuple(fields["edges"]), "seen": DedupBitmap.from_text(fields["seen"])}
        return cls(**fields)


def margins(rollback: Rollback) -> dict[Test, float]:
    """By declared test, the most by which the challenger's mean outcome, in [0, 1], may exceed the champion's."""
    figure = rollback.figure
    return {
        "errors": rollback.max_error_gap,
        "latency": rollback.max_slow_gap,
        "score": rollback.max_score_shift,
        "quality": rollback.max_quality_loss,
        **({"figure": figure.max_loss / (figure.high - figure.low)} if figure else {}),
    }


def unit(use_case: UseCase, split: Split) -> pl.Expr:
    """The key by which serving/inference/scoring.py drew a logged row's arm, hashed. Without left-out data some coincide."""
    features = use_case.features
    contract = use_case.contract(features.request_table)
    drawn_by = use_case.serving.sticky_key if split == "ab" else features.request
    logged = [name for name in drawn_by if contract.column(name).pii != "left_out"]
    request_only = [name for name in logged if name not in features.categorical]  # null where the caller sent features alone
    requested = pl.any_horizontal(pl.col(request_only).is_not_null()) if request_only else pl.lit(True)
    by_features = pl.struct(features.inputs).hash(seed=1)
    return pl.when(requested).then(pl.struct(logged).hash(seed=0)).otherwise(by_features)


def add_answers(canary: Canary, state: RolloutState, answers: pl.DataFrame, *, task: Task[Any], share: float) -> RolloutState:
    """The state after logged answers of plans with this `share` for the challenger; 0: the scores of the shadow. Columns:
    `arm`; `unit` (see unit); `call`, the same for all rows that one model call scored; `challenger_failed`: it gave no legal
    answer, so that the champion served; `model_ms` of the model call; the served output. A row with arm "shadow" holds the
    shadow's own output (null where it failed) and the champion's, whose columns start with `champion_`. Each unit counts once,
    however often it is added. Latency is not compared in the shadow, which works in the background.
    """
    rows, seen = _fresh(answers, share, state.seen, UNIT)
    # Errors and latency count one row per call, as its rows fail and wait together.
    called, seen = seen.first(rows["call"], CALL | (0 if share else SHADOW))
    limits, chosen, slow = canary.rollback, _DRAWN if share else pl.lit(True), pl.col("model_ms") > canary.rollback.slow_ms
    claims = (task.claims(rows, state.edges, prefix) for prefix in ("", CHAMPIONS))
    drawn, failed, late, score, theirs = _numbers(rows, [chosen], [_FAILED], [slow], *claims)
    # Failed calls of many rows are little evidence and must not complete a step.
    answered = int((drawn * (1 - failed)).sum())
    state = replace(state, seen=seen, answers=state.answers + (answered if share == state.share else 0))
    failures, draws = failed[called], drawn[called]
    if not share:
        return _bet(state, limits, share, ("errors", failures, 0 * failures), ("score", score, theirs))
    return _bet(state, limits, share, ("errors", failures, draws), ("latency", late[called], draws), ("score", score, drawn))


def add_outcomes(
    canary: Canary, state: RolloutState, outcomes: pl.DataFrame, *, task: Task[Any], share: float, label: str
) -> RolloutState:
    """The state after such answers whose outcome is known: the columns of `add_answers` but `call` and `model_ms`, `label`,
    and what the business figure reads; the figure is not compared in the shadow, whose scores have no effect.
    """
    rows, seen = _fresh(outcomes.drop_nulls(label), share, state.seen, OUTCOME)
    state, limits, figure = replace(state, seen=seen), canary.rollback, canary.rollback.figure
    if not share:
        ours, theirs = (_losses(task, rows, label, state.edges, prefix) for prefix in ("", CHAMPIONS))
        return _bet(state, limits, share, ("quality", ours, theirs))
    figures: list[pl.Expr] = []
    if figure:  # from 0, the best, to 1
        best, worst = (figure.high, figure.low) if figure.higher_is_better else (figure.low, figure.high)
        figures = [(figure.of(rows).cast(pl.Float64).clip(figure.low, figure.high) - best) / (worst - best)]
    drawn, bad = _numbers(rows, [_DRAWN], figures)
    state = _bet(state, limits, share, ("quality", _losses(task, rows, label, state.edges), drawn))
    return _bet(state, limits, share, ("figure", bad, drawn)) if figure else state


def _fresh(rows: pl.DataFrame, share: float, seen: DedupBitmap, salt: int) -> tuple[pl.DataFrame, DedupBitmap]:
    """The rows of this phase, the shadow or not, whose unit has not been counted."""
    rows = rows.filter(pl.col("arm") != "shadow" if share else pl.col("arm") == "shadow")
    fresh, seen = seen.first(rows["unit"], salt | (0 if share else SHADOW))
    return rows.filter(fresh), seen


def _losses(task: Task[Any], rows: pl.DataFrame, label: str, edges: Sequence[float], prefix: str = "") -> Array:
    """(n, 1); nan where unknown."""
    return task.losses(task.logged(rows, prefix), task.truth(rows[label]), edges)[:, None]


def _numbers(rows: pl.DataFrame, *groups: Sequence[pl.Expr]) -> list[Array]:
    """Every group as (n, its length) numbers, in one pass; nan where unknown."""
    columns = [column.cast(pl.Float64).alias(str(place)) for place, column in enumerate(chain.from_iterable(groups))]
    numbers = rows.select(columns).to_numpy()
    return np.split(numbers, np.cumsum([len(group) for group in groups])[:-1], axis=1)


def _bet(state: RolloutState, limits: Rollback, share: float, *tests: tuple[Test, Array, Array]) -> RolloutState:
    """The state after outcomes (n, c) by test, left out where nan, each with (n, 1) draws; in the shadow with the champion's."""
    wealth = {**state.wealth}
    for test, outcome, other in tests:
        known, terms = ~np.isnan(outcome + other).any(axis=1), {"margin": margins(limits)[test], "most": WORST.get(test, 1.0)}
        if share:
            wealth[test] = bet_on_draws(wealth[test], other[known, 0] > 0, outcome[known], share=share, **terms)
        else:
            wealth[test] = bet_on_pairs(wealth[test], outcome[known], other[known], **terms)
    return replace(state, wealth=wealth)
