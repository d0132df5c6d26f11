"""Judging Budget: what the candidate cost to train and what its file weighs.

Not here: the word (spec/gate.py) and the timing (stages/train_and_track.py).
"""

import math

from mlops_assets.spec.gate import Budget
from mlops_assets.stages.evaluate import plain
from mlops_assets.stages.gates.case import Case, Verdict
from mlops_assets.stages.gates.wording import sentence
from mlops_assets.stages.training_record import TRAIN_SECONDS

_ADVICE = "Shrink the trainer or the search, or widen the budget."
_UNTIMED = "the candidate carries no time of its training. Train again."


def judge_budget(gate: Budget, name: str, case: Case) -> Verdict:
    """`measured` is the largest share of a bound that is used up, nan where the candidate says no training time."""
    used = {"train_seconds": _train_seconds(case), "megabytes": len(case.onnx) / 1e6}
    bounds = {"train_seconds": gate.max_train_seconds, "megabytes": gate.max_megabytes}
    shares = {what: used[what] / bound for what, bound in bounds.items() if bound is not None}
    measured = math.nan if any(map(math.isnan, shares.values())) else max(shares.values())  # max() may pass over a nan
    passed = measured <= 1
    said = ", ".join(f"{used[what]:,.4g} of {bounds[what]:,.4g} {what.replace('_', ' ')}" for what in shares)
    return Verdict(
        gate=name,
        passed=passed,
        measured=measured,
        bound=1.0,
        message=f"{name} · {_UNTIMED}" if math.isnan(measured) else sentence(name, said, passed=passed, advice=_ADVICE),
        evidence=plain({"shares": shares, "bounds": bounds, **used}),
    )


def _train_seconds(case: Case) -> float:
    return float(case.training.get(TRAIN_SECONDS, "nan"))
