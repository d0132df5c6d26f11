"""Two models of flights, one better for most carriers and worse for one, for the tests of the side-by-side page."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from mlops_assets.evaluation.evaluate import Rival, evaluate
from mlops_assets.evaluation.side_by_side import SideBySide, side_by_side
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics import plots
from mlops_assets.statistics.binary import BinarySample
from mlops_assets.tasks import task_of
from mlops_assets.use_cases.flight_delay import USE_CASE

ROWS, THRESHOLD = 1200, 0.35


def flights(carriers: tuple[str, ...] = ("AA", "AA", "B6", "UA", "UA"), rows: int = ROWS) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    start = datetime(2013, 4, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "carrier": rng.choice(carriers, rows),
            "flight": rng.integers(1, 999, rows),
            "tailnum": pl.Series([None] * rows, dtype=pl.String),
            "origin": rng.choice(["EWR", "JFK"], rows),
            "dest": ["IAH"] * rows,
            "sched_dep": [start + timedelta(hours=2 + at) for at in range(rows)],
            "event_timestamp": [start + timedelta(hours=at) for at in range(rows)],
            "late": (rng.random(rows) < 0.3).astype(np.int8),
        }
    )


def guesses(rows: pl.DataFrame, seed: int) -> tuple[Any, Any]:
    """The candidate knows something of every row except carrier B6's, where only the champion does."""
    rng, truth = np.random.default_rng(seed), rows["late"].to_numpy()
    knows = rows["carrier"].to_numpy() != "B6"
    good, poor = (np.clip(0.3 + weight * (truth - 0.3) + 0.15 * rng.normal(size=len(truth)), 0, 1) for weight in (0.4, 0.1))
    return np.where(knows, good, poor), np.where(knows, poor, good)


def compare_models(
    rows: pl.DataFrame | None = None, use_case: UseCase = USE_CASE, *, both: tuple[Any, Any] | None = None
) -> SideBySide:
    rows = flights() if rows is None else rows
    ours, theirs = both or guesses(rows, seed=1)
    options: dict[str, Any] = {
        "candidate": "c0ffee",
        "label": "late",
        "slices": ("carrier", "origin"),
        "task": task_of(use_case.task),
    }
    evaluation = evaluate(rows, ours, **options, seed=3, champion=Rival("7", theirs), resamples=60)
    return side_by_side(use_case, evaluation, rows, version=8, candidate=ours, champion=theirs)


def pictures() -> dict[str, bytes]:
    ours, theirs = guesses(flights(), seed=1)
    both = {"champion": theirs, "candidate": ours}
    tallies = {role: BinarySample(flights()["late"].to_numpy(), output).tally() for role, output in both.items()}
    return {"reliability": plots.reliability(tallies), "scores": plots.score_distribution(both, 0.35)}
