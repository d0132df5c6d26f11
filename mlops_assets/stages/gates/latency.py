"""Judging Latency: the model file timed in a fresh process of its own, warm, on one thread.

Belongs here: that process and what its times mean. Not here: the word (spec/gate.py), the calls (time_model.py), and how
long the service takes, with its queues and look-ups, which the rollout watches.
"""

import json
import math
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from scipy.stats import binom

from mlops_assets.spec.gate import Latency
from mlops_assets.stages.gates.case import Case, Verdict
from mlops_assets.stages.gates.wording import sentence
from mlops_assets.stages.metrics import Array, Interval

CALL_SECONDS, CHILD_SECONDS = 2.0, 30.0
"""How long calls are made, and how long the whole process may take; it starts in about 0.5 s."""
DISTINCT_ROWS = 1000
Times = dict[str, Array]
_ADVICE = "Take a smaller model, or fewer rows a call."


class Untimed(RuntimeError):
    """The process that times a model ended without times."""


def judge_latency(gate: Latency, name: str, case: Case) -> Verdict:
    """`measured` is the 99th percentile of what a call takes of one core, in ms. Six busy neighbours on two cores raise it
    from 4.5 to 5.5, and the time by the clock from 18 to 113. A process that crashes or takes too long has not passed.
    """
    matrix = case.model.signature.encode(case.rows.head(max(DISTINCT_ROWS, gate.rows)))
    try:
        times = timed(case.onnx, matrix, rows=gate.rows)
    except Untimed as error:
        return _untimed(gate, name, str(error))
    found = p99(times["core_ms"])
    passed = found.value <= gate.p99_ms
    calls = f"{len(times['core_ms'])} calls of {gate.rows} rows"
    said = f"p99 {_shown(found)} ms of one core over {calls} {'stays within' if passed else 'is above'} {gate.p99_ms:g} ms"
    return Verdict(
        gate=name,
        passed=passed,
        measured=found.value,
        low=found.low,
        high=found.high,
        bound=gate.p99_ms,
        message=sentence(name, said, passed=passed, advice=_ADVICE),
        evidence={"calls": len(times["core_ms"]), "rows": gate.rows} | _quantiles(times),
    )


def timed(onnx: bytes, matrix: Array, *, rows: int, timeout: float = CHILD_SECONDS) -> Times:
    """What each call of the model with `rows` of the rows in `matrix` (n, inputs) took, in ms: core_ms and clock_ms.

    Raises Untimed with what the process said when it crashes, and when it takes longer than `timeout` seconds.
    """
    with TemporaryDirectory() as folder:
        model, inputs = Path(folder) / "model.onnx", Path(folder) / "rows.npy"
        model.write_bytes(onnx)
        np.save(inputs, matrix)
        arguments = [str(model), str(inputs), str(rows), str(CALL_SECONDS)]
        command = [sys.executable, "-m", f"{__package__}.time_model", *arguments]
        try:
            done = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise Untimed(f"no {rows}-row calls were timed within {timeout:g} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Untimed(f"the process ended with {done.returncode}: {said[-1] if said else 'without a word'}")
    return {name: np.array(values) for name, values in json.loads(done.stdout).items()}


def p99(times: Array) -> Interval:
    """The 99th percentile of (n,) times, between two of them that hold it with 95% confidence whatever their distribution.

    Order statistics (David and Nagaraja 2003, section 7.1): the number of times below the percentile is binomial. `high` is
    nan below 368 times, too few to bound it from above.
    """
    ordered = np.sort(times)
    lowest, highest = cast(Any, binom).ppf((0.025, 0.975), len(times), 0.99).astype(int)
    high = float(ordered[highest]) if highest < len(times) else math.nan
    return Interval(_quantile(times, 0.99), float(ordered[lowest - 1]), high)


def _quantiles(times: Times) -> dict[str, float]:
    shares = {"p50": 0.5, "p99": 0.99}
    return {f"{name}_{said}": _quantile(values, share) for name, values in times.items() for said, share in shares.items()}


def _quantile(times: Array, share: float) -> float:
    return float(np.quantile(times, share, method="inverted_cdf"))


def _shown(found: Interval) -> str:
    return f"{found.value:.3f} (at least {found.low:.3f})" if math.isnan(found.high) else str(found)


def _untimed(gate: Latency, name: str, why: str) -> Verdict:
    return Verdict(
        gate=name,
        passed=False,
        bound=gate.p99_ms,
        message=sentence(name, why, passed=False, advice="Try the model file by hand."),
        evidence={"calls": 0, "rows": gate.rows, "said": why},
    )
