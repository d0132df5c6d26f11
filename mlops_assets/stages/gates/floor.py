"""Judging Floor: the metric on the test rows reaches its bound.

Not here: the word (spec/gate.py) and the metrics (stages/metrics.py).
"""

from mlops_assets.spec.gate import Floor
from mlops_assets.stages.evaluate import Evaluation, plain
from mlops_assets.stages.gates.case import Case, Verdict
from mlops_assets.stages.gates.wording import against, reaches, sentence
from mlops_assets.stages.metrics import Interval

_ADVICE = "Look at the slices and at the drift of the inputs before you train again."


def judge_floor(gate: Floor, name: str, case: Case) -> Verdict:
    """Raises ValueError when the evaluation does not hold the metric."""
    found = _produced(gate.metric, name, case.evaluation)
    passed = reaches(gate.metric, found.value, gate.bound)
    return Verdict(
        gate=name,
        passed=passed,
        measured=found.value,
        low=found.low,
        high=found.high,
        bound=gate.bound,
        message=sentence(name, against(gate.metric, found, gate.bound), passed=passed, advice=_ADVICE),
        evidence={"metric": gate.metric, "rows": case.evaluation.rows, **plain(vars(found))},
    )


def _produced(metric: str, name: str, evaluation: Evaluation) -> Interval:
    if metric not in evaluation.metrics:
        produced = ", ".join(evaluation.metrics)
        raise ValueError(f"{name} · metric {metric!r} is not produced by the evaluation; produced: {produced}. Use one of these.")
    return evaluation.metrics[metric]
