"""Judging Calibrated: probabilities that mean what they say.

Not here: the word (spec/gate.py) and the calibration error (stages/metrics.py).
"""

import numpy as np

from mlops_assets.spec.gate import Calibrated
from mlops_assets.stages.evaluate import plain
from mlops_assets.stages.gates.case import Case, Verdict
from mlops_assets.stages.gates.wording import against, reaches, sentence
from mlops_assets.stages.metrics import interval


def judge_calibrated(gate: Calibrated, name: str, case: Case) -> Verdict:
    """`measured` is the expected calibration error over the gate's equal-count bins."""
    found = interval("ece", case.truth, case.candidate, seed=case.seed, bins=gate.bins)
    passed = reaches("ece", found.value, gate.max_ece)
    leaning = float(np.mean(case.candidate) - np.mean(case.truth))
    return Verdict(
        gate=name,
        passed=passed,
        measured=found.value,
        low=found.low,
        high=found.high,
        bound=gate.max_ece,
        message=sentence(name, against("ece", found, gate.max_ece), passed=passed, advice=_advice(leaning)),
        evidence={"bins": gate.bins, "mean_gap": leaning, "calibration": case.evaluation.calibration, **plain(vars(found))},
    )


def _advice(leaning: float) -> str:
    direction = "high" if leaning > 0 else "low"
    return f"Probabilities lie {abs(leaning):.3f} too {direction} on average; recalibrate on newer validation rows."
