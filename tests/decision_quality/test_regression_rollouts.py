"""How often rollouts of a regression are rolled back: harmless ones at the declared rate at most, harmful ones nearly always.

Whole rollouts, from shadow to full, through the code that decides in production. Labels drift by the hour and have outliers.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from mlops_assets.rollout.decision import Decision, decide
from mlops_assets.rollout.evidence import RolloutState, add_answers, add_outcomes
from mlops_assets.spec.feature import Label
from mlops_assets.spec.rollout import Canary
from mlops_assets.spec.task import Regression
from mlops_assets.tasks import task_of

TASK = task_of(Regression(label=Label(name="rides", table="hours", key=("hour",), transform=lambda rows: rows), unit="rides"))
BEGAN, LOOK = datetime(2024, 6, 1, tzinfo=UTC), 500  # requests to the challenger between two looks
CANARY, NOISE, HALF = Canary(), 15.0, 40.0
RATE = CANARY.rollback.false_alarm_rate


@dataclass(frozen=True)
class Harm:
    """What is wrong with the challenger: more noise, a bias, another unit, or one and the same answer."""

    noise: float = 0.0
    bias: float = 0.0
    factor: float = 1.0
    constant: bool = False


AT_THE_MARGIN = Harm(noise=8.0)
HARMS = {
    "noise": Harm(noise=40), "bias up": Harm(bias=60), "bias down": Harm(bias=-60), "seconds for hours": Harm(factor=3600),
    "constant": Harm(constant=True),
}  # fmt: skip


def traffic(rng: np.random.Generator, rows: int, share: float, harm: Harm, first: int) -> pl.DataFrame:
    """Of `rows` requests; share 0: what the shadow says of them."""
    hidden = 100 + 30 * np.sin(np.arange(first, first + rows) / 5000) + 40 * rng.normal(size=rows)
    truth = hidden + 10 * rng.standard_t(2, size=rows)  # without a variance
    champion = hidden + NOISE * rng.normal(size=rows)
    challenger = (hidden + np.hypot(NOISE, harm.noise) * rng.normal(size=rows) + harm.bias) * harm.factor
    challenger = np.full(rows, 100.0) if harm.constant else challenger
    drawn = rng.random(rows) < share
    answer = np.where(drawn, challenger, champion) if share else challenger
    arm = np.where(drawn, "challenger", "champion") if share else np.full(rows, "shadow")
    ours, theirs = (
        {name: score + offset for name, offset in zip(TASK.SCORES, (0, -HALF, HALF), strict=True)} for score in (answer, champion)
    )
    return pl.DataFrame({
        "unit": rng.integers(2**63, size=rows), "call": rng.integers(2**62, size=rows), "model_ms": 5.0, "rides": truth,
        "challenger_failed": False, "arm": arm, **ours, **{f"champion_{name}": numbers for name, numbers in theirs.items()},
    })  # fmt: skip


def begin(rng: np.random.Generator) -> RolloutState:
    served = traffic(rng, 1000, 1e-9, Harm(), 0)
    edges = TASK.edges(TASK.logged(served))
    return RolloutState.begin(CANARY, edges=edges, claims=len(TASK.claims(served, edges)), at=BEGAN)


def roll_out(seed: int, harm: Harm) -> Decision:
    """How the rollout ends."""
    rng = np.random.default_rng(seed)
    state, requests = begin(rng), 0
    while True:
        rows = round(LOOK / (state.share or 1))
        chunk, share = traffic(rng, rows, state.share, harm, requests), state.share
        state = add_answers(CANARY, state, chunk, task=TASK, share=share)
        state, requests = add_outcomes(CANARY, state, chunk, task=TASK, share=share, label="rides"), requests + rows
        now = BEGAN + timedelta(seconds=requests / 100)
        decision = decide(CANARY, state, task=TASK, now=now)
        if decision.kind in ("finish", "roll_back"):
            return decision
        state = state.entering(decision.share, now) if decision.kind == "advance" else state


def rolled_back(rollouts: int, harm: Harm) -> int:
    return sum(roll_out(seed, harm).kind == "roll_back" for seed in range(rollouts))


def test_the_margin_is_the_declared_one() -> None:
    rows = traffic(np.random.default_rng(0), 400_000, 0.0, AT_THE_MARGIN, 0)
    edges, truth = begin(np.random.default_rng(0)).edges, rows["rides"].to_numpy()
    ours, theirs = (TASK.losses(TASK.logged(rows, prefix), truth, edges).mean() for prefix in ("", "champion_"))
    assert 0.7 * CANARY.rollback.max_quality_loss < ours - theirs < CANARY.rollback.max_quality_loss


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_a_harmful_regression_is_rolled_back(harm: Harm) -> None:
    assert rolled_back(10, harm) == 10


def test_a_breach_names_the_loss_and_its_size() -> None:
    decision = roll_out(0, HARMS["noise"])
    assert "The challenger's absolute error, relative to the spread of predictions, is 0." in decision.reason


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("rollouts", "harm"), [(200, Harm()), (100, AT_THE_MARGIN)], ids=["no difference", "at the margin"])
def test_harmless_regressions_are_rolled_back_at_the_declared_rate_at_most(rollouts: int, harm: Harm) -> None:
    assert rolled_back(rollouts, harm) <= binom.ppf(0.999, rollouts, RATE)
