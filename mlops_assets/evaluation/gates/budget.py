"""Judges Budget: training time and model file size."""

import math

from mlops_assets.evaluation.gates.case import Case, Measurement
from mlops_assets.spec.gate import Budget
from mlops_assets.statistics.metrics import Interval
from mlops_assets.training.training_record import TRAIN_SECONDS


def judge(gate: Budget, case: Case) -> Measurement:
    """Measures the largest used share of a bound; nan, and no pass, when the candidate has no training time."""
    used = {"train_seconds": float(case.training.get(TRAIN_SECONDS, "nan")), "megabytes": len(case.onnx) / 1e6}
    bounds = {"train_seconds": gate.max_train_seconds, "megabytes": gate.max_megabytes}
    shares = {name: used[name] / bound for name, bound in bounds.items() if bound is not None}
    timed = not any(map(math.isnan, shares.values()))
    share = max(shares.values()) if timed else math.nan
    amounts = ", ".join(f"{used[name]:,.4g} of {bounds[name]:,.4g} {name.replace('_', ' ')}" for name in shares)
    return Measurement(
        passed=share <= 1,
        value=Interval(share),
        bound=1.0,
        message=amounts if timed else "the candidate has no training time",
        advice="Shrink the trainer or the search, or widen the budget." if timed else "Train again.",
        evidence={"shares": shares, "bounds": bounds, **used},
    )
