"""Judging BeatsChampion: better than the live champion on the same rows, or an honest `no better`.

Not here: the word (spec/gate.py) and the paired bootstrap (stages/metrics.py).
"""

import math

from mlops_assets.spec.gate import BeatsChampion
from mlops_assets.stages.evaluate import plain
from mlops_assets.stages.gates.case import Case, Verdict
from mlops_assets.stages.metrics import Comparison, compare, measure


def judge_beats_champion(gate: BeatsChampion, name: str, case: Case) -> Verdict:
    """`measured` is the low end of the difference: what the candidate is better by, at the least, with the gate's confidence."""
    if case.champion is None:
        return _unrivalled(name)
    found = compare(gate.metric, case.truth, case.candidate, case.champion, seed=case.seed, confidence=gate.confidence)
    return Verdict(
        gate=name,
        passed=found.better,
        measured=found.low,
        low=found.low,
        high=found.high,
        bound=0.0,
        message=f"{name} · {_beside(gate, case.evaluation.champion, found)}",
        evidence={
            "champion": case.evaluation.champion,
            "metric": gate.metric,
            "candidate": plain(measure(gate.metric, case.truth, case.candidate)),
            "champion_value": plain(measure(gate.metric, case.truth, case.champion)),
            "confidence": gate.confidence,
            **plain(vars(found)),
        },
    )


def _unrivalled(name: str) -> Verdict:
    return Verdict(
        gate=name,
        passed=True,
        bound=0.0,
        message=f"{name} · there is no champion to beat yet, so this gate passes.",
        evidence={"champion": None},
    )


def _beside(gate: BeatsChampion, champion: str | None, found: Comparison) -> str:
    rival = f"champion {champion} on the same rows"
    if math.isnan(found.difference):
        return f"{gate.metric} is undefined on these rows, so the candidate cannot beat {rival}. Widen split.test."
    least = f"at least {found.low:+.4f} with {gate.confidence:.0%} confidence"
    measured = f"{gate.metric} {found.difference:+.4f} beside {rival}, {least}"
    if found.better:
        return f"{measured}."
    return f"no better: {measured}, which is not above 0. Keep the champion; train on newer rows or change the trainer."
