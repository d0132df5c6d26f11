"""Robust: how much a model may lose when its rows are made worse, and that each answer stays a probability."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.metrics import brier_score_loss, roc_auc_score

from mlops_assets.evaluation.gates.case import Case, Verdict
from mlops_assets.evaluation.gates.robust import perturb
from mlops_assets.evaluation.judge import judge
from mlops_assets.spec.gate import Robust
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.training.onnx_file import seal
from mlops_assets.training.signature import INPUT, OUTPUT, Signature
from mlops_assets.training.train import fit
from tests.evaluation.gates.real_case import case_of
from tests.training.training_rows import CARRIERS, CATEGORICAL, INPUTS, NUMERIC, training_rows

ROWS = training_rows(4000)
TREES = HistGradientBoosting(max_iter=40, learning_rate=0.1, min_samples_leaf=20)
KINDS = ("noise", "missing values", "unseen categories", "out of range")


@pytest.fixture(scope="module")
def trees() -> Case:
    """A real, bounded model on its own rows."""
    return case_of(ROWS, fit(TREES, ROWS, **INPUTS).onnx)


def sum_of_numbers(*, heals: bool) -> bytes:
    """Sigmoid of an unbounded sum, led by `wind`: one extreme number decides. Without a replacement, a missing one gives NaN."""
    weights = np.float32([[1.0], [0.05], [0.0], [0.0], [0.0]])
    width, source = len(weights), "present" if heals else INPUT
    heal = [helper.make_node("IsNaN", [INPUT], ["absent"]), helper.make_node("Where", ["absent", "zero", INPUT], ["present"])]
    nodes = [
        *(heal if heals else []),
        helper.make_node("MatMul", [source, "weights"], ["summed"]),
        helper.make_node("Sigmoid", ["summed"], ["column"]),
        helper.make_node("Squeeze", ["column", "axis"], [OUTPUT]),
    ]
    given_in = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", width])
    given_out = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows"])
    constants = {"weights": weights, "axis": np.int64([1]), **({"zero": np.float32([0])} if heals else {})}
    known = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "sum", [given_in], [given_out], known)
    signature = Signature(NUMERIC, {"carrier": CARRIERS, "origin": ("EWR", "JFK")})
    return seal(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), signature)


def led_by_wind() -> pl.DataFrame:
    """Rows whose label follows the wind, of a size that a sigmoid can hold, and nothing missing."""
    wind = (pl.col("wind").fill_null(10) - 10) / 4
    late = (wind + pl.col("delay").fill_null(20) / 60 > 0.3).cast(pl.Int8)
    return ROWS.with_columns(wind=wind, delay=pl.col("delay").fill_null(20.0), never=pl.lit(0.0), late=late)


def judged(gate: Robust, case: Case) -> Verdict:
    return judge(case.use_case.but(gates=(gate,)).gates, case)[0]


def perturbed(case: Case, *, noise: float, share: float) -> dict[str, pl.DataFrame]:
    known = ROWS.filter(pl.col("split") != "test")
    return perturb(case.rows, known, case.model.signature, noise=noise, share=share, seed=case.seed)


def test_trees_pass_and_the_worst_perturbation_is_reported_with_its_input(trees: Case) -> None:
    verdict = judged(Robust(max_drop=0.1), trees)
    assert verdict.passed
    worst, culprit = verdict.evidence["worst"], verdict.evidence["worst_input"]
    assert verdict.message.startswith(f"robust_auc · auc falls most under {worst}, by 0.0")
    assert verdict.message.endswith(f"which stays within 0.100; most of it by {culprit}.")
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_the_worst_input_is_the_one_that_costs_most_when_it_alone_is_perturbed(trees: Case) -> None:
    verdict = judged(Robust(missing=0.5), trees)
    worse = perturbed(trees, noise=0.05, share=0.5)[verdict.evidence["worst"]]
    alone = {name: trees.model.predict(trees.rows.with_columns(worse[name])) for name in (*NUMERIC, *CATEGORICAL)}
    before = roc_auc_score(trees.truth, trees.candidate)
    costs = {name: before - roc_auc_score(trees.truth, after) for name, after in alone.items()}
    assert verdict.evidence["worst_input"] == max(costs, key=lambda name: costs[name]) == "delay"
    assert verdict.evidence["worst_input_drop"] == pytest.approx(costs["delay"])


@pytest.mark.parametrize(
    ("metric", "oracle", "sign"), [("auc", roc_auc_score, 1), ("brier", brier_score_loss, -1)], ids=["auc", "brier"]
)
def test_each_drop_is_what_scikit_learn_measures_before_and_after(
    trees: Case, metric: Any, oracle: Callable[[Any, Any], float], sign: int
) -> None:
    verdict = judged(Robust(metric=metric, noise=0.5, missing=0.2), trees)
    worse = perturbed(trees, noise=0.5, share=0.2)
    before = oracle(trees.truth, trees.model.predict(trees.rows))
    for kind in KINDS:
        after = oracle(trees.truth, trees.model.predict(worse[kind]))
        numbers = verdict.evidence["perturbations"][kind]
        assert numbers[metric] == pytest.approx(after)
        assert numbers["drop"]["value"] == pytest.approx(sign * (before - after))
        assert numbers["drop"]["low"] < numbers["drop"]["value"] < numbers["drop"]["high"]
    assert verdict.measured == max(numbers["drop"]["value"] for numbers in verdict.evidence["perturbations"].values())
    assert verdict.evidence["unperturbed"] == pytest.approx(before)


def test_a_sum_that_one_wild_number_decides_fails_and_names_the_number() -> None:
    rows = led_by_wind()
    verdict = judged(Robust(), case_of(rows, sum_of_numbers(heals=True)))
    assert not verdict.passed
    assert (verdict.evidence["worst"], verdict.evidence["worst_input"]) == ("out of range", "wind")
    assert verdict.low > 0.02
    assert "which is above 0.020; most of it by wind. Look at wind under out of range" in verdict.message


def test_answers_that_are_no_probabilities_fail_whatever_the_bound() -> None:
    rows = led_by_wind()
    verdict = judged(Robust(max_drop=1000), case_of(rows, sum_of_numbers(heals=False)))
    assert not verdict.passed
    assert math.isinf(verdict.measured) and verdict.to_dict()["measured"] is None
    assert "under missing values some scores are illegal" in verdict.message
    numbers = verdict.evidence["perturbations"]
    assert numbers["missing values"]["illegal"] > 0.05 * 800
    assert numbers["noise"]["illegal"] == numbers["out of range"]["illegal"] == 0
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_rows_of_one_class_never_pass(trees: Case) -> None:
    rows = ROWS.with_columns(late=pl.when(pl.col("split") == "test").then(0).otherwise("late"))
    verdict = judged(Robust(), case_of(rows, trees.onnx))
    assert not verdict.passed
    assert "auc is undefined on these rows (one class only)" in verdict.message


def test_perturbations_too_small_to_matter_cost_nothing(trees: Case) -> None:
    gentle = judged(Robust(noise=1e-9, missing=1e-9), trees)
    assert gentle.passed
    assert abs(gentle.measured) < 1e-3


def test_more_missing_values_cost_more(trees: Case) -> None:
    drops = [
        judged(Robust(missing=share), trees).evidence["perturbations"]["missing values"]["drop"]["value"]
        for share in (0.02, 0.3, 0.9)
    ]
    assert drops == sorted(drops)
    assert drops[-1] > 0.05
