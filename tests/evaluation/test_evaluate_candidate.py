"""The evaluation of a candidate with real models, with a champion and without one."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from mlops_assets.evaluation.evaluate_candidate import CandidateEvaluation, ModelVersion, evaluate_candidate
from mlops_assets.spec.gate import BeatsChampion, Floor
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.training.train import fit
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.training.training_rows import CATEGORICAL, INPUTS, NUMERIC, training_rows

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
    return fit(trainer, rows, **INPUTS).onnx


CANDIDATE = ModelVersion(7, trained(flights()))


def evaluated(champion: ModelVersion | None) -> CandidateEvaluation:
    return evaluate_candidate(CASE, flights(), CANDIDATE, champion=champion, training={}, parity=None, seed=0)


def test_with_a_champion_a_page_compares_both_models() -> None:
    blind = ModelVersion(41, trained(flights().with_columns(late=pl.col("late").reverse())))
    result = evaluated(blind)
    assert list(result.pages) == ["report", "side_by_side"]
    text = result.pages["side_by_side"]
    assert "candidate 7" in text and "champion 41" in text
    assert "The candidate is better: auc 0." in text and "carrier UA" in text
    assert [verdict.passed for verdict in result.verdicts] == [True, True]
    assert result.evaluation.slices[0]["champion"]["auc"] is not None
    assert [row["metric"] for row in result.tables["comparison"]] == list(result.evaluation.metrics)
    assert result.summary.startswith("2 of 2 gates passed; test auc 0.") and result.summary.endswith("against champion 41.")


@pytest.mark.parametrize("champion", [None, ModelVersion(6, CANDIDATE.onnx)], ids=["none", "the same model"])
def test_without_another_champion_nothing_is_compared(champion: ModelVersion | None) -> None:
    result = evaluated(champion)
    assert list(result.pages) == ["report"] and result.tables["comparison"] == []
    assert result.summary.endswith("against no champion.")
    assert all(png.startswith(b"\x89PNG") for png in result.pictures.values())
