"""Judges Latency: the model file timed in a fresh process, warm, on one thread. The rollout compares that of the service."""

import json
import math
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from scipy import stats

from mlops_assets.evaluation.gates.case import Case, Measurement, side
from mlops_assets.spec.gate import Latency
from mlops_assets.statistics.metrics import Array, Interval

CALL_SECONDS = 2.0
CHILD_SECONDS = 30.0  # limit of the whole process, which starts in about 0.5 s
DISTINCT_ROWS = 1000
Times = dict[str, Array]


class Untimed(RuntimeError):
    """The process that times a model ended without times."""


def judge(gate: Latency, case: Case) -> Measurement:
    """Measures the 99th percentile of one call's time on one core, in ms. A process that crashes or times out fails."""
    matrix = case.model.signature.encode(case.rows.head(max(DISTINCT_ROWS, gate.rows)))
    try:
        times = timed(case.onnx, matrix, rows=gate.rows)
    except Untimed as error:
        evidence, advice = {"calls": 0, "rows": gate.rows, "error": str(error)}, "Run the model file by hand."
        return Measurement(passed=False, bound=gate.p99_ms, message=str(error), advice=advice, evidence=evidence)
    # Core time: six busy processes on two cores raise its p99 from 4.5 to 5.5 ms, and that of the wall clock from 18 to 113.
    measured, calls = p99(times["core_ms"]), len(times["core_ms"])
    shown = f"{measured.value:.3f} (at least {measured.low:.3f})" if math.isnan(measured.high) else str(measured)
    message = f"p99 {shown} ms of one core over {calls} calls of {gate.rows} rows"
    quantiles = {f"{name}_p{percent}": _quantile(times[name], percent / 100) for name in times for percent in (50, 99)}
    return Measurement(
        passed=measured.value <= gate.p99_ms,
        value=measured,
        bound=gate.p99_ms,
        message=f"{message} {side(measured.value, gate.p99_ms)} {gate.p99_ms:g} ms",
        advice="Use a smaller model, or fewer rows a call.",
        evidence={"calls": calls, "rows": gate.rows} | quantiles,
    )


def timed(onnx: bytes, matrix: Array, *, rows: int, seconds: float = CALL_SECONDS, timeout: float = CHILD_SECONDS) -> Times:
    """The time of each call with `rows` rows of `matrix`: core_ms and clock_ms. Raises Untimed for a crash or a timeout."""
    with TemporaryDirectory() as folder:
        model, inputs = Path(folder) / "model.onnx", Path(folder) / "rows.npy"
        model.write_bytes(onnx)
        np.save(inputs, matrix)
        command = [sys.executable, "-m", f"{__package__}.time_model", *map(str, (model, inputs, rows, seconds))]
        try:
            done = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise Untimed(f"no {rows}-row calls were timed within {timeout:g} s") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise Untimed(f"the process ended with {done.returncode}: {lines[-1] if lines else 'no message'}")
    return {name: np.array(values) for name, values in json.loads(done.stdout).items()}


def p99(times: Array) -> Interval:
    """The 99th percentile of (n,) times with its 95% bounds, whatever their distribution; `high` is nan below 368 times."""
    low, high = cast(Any, stats).quantile_test(times, p=0.99).confidence_interval(0.95)
    return Interval(_quantile(times, 0.99), float(low), float(high))


def _quantile(times: Array, share: float) -> float:
    return float(np.quantile(times, share, method="inverted_cdf"))
