"""Simulated traffic of a rollout: requests with a hidden chance, two models that see it through noise, calls that take time.

The base rate drifts by the hour of the traffic. Without harm the challenger is another model, with other answers, of the
same quality and speed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.rollout.decision import Decision, decide
from mlops_assets.rollout.evidence import RolloutState, add_answers, add_outcomes
from mlops_assets.spec.rollout import Canary
from mlops_assets.tasks import task_of
from mlops_assets.use_cases.flight_delay import USE_CASE

Floats = NDArray[np.float64]
NOISE, MIDDLE_MS, SPREAD = 0.5, 8.0, 0.75  # 0.7% of the calls take longer than 50 ms
TASK = task_of(USE_CASE.task)
BEGAN = datetime(2013, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Harm:
    """What is wrong with the challenger: shares of its calls that fail or wait 60 ms more, more noise and a constant in its
    log-odds, or the same answer to everybody."""

    errors: float = 0.0
    slow: float = 0.0
    noise: float = 0.0
    shift: float = 0.0
    constant: bool = False


def traffic(rng: np.random.Generator, rows: int, *, share: float, harm: Harm, first: int = 0) -> pl.DataFrame:
    """Evidence of `rows` requests (share 0: what the shadow says of them), `late` being the outcome."""
    hour = np.arange(first, first + rows) / 5000
    hidden = -1.4 + 0.5 * np.sin(hour) + rng.normal(size=rows)
    champion = _chance(hidden + NOISE * rng.normal(size=rows))
    challenger = _answers(rng, hidden, harm)
    drawn, failed = rng.random(rows) < share, rng.random(rows) < harm.errors
    milliseconds = MIDDLE_MS * np.exp(SPREAD * rng.normal(size=rows)) + 60 * (drawn & (rng.random(rows) < harm.slow))
    late = rng.random(rows) < _chance(hidden)
    base = {
        "unit": rng.integers(2**63, size=rows),
        "call": rng.integers(2**62, size=rows),
        "model_ms": milliseconds,
        "late": late,
    }
    if not share:
        frame = pl.DataFrame(base | {"challenger_failed": failed, "probability": np.where(failed, np.nan, challenger)})
        beside = {"arm": pl.lit("shadow"), "champion_probability": pl.Series(champion)}
        return frame.with_columns(pl.col("probability").fill_nan(None), **beside)
    answers = drawn & ~failed
    frame = pl.DataFrame(base | {"challenger_failed": drawn & failed, "probability": np.where(answers, challenger, champion)})
    arm = pl.when(pl.Series(answers)).then(pl.lit("challenger")).otherwise(pl.lit("champion"))
    return frame.with_columns(arm=arm, champion_probability=pl.lit(None, pl.Float64))


def _answers(rng: np.random.Generator, hidden: Floats, harm: Harm) -> Floats:
    if harm.constant:
        return np.full(len(hidden), 0.22)
    noise = np.hypot(NOISE, harm.noise)
    return _chance(hidden + harm.shift + noise * rng.normal(size=len(hidden)))


def _chance(logit: Floats) -> Floats:
    return 1 / (1 + np.exp(-logit))


def begin(canary: Canary, rng: np.random.Generator) -> RolloutState:
    past = traffic(rng, 1000, share=1e-9, harm=Harm())
    edges = TASK.edges(past["probability"].to_numpy())
    return RolloutState.begin(canary, edges=edges, claims=2 * len(edges), at=BEGAN)


def look(canary: Canary, state: RolloutState, chunk: pl.DataFrame, *, share: float) -> RolloutState:
    """The state once the chunk is answered and its outcomes are known."""
    state = add_answers(canary, state, chunk, task=TASK, share=share)
    return add_outcomes(canary, state, chunk, task=TASK, share=share, label="late")


def roll_out(canary: Canary, rng: np.random.Generator, harm: Harm, *, every: int = 100) -> Iterator[tuple[int, float, Decision]]:
    """Requests so far, the share that they met and the decision, at each look until the rollout ends. A look follows about
    `every` requests to the challenger."""
    state, requests = begin(canary, rng), 0
    while True:
        rows = round(every / (state.share or 1))
        chunk = traffic(rng, rows, share=state.share, harm=harm, first=requests)
        state, requests = look(canary, state, chunk, share=state.share), requests + rows
        now = BEGAN + timedelta(seconds=requests / 100)
        decision = decide(canary, state, task=TASK, now=now)
        yield requests, state.share, decision
        if decision.kind in ("finish", "roll_back"):
            return
        if decision.kind == "advance":
            state = state.entering(decision.share, now)
