"""Loans with labels of each task, whose landed files a small model learns from."""

import datetime as dt
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from mlops_assets.spec.gate import BeatsChampion, Budget, Calibrated, EverySlice, Floor, Gate, Latency, Metric, Robust
from mlops_assets.spec.monitor import Drift, Performance, Skew
from mlops_assets.spec.task import Multiclass, Task
from mlops_assets.spec.training import HistGradientBoosting, Lightning
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import APPLICATIONS, DAY, LOANS, PAYMENTS

DAYS, ROWS = 8, 60  # of applications a day
TRAINERS = {
    "hist_gradient_boosting": HistGradientBoosting(max_iter=20, min_samples_leaf=5, learning_rate=0.1),
    "lightning": Lightning(hidden=(16,), max_epochs=6, batch_size=32, learning_rate=0.02),
}


def outcome_label(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("number", "outcome", known_at="ended_at")


LABEL = LOANS.label.but(name="outcome", transform=outcome_label)


class TaskCase(NamedTuple):
    """A task, the type of its labels, what makes them of amount (0 to 100) and last payment (0 to 20), and a bound that a model
    with knowledge of both meets.
    """

    task: Task
    dtype: str
    label: Callable[[float, float], Any]
    floor: tuple[Metric, float]
    more_gates: tuple[Gate, ...]


def end_of(amount: float, last_paid: float) -> str:
    return "repaid" if amount < 40 else "defaulted" if last_paid < 10 else "late"


CASES = {
    "multiclass": TaskCase(
        Multiclass(label=LABEL, classes=("repaid", "late", "defaulted")),
        "string",
        end_of,
        floor=("accuracy", 0.75),
        more_gates=(Calibrated(max_ece=0.4), EverySlice(column="purpose", metric="auc", bound=0.6, min_rows=10)),
    )
}


def use_case(case: TaskCase, trainer: str) -> UseCase:
    outcome = APPLICATIONS.columns[-1].but(name="outcome", dtype=case.dtype, description="What became of it.")
    metric, bound = case.floor
    return LOANS.but(
        contracts=(APPLICATIONS.but(columns=(*APPLICATIONS.columns[:-1], outcome)), PAYMENTS),
        last_day=LOANS.first_day + (DAYS - 1) * DAY,
        task=case.task,
        trainer=TRAINERS[trainer],
        slices=("purpose",),
        gates=(
            Floor(metric=metric, bound=bound), BeatsChampion(metric=metric, confidence=0.51), Robust(max_drop=0.5), Latency(p99_ms=500),
            Budget(max_megabytes=5), *case.more_gates,
        ),
        monitors=(Performance(min_rows=20), Drift(min_rows=20, max_share=1.0), Skew(min_rows=20)),
    )  # fmt: skip


def payments(day: int) -> pl.DataFrame:
    """What each of 30 customers paid in the morning."""
    rng, at = np.random.default_rng([day, 1]), dt.datetime.combine(LOANS.first_day + day * DAY, dt.time(8), dt.UTC)
    return pl.DataFrame(
        {"customer": [f"c{number}" for number in range(30)], "paid_at": at, "paid": rng.uniform(0, 20, 30).round(2)},
        schema_overrides={"paid_at": pl.Datetime("us", "UTC")},
    )


def applications(case: TaskCase, day: int) -> pl.DataFrame:
    """Of one day, with the label that amount and last payment make."""
    rng, start = np.random.default_rng([day, 0]), dt.datetime.combine(LOANS.first_day + day * DAY, dt.time(), dt.UTC)
    amounts, customers = rng.uniform(0, 100, ROWS).round(2), [f"c{number}" for number in rng.integers(0, 30, ROWS)]
    paid = dict(payments(day).select("customer", "paid").iter_rows())
    return pl.DataFrame(
        {
            "number": [1000 * (day + 1) + number for number in range(ROWS)],
            "customer": customers,
            "amount": amounts,
            "purpose": rng.choice(["car", "home"], ROWS),
            "insured": True,
            "applied_at": start + 20 * DAY / 24,
            "ended_at": start + 22 * DAY / 24,
            "outcome": [case.label(amount, paid[name]) for amount, name in zip(amounts.tolist(), customers, strict=True)],
        },
        schema_overrides=dict.fromkeys(("applied_at", "ended_at"), pl.Datetime("us", "UTC")),
    )
