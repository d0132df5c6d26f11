"""Applies every declared gate to one candidate."""

from mlops_assets.evaluation.evaluate import plain
from mlops_assets.evaluation.gates.case import Case, Measurement, Verdict
from mlops_assets.foundation.implementation import call
from mlops_assets.foundation.verdict import Verdict as Word
from mlops_assets.spec.gate import Gate, gate_names
from mlops_assets.tasks.task import as_text

NOT_ENOUGH_DATA = Word.NOT_ENOUGH_DATA


def judge(gates: tuple[Gate, ...], case: Case) -> tuple[Verdict, ...]:
    """One verdict per gate, in order. Raises ValueError when a gate reads a column that the case lacks."""
    verdicts: list[Verdict] = []
    constant = _constant(case)
    for index, (gate, name) in enumerate(zip(gates, gate_names(gates), strict=True)):
        measurement = constant if constant and not index else call(gate, Measurement, case)
        measured, advice = measurement.value, "" if measurement.passed or not measurement.advice else f" {measurement.advice}"
        lacks = f"{NOT_ENOUGH_DATA}: " if NOT_ENOUGH_DATA in measurement.result else ""
        message = f"{name} · {lacks}{measurement.message.removesuffix('.')}.{advice}"
        bounds = (measured.value, measured.low, measured.high, measurement.bound)
        verdicts.append(
            Verdict(name, measurement.passed, *bounds, message, evidence=plain(measurement.evidence), result=measurement.result)
        )
    return tuple(verdicts)


def _constant(case: Case) -> Measurement | None:
    """The result of the first gate for a candidate that tells no rows apart: it would pass those that need a champion."""
    if len(case.candidate) < 2 or not (case.candidate == case.candidate[0]).all():
        return None
    rows, output = len(case.candidate), as_text(case.candidate[0])
    message = f"all predictions on the {rows:,} test rows are {output}, so the candidate has learned nothing from its inputs"
    advice = "Train on more rows, correct the inputs, or change the trainer's settings."
    return Measurement(passed=False, bound=0.0, message=message, advice=advice, evidence={"rows": rows, "output": output})
