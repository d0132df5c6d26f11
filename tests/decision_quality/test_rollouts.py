"""How often rollouts of every task are rolled back: harmless ones at the declared rate at most, harmful ones nearly always.

Whole rollouts, from shadow to full, through the code that decides in production. Labels drift by the hour, and those of the
regression have outliers. docs/rollouts.md has the same of 1,000 rollouts of each task (tests/benchmarks/bench_rollout.py).
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest
from scipy.stats import binom

from mlops_assets.rollout.decision import Decision
from mlops_assets.spec.rollout import Canary
from tests.rollout.rollout_traffic import begin, roll_out, traffic
from tests.rollout.simulated_lines import BINARY, MULTICLASS, REGRESSION, Harm, Line

CANARY = Canary(steps=(0.1, 0.5, 1.0))  # with half of the requests that the default takes
LOOK = 500  # requests to the challenger between two looks
RATE, BEARABLE = CANARY.rollback.false_alarm_rate, CANARY.rollback.max_quality_loss
LINES: dict[str, Line] = {"binary": BINARY, "multiclass": MULTICLASS, "regression": REGRESSION}
AT_THE_MARGIN = {"binary": Harm(noise=0.6), "multiclass": Harm(noise=0.4), "regression": Harm(noise=8.0)}
HARMS = {
    "binary": [Harm(noise=1.7), Harm(shift=1), Harm(shift=-1), Harm(constant=True)],
    "multiclass": [Harm(noise=1.3), Harm(shift=3), Harm(exchanged=True), Harm(constant=True)],
    "regression": [Harm(noise=40), Harm(shift=60), Harm(shift=-60), Harm(factor=3600), Harm(constant=True)],
}


def end(seed: int, task: str, harm: Harm) -> Decision:
    *_, (_, _, decision) = roll_out(CANARY, np.random.default_rng(seed), harm, every=LOOK, line=LINES[task])
    return decision


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as processes:
        patch.setenv("POLARS_MAX_THREADS", "1")
        yield processes


def rolled_back(pool: ProcessPoolExecutor, rollouts: int, task: str, harm: Harm) -> int:
    ends = pool.map(partial(end, task=task, harm=harm), range(rollouts), chunksize=5)
    return sum(decision.kind == "roll_back" for decision in ends)


@pytest.mark.parametrize("task", LINES)
def test_the_margin_is_the_declared_one(task: str) -> None:
    line = LINES[task]
    rows = traffic(np.random.default_rng(0), 400_000, share=0.0, harm=AT_THE_MARGIN[task], line=line)
    edges, truth = begin(CANARY, np.random.default_rng(0), line).edges, line.task.truth(rows[line.label])
    ours, theirs = (line.task.losses(line.task.logged(rows, prefix), truth, edges).mean() for prefix in ("", "champion_"))
    assert 0.7 * BEARABLE < ours - theirs < BEARABLE


@pytest.mark.parametrize(("task", "harm"), [(task, harm) for task, harms in HARMS.items() for harm in harms], ids=str)
def test_a_harmful_challenger_is_rolled_back(pool: ProcessPoolExecutor, task: str, harm: Harm) -> None:
    assert rolled_back(pool, 10, task, harm) == 10


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("multiclass", "The challenger's Brier score is 0."),
        ("regression", "The challenger's absolute error, relative to the spread of predictions, is 0."),
    ],
)
def test_a_breach_names_the_loss_and_its_size(task: str, message: str) -> None:
    assert message in end(0, task, HARMS[task][0]).reason


@pytest.mark.timeout(900)
@pytest.mark.parametrize("task", LINES)
def test_a_challenger_at_the_margin_is_rolled_back_at_the_declared_rate_at_most(pool: ProcessPoolExecutor, task: str) -> None:
    """Of all harmless challengers that is the one with most evidence against it."""
    assert rolled_back(pool, 150, task, AT_THE_MARGIN[task]) <= binom.ppf(0.999, 150, RATE)
