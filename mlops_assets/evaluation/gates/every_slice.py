"""Judges EverySlice: no group of rows is served badly behind a good average. Gaps between groups are in fair.py."""

from typing import Any

import polars as pl

from mlops_assets.evaluation.gates.case import Case, Measurement, against, reaches
from mlops_assets.spec.gate import LOWER_IS_BETTER, EverySlice
from mlops_assets.statistics.metrics import interval


def judge(gate: EverySlice, case: Case) -> Measurement:
    """Measures the metric of the worst value."""
    slices = [part for part in case.evaluation.slices if part["column"] == gate.column]
    judged = [part for part in slices if part["rows"] >= gate.min_rows and case.task.informative_rows(part)]
    judged = [part for part in judged if part["metrics"][gate.metric] is not None]
    evidence: dict[str, Any] = {"column": gate.column, "judged": len(judged), "skipped": len(slices) - len(judged)}
    if problem := case.evaluation.champion_problem:  # the slices then have no comparison
        evidence["champion_problem"] = problem
    if not judged:
        message = f"none of {len(slices)} values of {gate.column} has {gate.min_rows} rows of both classes"
        advice = "Widen split.test."
        return Measurement(passed=False, bound=gate.bound, message=message, advice=advice, evidence=evidence, lacks_data=True)
    sign = -1 if gate.metric in LOWER_IS_BETTER else 1
    worst = min(judged, key=lambda part: sign * part["metrics"][gate.metric])
    inside = (case.rows[gate.column].cast(pl.String) == worst["value"]).fill_null(False).to_numpy()
    measured = interval(gate.metric, case.sample(case.candidate, inside), seed=case.seed)
    failing = [part["value"] for part in judged if not reaches(gate.metric, part["metrics"][gate.metric], gate.bound)]
    message = f"worst of {len(judged)} values of {gate.column} is {worst['value']} ({worst['rows']} rows): "
    return Measurement(
        passed=reaches(gate.metric, measured.value, gate.bound),
        value=measured,
        bound=gate.bound,
        message=f"{message}{against(gate.metric, measured, gate.bound)}. {evidence['skipped']} skipped as too small",
        advice=f"Failing: {', '.join(failing)}. Look at these rows, or add an input that distinguishes them.",
        evidence={**evidence, "worst": worst["value"], "failing": failing, **vars(measured)},
    )
