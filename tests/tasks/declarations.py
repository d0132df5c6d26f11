"""Loans with labels of each task, whose landed files a small model of each trainer learns from."""

import datetime as dt
from typing import NamedTuple

import numpy as np
import polars as pl

from mlops_assets.spec.contract import Column
from mlops_assets.spec.feature import Label
from mlops_assets.spec.gate import BeatsChampion, Budget, EverySlice, Floor, Latency, Metric, Robust
from mlops_assets.spec.monitor import Drift, Estimation, Performance, Skew
from mlops_assets.spec.task import Binary, Multiclass, Regression, Task
from mlops_assets.spec.training import (
    HistGradientBoosting,
    LightGBM,
    Lightning,
    OwnLightning,
    SklearnEstimator,
    Trainer,
)  # fmt: skip
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import APPLICATIONS, DAY, LOANS, PAYMENTS

DAYS, ROWS = 8, 100  # of applications a day
FIRST = HistGradientBoosting(max_iter=10, min_samples_leaf=20, learning_rate=0.1)  # whose version every other is rolled back to


def default_label(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("number", "defaulted", known_at="ended_at")


def outcome_label(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("number", "outcome", known_at="ended_at")


def months_label(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.select("number", "months", known_at="ended_at")


LABELS = {
    transform.__name__: Label(name=name, table="applications", key=("number",), transform=transform)
    for name, transform in {"defaulted": default_label, "outcome": outcome_label, "months": months_label}.items()
}


class TaskCase(NamedTuple):
    """A task, and a bound on the quality of a model that knows both inputs which make the labels."""

    task: Task
    floor: tuple[Metric, float]
    max_drop: float = 0.5  # of the main metric where inputs are perturbed


CASES = {
    "binary": TaskCase(Binary(label=LABELS["default_label"], positive=1), floor=("auc", 0.8)),
    "multiclass": TaskCase(
        Multiclass(label=LABELS["outcome_label"], classes=("repaid", "late", "defaulted")), floor=("accuracy", 0.65)
    ),
    "regression": TaskCase(Regression(label=LABELS["months_label"], coverage=0.8, unit="months"), floor=("r2", 0.5), max_drop=60),
}


def trainers(task: str) -> dict[str, Trainer]:
    """One of each kind; scikit-learn's is another estimator where the task needs a number."""
    forest = "ExtraTreesRegressor" if task == "regression" else "ExtraTreesClassifier"
    return {
        "hist_gradient_boosting": HistGradientBoosting(max_iter=20, min_samples_leaf=5, learning_rate=0.2),
        "lightning": Lightning(hidden=(16,), max_epochs=10, batch_size=32, learning_rate=0.02),
        "lightgbm": LightGBM(max_iterations=40, learning_rate=0.2, min_data_in_leaf=5),
        "sklearn_estimator": SklearnEstimator(
            estimator=f"sklearn.ensemble:{forest}", arguments={"n_estimators": 30, "max_depth": 8}
        ),
        "own_lightning": OwnLightning(module="tests.training.trainers.own_net:Net", max_epochs=12, batch_size=32),
    }


TRAINERS = tuple(trainers("binary"))


def use_case(kind: str, trainer: Trainer = FIRST) -> UseCase:
    task, (metric, bound), max_drop = CASES[kind]
    more = (
        Column(name="outcome", dtype="string", description="What became of it."),
        Column(name="months", dtype="float", description="How long it took."),
    )
    weak = trainer == FIRST
    return LOANS.but(
        contracts=(APPLICATIONS.but(columns=(*APPLICATIONS.columns, *more)), PAYMENTS),
        last_day=LOANS.first_day + (DAYS - 1) * DAY,
        task=task,
        trainer=trainer,
        slices=("purpose",),
        gates=(
            Floor(metric=metric, bound=0 if weak else bound), *(BeatsChampion(metric=metric),) * weak, Robust(max_drop=max_drop),
            EverySlice(column="purpose", metric=metric, bound=0 if weak else bound - 0.2, min_rows=10), Latency(p99_ms=500), Budget(max_megabytes=5),
        ),
        # Payments grow from day to day, beyond the range of the training.
        monitors=(Performance(min_rows=15), Estimation(min_rows=15), Drift(min_rows=15, max_psi=100, max_new_share=0.99), Skew(min_rows=15)),
    )  # fmt: skip


def payments(day: int) -> pl.DataFrame:
    """What each of 30 customers paid in the morning."""
    rng, at = np.random.default_rng([day, 1]), dt.datetime.combine(LOANS.first_day + day * DAY, dt.time(8), dt.UTC)
    return pl.DataFrame(
        {"customer": [f"c{number}" for number in range(30)], "paid_at": at, "paid": rng.uniform(0, 20, 30).round(2)},
        schema_overrides={"paid_at": pl.Datetime("us", "UTC")},
    )


def applications(day: int) -> pl.DataFrame:
    """Of one day, with labels that amount (0 to 100) and last payment (0 to 20) make: large ones are not repaid, or take long."""
    rng, start = np.random.default_rng([day, 0]), dt.datetime.combine(LOANS.first_day + day * DAY, dt.time(), dt.UTC)
    amounts, customers = rng.uniform(0, 100, ROWS).round(2), [f"c{number}" for number in rng.integers(0, 30, ROWS)]
    paid = dict(payments(day).select("customer", "paid").iter_rows())
    last_paid = np.array([paid[name] for name in customers])
    outcome = np.select([amounts < 40, last_paid < 10], ["repaid", "defaulted"], "late")
    return pl.DataFrame(
        {
            "number": [1000 * (day + 1) + number for number in range(ROWS)],
            "customer": customers,
            "amount": amounts,
            "purpose": rng.choice(["car", "home"], ROWS),
            "insured": True,
            "applied_at": start + 20 * DAY / 24,
            "ended_at": start + 22 * DAY / 24,
            "defaulted": (outcome != "repaid").astype(int),
            "outcome": outcome.tolist(),
            "months": amounts + 3 * last_paid,
        },
        schema_overrides=dict.fromkeys(("applied_at", "ended_at"), pl.Datetime("us", "UTC")),
    )
