"""A regression as a real line, with each trainer: landed, trained, judged, served, its outcomes joined, monitored, rolled back."""

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops_assets.foundation import names
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.resources import build_resources
from mlops_assets.serving.service import Service, assemble
from mlops_assets.spec.contract import Column
from mlops_assets.spec.feature import Label
from mlops_assets.spec.gate import BeatsChampion, EverySlice, Floor, Latency, NoLeak, Robust
from mlops_assets.spec.monitor import Drift, OnPerformance, Performance, Skew
from mlops_assets.spec.task import Regression
from mlops_assets.spec.training import HistGradientBoosting, Lightning, Trainer
from mlops_assets.training.onnx_model import OnnxModel
from tests.cli.loans import APPLICATIONS, LOANS, PAYMENTS
from tests.graph.loan_line import LoanLine, moment, payments, running_loans

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(600)]

LOANS_A_DAY, DAYS, WINDOW = 150, 8, dt.timedelta(days=36_500)
COLUMN = Column(name="months", dtype="int", min=0, max=10_000, description="How long it took to pay it back.")
LABEL = Label(
    name="months",
    table="applications",
    key=("number",),
    transform=lambda rows: rows.select("number", "months", known_at="ended_at"),
)
DURATION = LOANS.but(
    question="How long will it take to pay this loan back?",
    contracts=(APPLICATIONS.but(columns=(*APPLICATIONS.columns, COLUMN)), PAYMENTS),
    task=Regression(label=LABEL, coverage=0.8, unit="months"),
    slices=("purpose",),
    gates=(
        BeatsChampion(metric="rmse"), NoLeak(max_single_auc=1.0, max_split_gap=0.2), Floor(metric="coverage", bound=0.65),
        EverySlice(column="purpose", metric="mae", bound=60, min_rows=20), Robust(metric="rmse", max_drop=60), Latency(p99_ms=500),
    ),
    monitors=(Drift(window=WINDOW, min_rows=10), Performance(window=WINDOW, min_rows=10), Skew(window=WINDOW, min_rows=10)),
    triggers=(OnPerformance(metric="rmse", bound=0.001),),
)  # fmt: skip
WEAK_AND_GOOD: dict[str, tuple[Trainer, Trainer]] = {
    "boosting": (HistGradientBoosting(max_iter=2, learning_rate=0.1), HistGradientBoosting(max_iter=60)),
    "lightning": (
        Lightning(hidden=(8,), max_epochs=1),
        Lightning(hidden=(16,), max_epochs=30, batch_size=32, learning_rate=1e-2),
    ),
}


def loans(day: int) -> pl.DataFrame:
    """The months grow with the amount, and are more for homes."""
    rng, numbers = np.random.default_rng(day), range(LOANS_A_DAY * day + 1, LOANS_A_DAY * (day + 1) + 1)
    amounts, homes = rng.uniform(0, 100, LOANS_A_DAY), rng.random(LOANS_A_DAY) < 0.5
    months = (amounts + 40 * homes + 8 * rng.normal(size=LOANS_A_DAY)).clip(0).round().astype(int)
    return pl.DataFrame(
        {
            "number": [*numbers], "customer": [f"c{number % 9}" for number in numbers], "amount": amounts,
            "purpose": np.where(homes, "home", "car").tolist(), "insured": True,
            "applied_at": [moment(day, 12 + place / 60) for place in range(LOANS_A_DAY)], "ended_at": moment(day, 23),
            "defaulted": 0, "months": months,
        },
    ).cast({"number": pl.Int64, "defaulted": pl.Int64, "months": pl.Int64})  # fmt: skip


@contextmanager
def serving(line: LoanLine) -> Iterator[Service]:
    service = assemble(line.use_case, line.environment, line.store().look_up)
    service.start()
    yield service
    service.stop()


def ask(service: Service, rows: pl.DataFrame, *, explain: bool = False) -> list[dict[str, Any]]:
    columns = service.answering.use_case.features.request
    requests = rows.select(columns).with_columns(pl.col("applied_at").dt.to_string("iso")).to_dicts()
    body = json.dumps({"rows": requests, "explain": explain})
    (answer,) = service.answering.answer_together([service.parse(body.encode())])
    if isinstance(answer, Exception):
        raise answer
    return json.loads(answer)["predictions"]


def train(line: LoanLine) -> Any:
    stages = ("training_set", "candidate", "evaluation", "blessing", "rollout")
    return line.run(*(names.stage(line.use_case.name, stage) for stage in stages), first=0)


@pytest.mark.parametrize("trainer", WEAK_AND_GOOD)
def test_a_regression_goes_from_landed_rows_to_a_rollback(tmp_path: Path, trainer: str) -> None:
    weak, good = WEAK_AND_GOOD[trainer]
    with running_loans(tmp_path, DURATION.but(trainer=weak)) as line:
        for day in range(DAYS):
            line.land("applications", day, loans(day))
            line.land("payments", day, payments(day, *((f"c{number}", 10.0 + number) for number in range(9))))
        assert line.ingest("applications", 0, DAYS - 1).success and line.ingest("payments", 0, DAYS - 1).success
        line.fill(0, DAYS - 1)
        first = train(line)
        assert first.success, [check.description for check in first.get_asset_check_evaluations()]
        line.declare(DURATION.but(trainer=good))
        second = train(line)
        assert second.success, [check.description for check in second.get_asset_check_evaluations()]
        _check_answers(line)
        _check_monitors(line)
        _check_rollback(line)


def _check_answers(line: LoanLine) -> None:
    """Of the second version: what the model file gives for the row, in months, with what each input adds."""
    rows = loans(DAYS - 1).head(40)
    with serving(line) as service:
        answers, (explained,) = ask(service, rows), ask(service, rows.tail(1), explain=True)
        lineup = service.answering.slots.lineup
        assert lineup
        stored: OnnxModel = lineup.champion.model
    expected = stored.predict(rows.with_columns(last_paid=pl.Series([10.0 + number % 9 for number in rows["number"]])))
    served = np.array([[answer[name] for name in ("prediction", "low", "high")] for answer in answers])
    np.testing.assert_allclose(served, expected, rtol=1e-5)
    assert {answer["model_version"] for answer in answers} == {2}
    assert np.abs(served[:, 0] - rows["months"].to_numpy()).mean() < 15
    explanation = explained["explanation"]
    total = explanation["baseline_prediction"] + sum(explanation["contributions"].values())
    assert total == pytest.approx(explained["prediction"], rel=1e-4)


def _check_monitors(line: LoanLine) -> None:
    stages = ("predictions", "outcomes", "drift", "performance", "skew")
    result = line.run(*(names.stage(line.use_case.name, stage) for stage in stages), first=0)
    assert result.success
    assert len(line.rows(names.stage("loans", "outcomes"))) == 40
    checks = {check.check_name: check.description or "" for check in result.get_asset_check_evaluations() if not check.passed}
    assert "rmse" in checks[names.GOOD_ENOUGH] and "is above 0.001" in checks[names.GOOD_ENOUGH]
    assert names.SAME_FEATURES not in checks


def _check_rollback(line: LoanLine) -> None:
    home, ledger = line.environment.home, build_resources(line.environment)["ledger"].open()
    promotions = Promotions(line.use_case, ledger, Deployment(home.deployments, "loans"), SigningKeys(home.keys))
    plan = promotions.state().plan
    assert plan and plan.champion == 2
    promotions.roll_back(reason="a test", by="ana", at=dt.datetime.now(dt.UTC))
    with serving(line) as service:
        (answer,) = ask(service, loans(DAYS - 1).tail(1))
    assert answer["model_version"] == 1 and answer["low"] < answer["prediction"] < answer["high"]
