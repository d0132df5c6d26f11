"""A process that times a model: `python -m mlops_assets.evaluation.gates.time_model MODEL ROWS ROWS_PER_CALL SECONDS`. ROWS is a
.npy file, float32 of shape (n, inputs). Prints JSON: each call's wall-clock and core time, in ms.
"""

import json
import sys
from pathlib import Path
from time import perf_counter_ns, thread_time_ns
from typing import Any, cast

import numpy as np

WARM_CALLS, MAX_CALLS = 50, 1000
INPUT = "features"  # as in training/signature.py, which imports polars


def time_calls(session: Any, matrix: Any, *, rows: int, seconds: float) -> dict[str, list[float]]:
    """After a warm-up of at most a third of `seconds`: up to MAX_CALLS calls, at least one, each with the next `rows` rows."""
    times: dict[str, list[float]] = {}
    for limit, most in ((seconds / 3, WARM_CALLS), (seconds, MAX_CALLS)):
        times = {"core_ms": [], "clock_ms": []}
        calls, end = 0, perf_counter_ns() + limit * 1e9
        while not calls or (calls < most and perf_counter_ns() < end):
            batch = matrix[np.arange(calls * rows, (calls + 1) * rows) % len(matrix)]
            clock, core = perf_counter_ns(), thread_time_ns()
            session.run(None, {INPUT: batch})
            core, clock, calls = thread_time_ns() - core, perf_counter_ns() - clock, calls + 1
            times["core_ms"].append(core / 1e6)
            times["clock_ms"].append(clock / 1e6)
    return times


def open_session(path: str) -> Any:
    """One thread, as the service opens a model, so that the measured thread does all the work of a call."""
    import onnxruntime

    options = cast(Any, onnxruntime.SessionOptions())
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = 1, 1, 3
    return onnxruntime.InferenceSession(Path(path).read_bytes(), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    model, rows_file, per_call, limit = sys.argv[1:]
    result = time_calls(open_session(model), np.load(rows_file), rows=int(per_call), seconds=float(limit))
    sys.stdout.write(json.dumps(result))
