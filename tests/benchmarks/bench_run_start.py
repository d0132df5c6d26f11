"""How long a run of heavy imports takes from its launch to its end: the first one, and one forked after the server has imported
what the first one did. It ends with code 1 when the later one takes more than half as long.
"""

import sys
import tempfile
import time
from pathlib import Path

import dagster as dg

from tests.graph.kernel.launched_runs import Runs

# Those of the training and the monitors of flight_delay.
IMPORTS, MAX_RATIO = "evidently, matplotlib.pyplot, mlflow, onnxruntime, polars, pytorch_lightning", 0.5


def seconds(runs: Runs) -> float:
    began = time.monotonic()
    if runs.end(runs.launch()) is not dg.DagsterRunStatus.SUCCESS:
        raise SystemExit("a run failed")
    return time.monotonic() - began


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder), IMPORTS)
        with runs.instance:
            first = seconds(runs)
            runs.wait_until_loaded()
            later = min(seconds(runs) for _ in range(3))
        runs.stop()
    print(f"first run {first:.1f} s, later runs {later:.1f} s: {later / first:.2f} of it, at most {MAX_RATIO}")
    return int(later / first > MAX_RATIO)


if __name__ == "__main__":
    sys.exit(main())
