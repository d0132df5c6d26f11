"""Under 200 rows: an evaluated candidate learns the signal, or its evaluation warns that it has not, whatever the task."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from mlops_assets.evaluation.evaluate_candidate import CandidateEvaluation, ModelVersion, evaluate_candidate
from mlops_assets.spec.feature import Label
from mlops_assets.spec.split import TimeSplit
from mlops_assets.spec.task import Multiclass, Regression
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.train import fit, training_columns
from mlops_assets.training.training_record import in_training_order
from tests.inspection.orders import DAYS, START, features, inspected, orders

pytestmark = pytest.mark.slow

BINARY = features(request=("number", "ordered_at", "visits", "city"), numeric=("visits",), categorical=("city",)).but(
    trainer=HistGradientBoosting(), split=TimeSplit(test=timedelta(days=30), validation=timedelta(days=20))
)
CLASSES = BINARY.but(task=Multiclass(label=Label(name="returned", known_at="closed_at"), classes=("yes", "no", "lost")))
NUMBERS = BINARY.but(task=Regression(label=Label(name="amount", known_at="closed_at")))


def small(rows: int, *, learnable: bool) -> pl.DataFrame:
    """Orders whose class and amount follow from the number of visits, or from nothing."""
    table = orders(per_day=2).head(rows)
    day = pl.int_range(pl.len()) * DAYS // rows
    moments = {f"{name}_at": pl.lit(START) + day * timedelta(days=1) for name in ("ordered", "paid", "closed")}
    table = table.with_columns(**moments).with_columns(day=pl.col("ordered_at").dt.date())
    cause = pl.Series(np.random.default_rng(3).integers(0, 9, rows))
    table = table.with_columns(cause=cause, visits=cause if learnable else pl.col("visits"))
    noise = pl.Series(np.random.default_rng(4).normal(0, 1, rows))
    classes = pl.when(pl.col("cause") < 3).then(pl.lit("no")).when(pl.col("cause") < 6).then(pl.lit("yes"))
    return table.with_columns(returned=classes.otherwise(pl.lit("third")), amount=20 + 10 * pl.col("cause") + noise).drop("cause")


def evaluated(use_case: UseCase, rows: pl.DataFrame) -> CandidateEvaluation:
    known = in_training_order(inspected(rows, use_case).rows, use_case)
    candidate = ModelVersion(1, fit(use_case.trainer, known, **training_columns(use_case)).onnx)
    return evaluate_candidate(use_case, known, candidate, champion=None, training={}, parity=None, served=0, seed=0)


@pytest.mark.parametrize("rows", [60, 199])
@pytest.mark.parametrize("case", [(BINARY, "no"), (CLASSES, "lost"), (NUMBERS, "no")], ids=["binary", "multiclass", "regression"])
def test_a_small_table_with_a_signal_is_learned_and_one_without_gets_a_warning(case: tuple[UseCase, str], rows: int) -> None:
    use_case, third = case
    label = pl.col("returned").replace("third", third)
    learned = evaluated(use_case, small(rows, learnable=True).with_columns(label))
    assert learned.warning == "", learned.evaluation.metrics
    without = evaluated(use_case, small(rows, learnable=False).with_columns(label))
    assert without.warning.startswith("The model "), without.evaluation.metrics
