"""Evidence for the gates' tests: flights whose truth follows from a known probability, and the evaluation of a guess at it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mlops_assets.spec.gate import Gate
from mlops_assets.stages.evaluate import Rival, evaluate
from mlops_assets.stages.judge import Verdict, judge
from mlops_assets.stages.skew import Parity

Array = NDArray[Any]


@dataclass(frozen=True)
class Trial:
    """Truth, the candidate's probabilities, the probabilities that nature used, and carriers: one entry a flight."""

    truth: Array
    probability: Array
    nature: Array
    carrier: Array

    @property
    def rows(self) -> pl.DataFrame:
        rows = pl.DataFrame({"late": self.truth.astype(np.int8), "carrier": self.carrier.tolist()})
        return rows.with_columns(event_timestamp=pl.lit(datetime(2013, 4, 1)) + pl.int_range(pl.len()) * timedelta(hours=1))

    def verdict(self, *gates: Gate, champion: Array | None = None, parity: Parity | None = None) -> Verdict:
        return self.verdicts(*gates, champion=champion, parity=parity)[0]

    def verdicts(self, *gates: Gate, champion: Array | None = None, parity: Parity | None = None) -> tuple[Verdict, ...]:
        evidence = evaluate(
            self.rows,
            self.probability,
            candidate="c0ffee",
            label="late",
            slices=("carrier",),
            threshold=0.5,
            seed=3,
            champion=None if champion is None else Rival("7", champion),
            resamples=20,
        )
        return judge(
            gates,
            evidence,
            truth=self.truth,
            candidate_probability=self.probability,
            champion_probability=champion,
            rows=self.rows,
            parity=parity,
            seed=3,
        )

    def but(self, **fields: Array) -> "Trial":
        return replace(self, **fields)

    def nearer_to_the_truth(self, step: float) -> "Trial":
        """Every probability moved towards its row's truth: better by auc, average precision, brier and log loss."""
        return self.but(probability=self.probability + step * (self.truth - self.probability))


def make_trial(rows: int = 300, seed: int = 0, noise: float = 0.5) -> Trial:
    rng = np.random.default_rng(seed)
    nature = rng.uniform(size=rows)
    return Trial(
        truth=(rng.uniform(size=rows) < nature).astype(np.int64),
        probability=np.clip(nature + noise * rng.normal(size=rows), 0, 1),
        nature=nature,
        carrier=rng.choice(["AA", "B6", "UA"], rows),
    )


@pytest.fixture(scope="session")
def trial() -> Callable[..., Trial]:
    return make_trial
