"""Five weeks of the loans of tests/cli/loans.py as landed files. From one day on, amounts are others, and what they mean is, too."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl

from mlops_assets.foundation.home import Environment
from mlops_assets.ingestion.landing import Landing
from mlops_assets.spec.gate import BeatsChampion, Floor
from mlops_assets.spec.monitor import Drift, Performance
from mlops_assets.spec.rollout import AtOnce
from mlops_assets.spec.split import TimeSplit
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.spec.trigger import OnPerformance
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS
from tests.graph.line import environment_of

DAYS, TURNED, A_DAY = 35, 21, 60
DAY = dt.timedelta(days=1)
REPO = """
from feature_repo.objects import build_objects
from tests.backtest.past_loans import PAST_LOANS
globals().update(build_objects(PAST_LOANS))
"""
PAST_LOANS: UseCase = LOANS.but(
    last_day=LOANS.first_day + (DAYS - 1) * DAY,
    split=TimeSplit(test=2 * DAY, validation=DAY),
    trainer=HistGradientBoosting(max_iter=20, min_samples_leaf=10),
    gates=(Floor(metric="auc", bound=0.6), BeatsChampion(metric="auc")),
    monitors=(Drift(window=7 * DAY, min_rows=100), Performance(window=3 * DAY, min_rows=100)),
    triggers=(OnPerformance(metric="auc", bound=0.7),),
    rollout=AtOnce(),
)


def day_of(number: int) -> dt.date:
    return PAST_LOANS.first_day + number * DAY


def rows_of(number: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Applications that ended on a day, and payments of it."""
    chance, start = np.random.default_rng(number), dt.datetime.combine(day_of(number), dt.time(), dt.UTC)
    has_turned = number >= TURNED
    amount = (chance.uniform(1, 100, A_DAY) + 200 * has_turned).round(2)
    risk = 0.05 + 0.9 * ((amount % 200 > 50) != has_turned)
    applications = pl.DataFrame(
        {
            "number": A_DAY * number + np.arange(1, A_DAY + 1), "customer": [f"c{one % 7}" for one in range(A_DAY)],
            "amount": amount, "purpose": chance.choice(["car", "home"], A_DAY), "insured": True,
            "applied_at": [start + dt.timedelta(minutes=10 * one) for one in range(A_DAY)],
            "ended_at": [start + dt.timedelta(hours=23, minutes=one) for one in range(A_DAY)],
            "defaulted": (chance.random(A_DAY) < risk).astype(int),
        }
    )  # fmt: skip
    paid = {
        "customer": [f"c{one}" for one in range(7)],
        "paid_at": start + dt.timedelta(hours=1),
        "paid": chance.uniform(1, 9, 7),
    }
    return applications, pl.DataFrame(paid)


def land(landing: Landing, days: range = range(DAYS)) -> None:
    for number in days:
        for table, rows in zip(("applications", "payments"), rows_of(number), strict=True):
            landing.put(PAST_LOANS.name, table, day=day_of(number), rows=rows)


def environment(root: Path) -> Environment:
    """A project whose home has the landed files."""
    made = environment_of(root, {"past_loans": REPO})
    land(Landing(made.home.landing))
    return made
