"""A process that times a model file: `python -m mlops_assets.evaluation.gates.time_model MODEL ROWS ROWS_PER_CALL SECONDS`.

ROWS is a .npy file, float32 of shape (n, inputs). Prints JSON: each call's wall-clock and core time, in ms.
"""

import json
import sys
from itertools import count
from pathlib import Path
from time import perf_counter_ns, thread_time_ns
from typing import Any, cast

import numpy as np

WARM_CALLS, MAX_CALLS = 50, 1000
INPUT, OUTPUT = "features", "probability"  # as in training/signature.py, which imports polars


def time_calls(session: Any, matrix: Any, *, rows: int, seconds: float) -> dict[str, list[float]]:
    """After a warm-up of at most a third of `seconds`: up to MAX_CALLS calls, at least one, each with the next `rows` rows."""
    _calls(session, matrix, rows=rows, seconds=seconds / 3, most=WARM_CALLS)
    times = _calls(session, matrix, rows=rows, seconds=seconds, most=MAX_CALLS)
    return {"core_ms": [core / 1e6 for core, _ in times], "clock_ms": [clock / 1e6 for _, clock in times]}


def _calls(session: Any, matrix: Any, *, rows: int, seconds: float, most: int) -> list[tuple[int, int]]:
    times: list[tuple[int, int]] = []
    end = perf_counter_ns() + seconds * 1e9
    for number in count():
        batch = matrix[np.arange(number * rows, (number + 1) * rows) % len(matrix)]
        clock, core = perf_counter_ns(), thread_time_ns()
        session.run([OUTPUT], {INPUT: batch})
        times.append((thread_time_ns() - core, perf_counter_ns() - clock))
        if len(times) >= most or perf_counter_ns() >= end:
            break
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
