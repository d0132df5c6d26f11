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
INPUT, OUTPUT = "features", "probability"  # as training/signature.py, which opens polars


def time_calls(session: Any, matrix: Any, *, rows: int, seconds: float) -> dict[str, list[float]]:
    """After a warm-up of at most a third of `seconds`: up to MAX_CALLS calls, at least one, each with the next `rows` rows."""
    _calls(session, matrix, rows=rows, seconds=seconds / 3, most=WARM_CALLS)
    taken = _calls(session, matrix, rows=rows, seconds=seconds, most=MAX_CALLS)
    return {"core_ms": [core / 1e6 for core, _ in taken], "clock_ms": [clock / 1e6 for _, clock in taken]}


def _calls(session: Any, matrix: Any, *, rows: int, seconds: float, most: int) -> list[tuple[int, int]]:
    taken: list[tuple[int, int]] = []
    end = perf_counter_ns() + seconds * 1e9
    for number in count():
        batch = matrix[np.arange(number * rows, (number + 1) * rows) % len(matrix)]
        clock, core = perf_counter_ns(), thread_time_ns()
        session.run([OUTPUT], {INPUT: batch})
        taken.append((thread_time_ns() - core, perf_counter_ns() - clock))
        if len(taken) >= most or perf_counter_ns() >= end:
            break
    return taken


def open_session(path: str) -> Any:
    """One thread, as the service opens a model; with it a call's work is done by the thread that is timed."""
    import onnxruntime

    options = cast(Any, onnxruntime.SessionOptions())
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(Path(path).read_bytes(), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    model, rows_file, per_call, how_long = sys.argv[1:]
    taken = time_calls(open_session(model), np.load(rows_file), rows=int(per_call), seconds=float(how_long))
    sys.stdout.write(json.dumps(taken))
