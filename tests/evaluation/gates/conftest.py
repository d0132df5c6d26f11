"""Evidence for the gates' tests: flights whose truth follows from a known probability, and the evaluation of a guess at it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mlops_assets.evaluation.evaluate import Rival, evaluate
from mlops_assets.evaluation.gates.case import Case, Verdict
from mlops_assets.evaluation.judge import judge
from mlops_assets.features.parity import Parity
from mlops_assets.spec.gate import Gate
from mlops_assets.tasks import task_of
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import tiny_model

Array = NDArray[Any]
TASK = task_of(USE_CASE.task.but(threshold=0.5))
MODEL = tiny_model(0.0)


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

    def verdict(self, *gates: Gate, champion: Array | None = None, parity: Parity | None = None, served: int = 0) -> Verdict:
        return self.verdicts(*gates, champion=champion, parity=parity, served=served)[0]

    def verdicts(
        self, *gates: Gate, champion: Array | None = None, parity: Parity | None = None, served: int = 0
    ) -> tuple[Verdict, ...]:
        return judge(gates, self.case(champion=champion, parity=parity, served=served))

    def case(self, *, champion: Array | None = None, parity: Parity | None = None, served: int = 0) -> Case:
        """A case with these rows; its model is a real one that no gate over probabilities calls."""
        evidence = evaluate(
            self.rows,
            self.probability,
            candidate="c0ffee",
            label="late",
            slices=("carrier",),
            task=TASK,
            seed=3,
            champion=None if champion is None else Rival("7", champion),
            resamples=20,
        )
        return Case(
            evaluation=evidence,
            truth=self.truth,
            candidate=self.probability,
            champion=champion,
            rows=self.rows,
            parity=parity,
            served=served,
            model=OnnxModel.from_bytes(MODEL),
            onnx=MODEL,
            training_rows=self.rows.with_columns(split=pl.lit("test")),
            use_case=USE_CASE,
            training={},
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
