"""Latency: the model file timed in its own process; a slow one is stopped, a broken or hanging one too."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlops_assets.evaluation.gates import latency, time_model
from mlops_assets.evaluation.gates.case import Verdict
from mlops_assets.evaluation.judge import judge
from mlops_assets.spec.gate import Latency
from mlops_assets.training import signature
from mlops_assets.training.onnx_file import seal
from mlops_assets.training.onnx_model import OnnxModel
from tests.serving.flights import tiny_model

WIDTH, STEPS = 1200, 60
GATE = Latency(p99_ms=0.5)


def slow_model(signed: signature.Signature) -> bytes:
    """A sealed model that multiplies by a matrix of 1,200 × 1,200 sixty times before it answers."""
    rng, inputs = np.random.default_rng(0), len(signed.inputs)
    constants = {
        "widen": rng.normal(size=(inputs, WIDTH)).astype(np.float32) / inputs,
        "mix": rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / WIDTH**0.5,
        "narrow": rng.normal(size=(WIDTH, 1)).astype(np.float32) / WIDTH,
        "zero": np.float32([0]),
        "axis": np.int64([1]),
    }
    mixing = [helper.make_node("MatMul", [f"wide{step}", "mix"], [f"wide{step + 1}"]) for step in range(STEPS)]
    nodes = [
        helper.make_node("IsNaN", [signature.INPUT], ["absent"]),
        helper.make_node("Where", ["absent", "zero", signature.INPUT], ["present"]),
        helper.make_node("MatMul", ["present", "widen"], ["wide0"]),
        *mixing,
        helper.make_node("MatMul", [f"wide{STEPS}", "narrow"], ["summed"]),
        helper.make_node("Sigmoid", ["summed"], ["column"]),
        helper.make_node("Squeeze", ["column", "axis"], [signature.OUTPUT]),
    ]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info(signature.INPUT, TensorProto.FLOAT, ["rows", inputs])],
        [helper.make_tensor_value_info(signature.OUTPUT, TensorProto.FLOAT, ["rows"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return seal(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), signed)


FAST = tiny_model(0.0)
SIGNATURE = OnnxModel.from_bytes(FAST).signature
SLOW = slow_model(SIGNATURE)
ROWS = pl.DataFrame(
    {name: [1.0, None, 3.0] for name in SIGNATURE.numeric} | {name: ["UA", None, "AA"] for name in SIGNATURE.categories}
)
MATRIX = SIGNATURE.encode(ROWS)


def judged(trial: Any, onnx: bytes, gate: Latency) -> Verdict:
    return judge((gate,), replace(trial().case(), onnx=onnx, model=OnnxModel.from_bytes(FAST), rows=ROWS))[0]


def test_a_small_model_is_fast_enough(trial: Any) -> None:
    verdict = judged(trial, FAST, GATE)
    assert verdict.passed
    assert 0 < verdict.low <= verdict.measured <= verdict.high
    assert verdict.evidence["calls"] == time_model.MAX_CALLS
    assert verdict.message.startswith("latency · p99 0.") and verdict.message.endswith("stays within 0.5 ms.")


def test_a_slow_model_is_stopped(trial: Any) -> None:
    verdict = judged(trial, SLOW, GATE)
    assert not verdict.passed
    assert verdict.low > 0.5
    assert verdict.message.endswith("calls of 1 rows is above 0.5 ms. Use a smaller model, or fewer rows a call.")
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_a_call_with_more_rows_takes_longer() -> None:
    one, many = (np.median(latency.timed(SLOW, MATRIX, rows=rows, seconds=0.5)["core_ms"]) for rows in (1, 64))
    assert many > 2 * one


def test_bytes_that_are_no_model_fail_with_the_message_of_the_process(trial: Any) -> None:
    verdict = judged(trial, b"not a model", GATE)
    assert not verdict.passed
    assert math.isnan(verdict.measured)
    assert "latency · the process ended with 1: " in verdict.message and "Protobuf" in verdict.message
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_a_model_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(latency.Untimed, match="no 1-row calls were timed within 0.05 s"):
        latency.timed(SLOW, MATRIX, rows=1, timeout=0.05)


def test_calls_end_after_their_seconds_or_their_number(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(FAST)
    session = time_model.open_session(str(tmp_path / "model.onnx"))
    few = time_model.time_calls(session, MATRIX, rows=2, seconds=0)
    assert {name: len(times) for name, times in few.items()} == {"core_ms": 1, "clock_ms": 1}
    many = time_model.time_calls(session, MATRIX, rows=2, seconds=20)
    assert len(many["core_ms"]) == time_model.MAX_CALLS
    assert min(*many["core_ms"], *many["clock_ms"]) > 0


def test_the_process_opens_nothing_but_onnxruntime_and_numpy() -> None:
    heavy = "{'polars', 'pandas', 'scipy', 'sklearn', 'pydantic', 'dagster', 'torch', 'pyarrow'}"
    code = f"import sys, onnxruntime, mlops_assets.evaluation.gates.time_model; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_names_inside_a_model_file_are_those_of_the_signature() -> None:
    assert time_model.INPUT == signature.INPUT


@pytest.mark.parametrize("count", [1, 20, 367, 368, 400, 1000])
def test_the_interval_is_the_narrowest_pair_of_times_that_leaves_a_fortieth_on_each_side(count: int) -> None:
    below = np.cumsum([comb(count, k) * 0.99**k * 0.01 ** (count - k) for k in range(count)])
    """P(fewer than r of the times lie below the percentile), r from 1."""
    interval = latency.p99(np.arange(1, count + 1)[::-1].astype(float))  # the time of rank r is r
    lowest = max(rank for rank in range(1, count + 1) if rank == 1 or below[rank - 1] <= 0.025)
    highest = [rank for rank in range(1, count + 1) if below[rank - 1] >= 0.975]
    assert interval.low == lowest
    assert interval.high == highest[0] if highest else math.isnan(interval.high)
    assert math.isnan(interval.high) == (count < 368)
    assert interval.value == math.ceil(0.99 * count)


def test_the_interval_holds_the_true_percentile_as_often_as_it_says() -> None:
    rng, truth = np.random.default_rng(0), -math.log(0.01)
    intervals = [latency.p99(rng.exponential(size=600)) for _ in range(500)]
    assert np.mean([interval.low <= truth <= interval.high for interval in intervals]) >= 0.94
