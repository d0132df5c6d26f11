"""Judges Robust: how much the metric falls when the rows are perturbed (evaluation/perturb.py)."""

import math
from typing import Any

import numpy as np
import polars as pl

from mlops_assets.evaluation.gates.case import Case, Measurement
from mlops_assets.evaluation.perturb import Perturbations, spread_of
from mlops_assets.spec.gate import LOWER_IS_BETTER, Robust
from mlops_assets.statistics.metrics import Array, Interval, compare, measure
from mlops_assets.training.fitted import TEST

MOST_ROWS = 5000  # for the worst input, which takes one scoring per input
SIDE_CONFIDENCE = 0.975  # two one-sided bounds of it make an interval of 95%


def judge(gate: Robust, case: Case) -> Measurement:
    """Measures the largest fall of the metric under one of the perturbations, with its paired bootstrap interval.

    inf when a score under any of them is not a probability; nan when the metric is undefined on the test rows.
    """
    signature, known = case.model.signature, case.training_rows.filter(pl.col("split") != TEST)
    spread = spread_of(known, signature.numeric)
    perturb = Perturbations(spread, tuple(signature.categories), noise=gate.noise, share=gate.missing, seed=case.seed)
    perturbed = perturb.of(case.rows)
    scores = {kind: case.model.predict(rows) for kind, rows in perturbed.items()}
    drops = {kind: _drop(gate.metric, case, after) for kind, after in scores.items()}
    worst = max(drops, key=lambda kind: drops[kind].value)
    culprit, alone = _worst_input(gate, case, perturbed[worst])
    return Measurement(
        passed=drops[worst].value <= gate.max_drop,
        value=drops[worst],
        bound=gate.max_drop,
        message=_message(gate, worst, drops[worst], culprit),
        advice=f"Look at {culprit} under {worst}: bound it in its transform, train with such rows, or leave it out.",
        evidence={
            "metric": gate.metric,
            "unperturbed": measure(gate.metric, case.truth, case.candidate),
            "perturbations": {kind: _numbers(gate.metric, case, scores[kind], drops[kind]) for kind in scores},
            "worst": worst,
            "worst_input": culprit,
            "worst_input_drop": alone,
        },
    )


def _drop(metric: str, case: Case, after: Array) -> Interval:
    if _invalid(after):
        return Interval(math.inf, math.inf, math.inf)
    gain = compare(metric, case.truth, after, case.candidate, seed=case.seed, resamples=200, confidence=SIDE_CONFIDENCE)
    return Interval(-gain.difference, -gain.high, -gain.low)


def _invalid(scores: Array) -> int:
    """How many scores are not probabilities."""
    return int((~((scores >= 0) & (scores <= 1))).sum())  # nan is outside of every range


def _worst_input(gate: Robust, case: Case, perturbed: pl.DataFrame) -> tuple[str, float]:
    """The input with the largest fall when it alone is perturbed as in `perturbed`, and that fall."""
    sample = np.random.default_rng(case.seed).permutation(len(case.rows))[:MOST_ROWS]
    rows, worse, truth, before = case.rows[sample], perturbed[sample], case.truth[sample], case.candidate[sample]
    falls = {
        name: _fall(gate.metric, truth, before, case.model.predict(rows.with_columns(worse[name])))
        for name in case.model.signature.inputs
        if not worse[name].equals(rows[name])
    }
    culprit = max(falls, key=lambda name: falls[name], default="none")
    return culprit, falls.get(culprit, 0.0)


def _fall(metric: str, truth: Array, before: Array, after: Array) -> float:
    if _invalid(after):
        return math.inf
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return sign * (measure(metric, truth, before) - measure(metric, truth, after))


def _numbers(metric: str, case: Case, after: Array, drop: Interval) -> dict[str, Any]:
    invalid = _invalid(after)
    value = math.nan if invalid else measure(metric, case.truth, after)
    return {metric: value, "drop": vars(drop), "no_probability": invalid}


def _message(gate: Robust, worst: str, drop: Interval, culprit: str) -> str:
    if math.isinf(drop.value):
        return f"under {worst} some scores are not probabilities"
    if math.isnan(drop.value):
        return f"{gate.metric} is undefined on these rows (one class only)"
    side = "stays within" if drop.value <= gate.max_drop else "is above"
    return f"{gate.metric} falls most under {worst}, by {drop}, which {side} {gate.max_drop:.3f}; most of it by {culprit}"
