"""Judging with real ports and real models: what people find beside the gates, with a champion and without one."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from mlops_assets import names
from mlops_assets.graph.judge_candidate import JudgedCandidate, judge_candidate
from mlops_assets.graph.training import Candidate
from mlops_assets.ports.delta_tables import DeltaTables
from mlops_assets.ports.deployment import Deployment, Plan
from mlops_assets.ports.model_registry import ModelRegistry
from mlops_assets.spec.gate import BeatsChampion, Floor
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.stages.signature import digest
from mlops_assets.stages.train import fit
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.ports.mlflow_runs import new_run
from tests.stages.training_rows import CATEGORICAL, INPUTS, NUMERIC, training_rows

CASE = USE_CASE.but(
    features=USE_CASE.features.but(numeric=NUMERIC, categorical=CATEGORICAL),
    slices=("carrier",),
    reference=None,
    gates=(Floor(metric="auc", bound=0.5), BeatsChampion()),
)
START = datetime(2013, 1, 1, tzinfo=UTC)


def flights() -> pl.DataFrame:
    rows = training_rows(1200).with_columns(event_timestamp=pl.lit(START) + pl.int_range(pl.len()) * timedelta(minutes=10))
    return rows.with_columns(flight=pl.int_range(pl.len()), dest=pl.lit("IAH"), sched_dep=pl.col("event_timestamp"))


def trained(rows: pl.DataFrame) -> bytes:
    trainer = HistGradientBoosting(max_iter=30, learning_rate=0.2, min_samples_leaf=20)
    return fit(trainer, rows, progress=lambda _said: None, **INPUTS).onnx


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("home")
    return SimpleNamespace(
        registry=ModelRegistry(root / "mlflow"),
        deployment=lambda use_case: Deployment(root / "deployments", use_case),
        warehouse=DeltaTables(root / "tables"),
        reports=root / "reports",
    )


@pytest.fixture(scope="module")
def candidate(resources: Any) -> Candidate:
    onnx, name = trained(flights()), names.registered_model(CASE.name)
    said = {"digest": digest(onnx), "run_id": new_run(resources.registry, name).run_id, "tags": {}, "description": "a model"}
    return Candidate(resources.registry.register(name, onnx, **said), digest(onnx), {})


def judged(resources: Any, candidate: Candidate) -> JudgedCandidate:
    return judge_candidate(CASE, flights(), candidate, resources=resources, seed=0)


def test_beside_a_champion_a_page_tells_what_changes_and_for_whom(resources: Any, candidate: Candidate) -> None:
    alone = judged(resources, candidate)
    assert "side_by_side" not in alone.metadata
    deployment = resources.deployment(CASE.name)
    blind = trained(flights().with_columns(late=pl.col("late").reverse()))
    deployment.place(41, blind, "a blessing")
    deployment.publish(Plan(number=1, champion=41, previous=None, at=START.isoformat(), reason="first"))
    beside = judged(resources, candidate)
    page, report = (Path(str(beside.metadata[name].value)) for name in ("side_by_side", "report"))
    assert page.parent == report.parent and page != report
    text = page.read_text()
    assert f"flight_delay: candidate {candidate.version} beside champion 41" in text
    assert "The candidate is better: auc 0." in text and "carrier UA" in text
    assert [verdict.passed for verdict in beside.verdicts] == [True, True]
    assert beside.evaluation.slices[0]["champion"]["auc"] is not None
