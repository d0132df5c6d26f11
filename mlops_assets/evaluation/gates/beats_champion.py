"""Judges BeatsChampion: better than the champion on the same rows."""

import math

from mlops_assets.evaluation.gates.case import Case, Measurement
from mlops_assets.spec.gate import BeatsChampion
from mlops_assets.statistics.metrics import Interval, compare, measure


def judge(gate: BeatsChampion, case: Case) -> Measurement:
    """Measures the low end of the difference: the smallest improvement that the gate's confidence supports."""
    if case.champion is None:
        version, problem = case.evaluation.champion, case.evaluation.champion_problem
        unscored = f"champion {version} cannot be scored on these rows ({problem})"
        champion = unscored if problem else "there is no champion to beat yet"
        evidence = {"champion": version} | ({"champion_problem": problem} if problem else {})
        return Measurement(passed=True, bound=0.0, message=f"{champion}, so this gate passes", evidence=evidence)
    metric = gate.metric or case.task.main_metric
    ours, theirs = case.sample(case.candidate), case.sample(case.champion)
    gain = compare(metric, ours, theirs, seed=case.seed, confidence=gate.confidence)
    champion = f"champion {case.evaluation.champion} on the same rows"
    least = f"at least {gain.low:+.4f} with {gate.confidence:.0%} confidence"
    message = f"{metric} {gain.difference:+.4f} against {champion}, {least}"
    advice = "Keep the champion; train on newer rows or change the trainer."
    if math.isnan(gain.difference):
        message, advice = (f"{metric} is undefined on these rows, so the candidate cannot beat {champion}", "Widen split.test.")
    elif not gain.better:
        message = f"no better: {message}, which is not above 0"
    return Measurement(
        passed=gain.better,
        value=Interval(gain.low, gain.low, gain.high),
        bound=0.0,
        lacks_data=math.isnan(gain.difference),
        message=message,
        advice=advice,
        evidence={
            "champion": case.evaluation.champion,
            "metric": metric,
            "candidate": measure(metric, ours),
            "champion_value": measure(metric, theirs),
            "confidence": gate.confidence,
            **vars(gain),
        },
    )
