"""Judging Robust: how much the metric falls when the rows are made worse on purpose.

Not here: the word (spec/gate.py), the disturbances (stages/disturb.py) and the paired bootstrap (stages/metrics.py).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from mlops_assets.spec.gate import LOWER_IS_BETTER, Robust
from mlops_assets.stages.disturb import Disturbances, spread_of
from mlops_assets.stages.evaluate import plain
from mlops_assets.stages.fitted import TEST
from mlops_assets.stages.gates.case import Case, Verdict
from mlops_assets.stages.gates.wording import sentence
from mlops_assets.stages.metrics import Array, Interval, compare, measure

MOST_ROWS = 5000  # for the search of the worst input, which scores them once for each input
EACH_SIDE = 0.975  # both one-sided bounds of a drop together are an interval of 95%


def judge_robust(gate: Robust, name: str, case: Case) -> Verdict:
    """`measured` is the largest fall of the metric under one of the disturbances, with its paired bootstrap interval.

    inf when an answer under any of them is not a probability; nan when the metric is undefined on the test rows.
    """
    disturbed = _disturbances(gate, case).of(case.rows)
    answers = {kind: case.model.predict(rows) for kind, rows in disturbed.items()}
    drops = {kind: _drop(gate.metric, case, after) for kind, after in answers.items()}
    worst = max(drops, key=lambda kind: drops[kind].value)
    culprit, alone = _worst_input(gate, case, disturbed[worst])
    found, passed = drops[worst], drops[worst].value <= gate.max_drop
    return Verdict(
        gate=name,
        passed=passed,
        measured=found.value,
        low=found.low,
        high=found.high,
        bound=gate.max_drop,
        message=sentence(name, _said(gate, worst, found, culprit), passed=passed, advice=_advice(worst, culprit)),
        evidence={
            "metric": gate.metric,
            "undisturbed": plain(measure(gate.metric, case.truth, case.candidate)),
            "disturbances": _told(gate.metric, case, answers, drops),
            "worst": worst,
            "worst_input": culprit,
            "worst_input_drop": plain(alone),
        },
    )


def _disturbances(gate: Robust, case: Case) -> Disturbances:
    signature, known = case.model.signature, case.training_rows.filter(pl.col("split") != TEST)
    spread = spread_of(known, signature.numeric)
    return Disturbances(spread, tuple(signature.categories), noise=gate.noise, share=gate.missing, seed=case.seed)


def _drop(metric: str, case: Case, after: Array) -> Interval:
    if not _are_probabilities(after):
        return Interval(math.inf, math.inf, math.inf)
    gain = compare(metric, case.truth, after, case.candidate, seed=case.seed, resamples=200, confidence=EACH_SIDE)
    return Interval(-gain.difference, -gain.high, -gain.low)


def _are_probabilities(answers: Array) -> bool:
    return bool(((answers >= 0) & (answers <= 1)).all())  # False for nan


def _worst_input(gate: Robust, case: Case, disturbed: pl.DataFrame) -> tuple[str, float]:
    """The input that costs most when it alone is disturbed as in `disturbed`, and what it costs."""
    picked = np.random.default_rng(case.seed).permutation(len(case.rows))[:MOST_ROWS]
    rows, worse, truth, before = case.rows[picked], disturbed[picked], case.truth[picked], case.candidate[picked]
    costs = {
        name: _fall(gate.metric, truth, before, case.model.predict(rows.with_columns(worse[name])))
        for name in case.model.signature.inputs
        if not worse[name].equals(rows[name])
    }
    culprit = max(costs, key=lambda name: costs[name], default="none")
    return culprit, costs.get(culprit, 0.0)


def _fall(metric: str, truth: Array, before: Array, after: Array) -> float:
    if not _are_probabilities(after):
        return math.inf
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return sign * (measure(metric, truth, before) - measure(metric, truth, after))


def _told(metric: str, case: Case, answers: Mapping[str, Array], drops: Mapping[str, Interval]) -> dict[str, Any]:
    def told(kind: str) -> dict[str, Any]:
        after = answers[kind]
        good = _are_probabilities(after)
        broken = int((~((after >= 0) & (after <= 1))).sum())
        value = measure(metric, case.truth, after) if good else math.nan
        return {metric: value, "drop": vars(drops[kind]), "no_probability": broken}

    return plain({kind: told(kind) for kind in answers})


def _said(gate: Robust, worst: str, found: Interval, culprit: str) -> str:
    if math.isinf(found.value):
        return f"under {worst} some answers are not probabilities"
    if math.isnan(found.value):
        return f"{gate.metric} is undefined on these rows (one class only)"
    beside = "stays within" if found.value <= gate.max_drop else "is above"
    return f"{gate.metric} falls most under {worst}, by {found}, which {beside} {gate.max_drop:.3f}; most of it by {culprit}"


def _advice(worst: str, culprit: str) -> str:
    return f"Look at {culprit} under {worst}: bound it in its transform, train with such rows, or leave it out."
