"""Judges Floor: the metric on the test rows reaches its bound."""

import math

from mlops_assets.evaluation.gates.case import Case, Measurement, against, reaches
from mlops_assets.spec.gate import Floor


def judge(gate: Floor, case: Case) -> Measurement:
    measured = case.evaluation.metrics[gate.metric]
    return Measurement(
        passed=reaches(gate.metric, measured.value, gate.bound),
        value=measured,
        bound=gate.bound,
        message=against(gate.metric, measured, gate.bound),
        lacks_data=math.isnan(measured.value),
        advice="Look at the slices and at the drift of the inputs before you train again.",
        evidence={"metric": gate.metric, "rows": case.evaluation.rows, **vars(measured)},
    )
