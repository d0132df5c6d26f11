"""Judging EverySlice: no group of rows is served badly behind a good average.

Not here: the word (spec/gate.py), the making of slices (stages/evaluate.py) and gaps between groups (fair.py).
"""

from collections.abc import Callable
from typing import Any

import polars as pl

from mlops_assets.spec.gate import LOWER_IS_BETTER, EverySlice
from mlops_assets.stages.evaluate import plain
from mlops_assets.stages.gates.case import Case, Verdict
from mlops_assets.stages.gates.wording import against, reaches, sentence
from mlops_assets.stages.metrics import Interval, interval

Slice = dict[str, Any]


def judge_every_slice(gate: EverySlice, name: str, case: Case) -> Verdict:
    """`measured` is the metric of the worst value. Raises ValueError when the evaluation has no slices by the column."""
    every = _slices(gate, name, case)
    judged = [one for one in every if one["rows"] >= gate.min_rows and 0 < one["positives"] < one["rows"]]
    evidence: dict[str, Any] = {"column": gate.column, "judged": len(judged), "skipped": len(every) - len(judged)}
    if not judged:
        return _too_small(gate, name, len(every), evidence)
    worst = min(judged, key=_quality(gate.metric))
    found = _interval(gate, worst["value"], case)
    passed = reaches(gate.metric, found.value, gate.bound)
    failing = [one["value"] for one in judged if not reaches(gate.metric, one["metrics"][gate.metric], gate.bound)]
    said = f"worst of {len(judged)} values of {gate.column} is {worst['value']} ({worst['rows']} rows): "
    said += f"{against(gate.metric, found, gate.bound)}. {evidence['skipped']} skipped as too small"
    advice = f"Failing: {', '.join(failing)}. Look at these rows, or give the model an input that tells them apart."
    return Verdict(
        gate=name,
        passed=passed,
        measured=found.value,
        low=found.low,
        high=found.high,
        bound=gate.bound,
        message=sentence(name, said, passed=passed, advice=advice),
        evidence={**evidence, "worst": worst["value"], "failing": failing, **plain(vars(found))},
    )


def _slices(gate: EverySlice, name: str, case: Case) -> list[Slice]:
    every = [one for one in case.evaluation.slices if one["column"] == gate.column]
    if not every:
        held = ", ".join(sorted({one["column"] for one in case.evaluation.slices})) or "none"
        raise ValueError(f"{name} · the evaluation has no slices by {gate.column!r}; it has: {held}. Add it to `slices`.")
    return every


def _too_small(gate: EverySlice, name: str, values: int, evidence: dict[str, Any]) -> Verdict:
    said = f"none of {values} values of {gate.column} has {gate.min_rows} rows of both classes"
    return Verdict(
        gate=name,
        passed=False,
        bound=gate.bound,
        message=sentence(name, said, passed=False, advice="Widen split.test."),
        evidence=evidence,
    )


def _quality(metric: str) -> Callable[[Slice], float]:
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return lambda one: sign * one["metrics"][metric]


def _interval(gate: EverySlice, value: str, case: Case) -> Interval:
    inside = (case.rows[gate.column].cast(pl.String) == value).fill_null(False).to_numpy()
    return interval(gate.metric, case.truth[inside], case.candidate[inside], seed=case.seed)
