"""Simulated traffic of a rollout: the requests of a simulated line, two models that answer them, calls that take time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from mlops_assets.rollout.decision import Decision, decide
from mlops_assets.rollout.evidence import RolloutState, add_answers, add_outcomes
from mlops_assets.spec.rollout import Canary
from tests.rollout.simulated_lines import BINARY, Harm, Line

MIDDLE_MS, SPREAD = 8.0, 0.75  # 0.7% of the calls take longer than 50 ms
TASK = BINARY.task
BEGAN = datetime(2013, 6, 1, tzinfo=UTC)


def traffic(
    rng: np.random.Generator, rows: int, *, share: float, harm: Harm, first: int = 0, line: Line = BINARY
) -> pl.DataFrame:
    """Evidence of `rows` requests (share 0: in the shadow) with their outcomes."""
    hidden = line.hidden(rng, np.arange(first, first + rows) / 5000)
    champion, challenger = (line.output(rng, hidden, one) for one in (Harm(), harm))
    drawn, failed = rng.random(rows) < share, rng.random(rows) < harm.errors
    milliseconds = MIDDLE_MS * np.exp(SPREAD * rng.normal(size=rows)) + 60 * (drawn & (rng.random(rows) < harm.slow))
    truth = line.truth(rng, hidden)
    base = pl.DataFrame({
        "unit": rng.integers(2**63, size=rows),
        "call": rng.integers(2**62, size=rows),
        "model_ms": milliseconds,
        line.label: truth,
    })  # fmt: skip
    theirs = line.columns(champion, "champion_")
    if not share:
        own = base.with_columns(**line.columns(challenger), **theirs, challenger_failed=pl.Series(failed), arm=pl.lit("shadow"))
        return own.with_columns(pl.when("challenger_failed").then(None).otherwise(name).alias(name) for name in line.task.SCORES)
    answers = drawn & ~failed
    served = np.where(answers.reshape(-1, *[1] * (champion.ndim - 1)), challenger, champion)
    arm = pl.when(pl.Series(answers)).then(pl.lit("challenger")).otherwise(pl.lit("champion"))
    unknown = {name: pl.lit(None, column.dtype) for name, column in theirs.items()}
    return base.with_columns(**line.columns(served), **unknown, challenger_failed=pl.Series(drawn & failed), arm=arm)


def begin(canary: Canary, rng: np.random.Generator, line: Line = BINARY) -> RolloutState:
    past = traffic(rng, 1000, share=1e-9, harm=Harm(), line=line)
    edges = line.task.edges(line.task.logged(past))
    return RolloutState.begin(canary, edges=edges, claims=len(line.task.claims(past, edges)), at=BEGAN)


def look(canary: Canary, state: RolloutState, chunk: pl.DataFrame, *, share: float, line: Line = BINARY) -> RolloutState:
    """The state once the chunk is answered and its outcomes are known."""
    state = add_answers(canary, state, chunk, task=line.task, share=share)
    return add_outcomes(canary, state, chunk, task=line.task, share=share, label=line.label)


def roll_out(
    canary: Canary, rng: np.random.Generator, harm: Harm, *, every: int = 100, line: Line = BINARY
) -> Iterator[tuple[int, float, Decision]]:
    """Requests so far, their share and the decision, at each look until the rollout ends. A look follows about
    `every` requests to the challenger."""
    state, requests = begin(canary, rng, line), 0
    while True:
        rows = round(every / (state.share or 1))
        chunk = traffic(rng, rows, share=state.share, harm=harm, first=requests, line=line)
        state, requests = look(canary, state, chunk, share=state.share, line=line), requests + rows
        now = BEGAN + timedelta(seconds=requests / 100)
        decision = decide(canary, state, task=line.task, now=now)
        yield requests, state.share, decision
        if decision.kind in ("finish", "roll_back"):
            return
        if decision.kind == "advance":
            state = state.entering(decision.share, now)
