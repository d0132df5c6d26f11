"""Judges Calibrated: predicted probabilities agree with the observed shares."""

from mlops_assets.evaluation.gates.case import Case, Measurement, against, reaches
from mlops_assets.spec.gate import Calibrated
from mlops_assets.statistics.metrics import interval


def judge(gate: Calibrated, case: Case) -> Measurement:
    """Measures the expected calibration error over the gate's equal-count bins."""
    error = interval("ece", case.task.sample(case.truth, case.candidate, bins=gate.bins), seed=case.seed)
    observed, predicted = case.task.means(case.truth, case.candidate).values()
    bias = predicted - observed
    direction = "high" if bias > 0 else "low"
    return Measurement(
        passed=reaches("ece", error.value, gate.max_ece),
        value=error,
        bound=gate.max_ece,
        message=against("ece", error, gate.max_ece),
        advice=f"Probabilities are {abs(bias):.3f} too {direction} on average; recalibrate on newer validation rows.",
        evidence={"bins": gate.bins, "mean_gap": bias, "calibration": case.evaluation.details["calibration"], **vars(error)},
    )
