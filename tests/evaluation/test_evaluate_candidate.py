"""The evaluation of a candidate with real models, with a champion and without one."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlops_assets.evaluation.evaluate_candidate import CandidateEvaluation, ModelVersion, evaluate_candidate
from mlops_assets.spec.gate import BeatsChampion, EverySlice, Floor
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.training.onnx_file import seal
from mlops_assets.training.signature import INPUT, OUTPUT, Signature
from mlops_assets.training.train import fit
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.training.training_rows import CATEGORICAL, INPUTS, NUMERIC, training_rows

pytestmark = pytest.mark.slow

CASE = USE_CASE.but(
    features=USE_CASE.features.but(numeric=NUMERIC, categorical=CATEGORICAL),
    slices=("carrier",),
    reference=None,
    gates=(Floor(metric="auc", bound=0.5), BeatsChampion(), EverySlice(column="carrier", metric="auc", bound=0.5, min_rows=20)),
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
    return evaluate_candidate(CASE, flights(), CANDIDATE, champion=champion, training={}, parity=None, served=0, seed=0)


def test_with_a_champion_a_page_compares_both_models() -> None:
    blind = ModelVersion(41, trained(flights().with_columns(late=pl.col("late").reverse())))
    result = evaluated(blind)
    assert list(result.pages) == ["report", "side_by_side"]
    text = result.pages["side_by_side"]
    assert "candidate 7" in text and "champion 41" in text
    assert "The candidate is better: auc 0." in text and "carrier UA" in text
    assert [verdict.passed for verdict in result.verdicts] == [True, True, True]
    assert result.evaluation.slices[0]["champion"]["auc"] is not None
    assert [row["metric"] for row in result.tables["comparison"]] == list(result.evaluation.metrics)
    assert result.summary.startswith("3 of 3 gates passed; test auc 0.") and result.summary.endswith("against champion 41.")


@pytest.mark.parametrize("dtype", [pl.Boolean, pl.Float64, pl.Int64])
def test_a_label_of_any_type_gives_the_same_evidence(dtype: pl.DataType) -> None:
    rows = flights().with_columns(pl.col("late").cast(dtype))
    result = evaluate_candidate(CASE, rows, CANDIDATE, champion=None, training={}, parity=None, served=0, seed=0)
    assert trained(rows) == CANDIDATE.onnx
    assert result.evaluation.digest == evaluated(None).evaluation.digest


@pytest.mark.parametrize("champion", [None, ModelVersion(6, CANDIDATE.onnx)], ids=["none", "the same model"])
def test_without_another_champion_nothing_is_compared(champion: ModelVersion | None) -> None:
    result = evaluated(champion)
    assert list(result.pages) == ["report"] and result.tables["comparison"] == []
    assert result.summary.endswith("against no champion.")
    assert all(png.startswith(b"\x89PNG") for png in result.pictures.values())


def test_a_candidate_with_one_answer_for_all_rows_is_evaluated_and_refused() -> None:
    constant = ModelVersion(8, fit(HistGradientBoosting(max_iter=1, learning_rate=1e-12), flights(), **INPUTS).onnx)
    result = evaluate_candidate(CASE, flights(), constant, champion=None, training={}, parity=None, served=0, seed=0)
    refused = next(verdict for verdict in result.verdicts if not verdict.passed)
    assert "test rows are 0." in refused.message and "so the candidate has learned nothing" in refused.message
    assert "report" in result.pages


def other_inputs() -> bytes:
    """A model that was trained on two columns which the declaration has lost since."""
    rows = flights().with_columns(snow=pl.col("wind"), hail=pl.col("delay"))
    return fit(HistGradientBoosting(max_iter=5), rows, **{**INPUTS, "numeric": (*NUMERIC, "snow", "hail")}).onnx


def root_of(column: str, categories: dict[str, tuple[str, ...]]) -> bytes:
    """A model that gives the square root of its first input, and NaN where that is missing."""
    signature = Signature((column,) if column not in categories else (), categories)
    nodes = [
        helper.make_node("Gather", [INPUT, "first"], ["input"], axis=1),
        helper.make_node("Sqrt", ["input"], ["root"]),
        helper.make_node("Mul", ["root", "tenth"], [OUTPUT]),
    ]
    ports = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", len(signature.inputs)])]
    ports += [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows"])]
    constants = [numpy_helper.from_array(np.asarray(0), "first"), numpy_helper.from_array(np.float32(0.1), "tenth")]
    graph = helper.make_graph(nodes, "root", ports[:1], ports[1:], constants)
    return seal(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), signature)


UNSCORABLE = {
    "removed inputs": (other_inputs(), "it reads snow, hail, which the rows no longer have"),
    "no probability": (root_of("wind", {}), "it gives no probability for "),
    "a number that is text now": (root_of("carrier", {}), "signature · column 'carrier' is String; the model reads a number"),
    "no model file": (b"not a model", "model file · onnxruntime refuses it"),
}


@pytest.mark.parametrize(("onnx", "problem"), UNSCORABLE.values(), ids=[*UNSCORABLE])
def test_a_champion_that_cannot_be_scored_is_a_verdict_and_the_other_gates_judge(onnx: bytes, problem: str) -> None:
    result = evaluated(ModelVersion(41, onnx))
    assert result.evaluation.champion == "41" and (result.evaluation.champion_problem or "").startswith(problem)
    assert result.evaluation.comparison is None and result.evaluation.slices[0].keys().isdisjoint({"champion", "comparison"})
    floor, beats, slices = result.verdicts
    assert floor.passed and beats.passed
    assert beats.message.startswith(
        f"beats_champion_auc · not enough data: champion 41 cannot be scored on these rows ({problem}"
    )
    assert beats.message.endswith("so this gate passes.")
    assert [verdict.evidence["champion_problem"] for verdict in (beats, slices)] == 2 * [result.evaluation.champion_problem]
    assert result.summary.endswith("against champion 41, which cannot be scored.")
    assert list(result.pages) == ["report"]
    json.dumps([verdict.to_dict() for verdict in result.verdicts], allow_nan=False)
