"""Gates over an evaluation: what was measured, against which bound, and the verdict in one sentence.

Belongs here: how each gate word judges. Not here: the words (spec/gate.py), the gates' names (gate_names.py) and the
evidence (evaluate.py).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import polars as pl

from mlops_assets.spec.gate import LOWER_IS_BETTER, BeatsChampion, Calibrated, EverySlice, Floor, Gate, NoSkew
from mlops_assets.stages.evaluate import Evaluation, plain
from mlops_assets.stages.gate_names import gate_names
from mlops_assets.stages.metrics import Array, Interval, compare, interval, measure
from mlops_assets.stages.skew import Parity


@dataclass(frozen=True)
class Verdict:
    """One gate's answer. `measured` is nan where it is undefined (which never passes) or where nothing was to measure.

    `evidence` holds plain JSON-able values only.
    """

    gate: str
    passed: bool
    measured: float
    bound: float
    message: str
    evidence: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values; an undefined number is None."""
        return cast(dict[str, Any], plain(vars(self)))


@dataclass(frozen=True)
class _Case:
    """What lies before the judge: the evidence, and the rows it was made from."""

    evaluation: Evaluation
    truth: Array
    candidate: Array
    champion: Array | None
    rows: pl.DataFrame
    parity: Parity | None
    seed: int


def judge(
    gates: tuple[Gate, ...],
    evaluation: Evaluation,
    *,
    truth: Array,
    candidate_probability: Array,
    champion_probability: Array | None,
    rows: pl.DataFrame,
    parity: Parity | None = None,
    seed: int,
) -> tuple[Verdict, ...]:
    """One verdict per gate, in order. The (n,) arrays and `rows` are those the evaluation was made from; `parity` is the newest
    comparison of served with recomputed features, None before the first.

    Raises ValueError when a gate asks for a metric or a slice that the evaluation does not hold.
    """
    case = _Case(evaluation, truth, candidate_probability, champion_probability, rows, parity, seed)
    return tuple(_judged(gate, name, case) for gate, name in zip(gates, gate_names(gates), strict=True))


def _judged(gate: Gate, name: str, case: _Case) -> Verdict:
    match gate:
        case Floor():
            return _floor(gate, name, case)
        case BeatsChampion():
            return _beats_champion(gate, name, case)
        case Calibrated():
            return _calibrated(gate, name, case)
        case EverySlice():
            return _every_slice(gate, name, case)
        case NoSkew():
            return _no_skew(gate, name, case)


def _floor(gate: Floor, name: str, case: _Case) -> Verdict:
    found = _produced(gate.metric, name, case.evaluation)
    passed = _reaches(gate.metric, found.value, gate.bound)
    advice = "Look at the slices and at the drift of the inputs before you train again."
    return Verdict(
        gate=name,
        passed=passed,
        measured=found.value,
        bound=gate.bound,
        message=f"{name} · {_against(gate.metric, found, gate.bound)}." + ("" if passed else f" {advice}"),
        evidence={"metric": gate.metric, "rows": case.evaluation.rows, **plain(vars(found))},
    )


def _beats_champion(gate: BeatsChampion, name: str, case: _Case) -> Verdict:
    if case.champion is None:
        message = f"{name} · there is no champion to beat yet, so this gate passes."
        return Verdict(name, passed=True, measured=math.nan, bound=0.0, message=message, evidence={"champion": None})
    found = compare(gate.metric, case.truth, case.candidate, case.champion, seed=case.seed, confidence=gate.confidence)
    return Verdict(
        gate=name,
        passed=found.better,
        measured=found.low,
        bound=0.0,
        message=f"{name} · {_beside(gate, case.evaluation.champion, found.difference, found.low)}",
        evidence={
            "champion": case.evaluation.champion,
            "metric": gate.metric,
            "candidate": plain(measure(gate.metric, case.truth, case.candidate)),
            "champion_value": plain(measure(gate.metric, case.truth, case.champion)),
            "confidence": gate.confidence,
            **plain(vars(found)),
        },
    )


def _beside(gate: BeatsChampion, champion: str | None, difference: float, low: float) -> str:
    against = f"champion {champion} on the same rows"
    if math.isnan(difference):
        return f"{gate.metric} is undefined on these rows, so the candidate cannot beat {against}. Widen split.test."
    measured = f"{gate.metric} {difference:+.4f} beside {against}, at least {low:+.4f} with {gate.confidence:.0%} confidence"
    if low > 0:
        return f"{measured}."
    return f"no better: {measured}, which is not above 0. Keep the champion; train on newer rows or change the trainer."


def _calibrated(gate: Calibrated, name: str, case: _Case) -> Verdict:
    found = interval("ece", case.truth, case.candidate, seed=case.seed, bins=gate.bins)
    passed = _reaches("ece", found.value, gate.max_ece)
    leaning = float(np.mean(case.candidate) - np.mean(case.truth))
    direction = "high" if leaning > 0 else "low"
    advice = f"Probabilities lie {abs(leaning):.3f} too {direction} on average; recalibrate on newer validation rows."
    return Verdict(
        gate=name,
        passed=passed,
        measured=found.value,
        bound=gate.max_ece,
        message=f"{name} · {_against('ece', found, gate.max_ece)}." + ("" if passed else f" {advice}"),
        evidence={"bins": gate.bins, "mean_gap": leaning, "calibration": case.evaluation.calibration, **plain(vars(found))},
    )


def _every_slice(gate: EverySlice, name: str, case: _Case) -> Verdict:
    every = [one for one in case.evaluation.slices if one["column"] == gate.column]
    if not every:
        held = ", ".join(sorted({one["column"] for one in case.evaluation.slices})) or "none"
        raise ValueError(f"{name} · the evaluation has no slices by {gate.column!r}; it has: {held}. Add it to `slices`.")
    judged = [one for one in every if one["rows"] >= gate.min_rows and 0 < one["positives"] < one["rows"]]
    skipped = len(every) - len(judged)
    evidence: dict[str, Any] = {"column": gate.column, "judged": len(judged), "skipped": skipped}
    if not judged:
        none = f"none of {len(every)} values of {gate.column} has {gate.min_rows} rows of both classes"
        message = f"{name} · {none}. Widen split.test."
        return Verdict(name, passed=False, measured=math.nan, bound=gate.bound, message=message, evidence=evidence)
    worst = min(judged, key=_quality(gate.metric))
    found = _slice_interval(gate, worst["value"], case)
    passed = _reaches(gate.metric, found.value, gate.bound)
    failing = [one["value"] for one in judged if not _reaches(gate.metric, one["metrics"][gate.metric], gate.bound)]
    said = f"worst of {len(judged)} values of {gate.column} is {worst['value']} ({worst['rows']} rows): "
    said += f"{_against(gate.metric, found, gate.bound)}. {skipped} skipped as too small."
    advice = f" Failing: {', '.join(failing)}. Look at these rows, or give the model an input that tells them apart."
    return Verdict(
        gate=name,
        passed=passed,
        measured=found.value,
        bound=gate.bound,
        message=f"{name} · {said}" + ("" if passed else advice),
        evidence={**evidence, "worst": worst["value"], "failing": failing, **plain(vars(found))},
    )


def _no_skew(gate: NoSkew, name: str, case: _Case) -> Verdict:
    found, bound = case.parity, gate.max_mismatch_rate
    rows = found.rows if found else 0
    if found is None or rows < gate.min_rows:
        compared = f"only {rows} answers have been compared" if rows else "nothing has been served yet"
        message = f"{name} · {compared}; {gate.min_rows} are needed to tell, so this gate passes."
        return Verdict(name, passed=True, measured=math.nan, bound=bound, message=message, evidence={"rows": rows})
    passed = found.mismatch_rate <= bound
    advice = "Look at the examples on the skew asset and correct what differs; the next answers then show it."
    return Verdict(
        gate=name,
        passed=passed,
        measured=found.mismatch_rate,
        bound=bound,
        message=f"{name} · {found.sentence(bound)}" + ("" if passed else f" {advice}"),
        evidence=found.to_dict(),
    )


def _quality(metric: str) -> Callable[[dict[str, Any]], float]:
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return lambda one: sign * one["metrics"][metric]


def _slice_interval(gate: EverySlice, value: str, case: _Case) -> Interval:
    inside = (case.rows[gate.column].cast(pl.String) == value).fill_null(False).to_numpy()
    return interval(gate.metric, case.truth[inside], case.candidate[inside], seed=case.seed)


def _produced(metric: str, name: str, evaluation: Evaluation) -> Interval:
    if metric not in evaluation.metrics:
        produced = ", ".join(evaluation.metrics)
        raise ValueError(f"{name} · metric {metric!r} is not produced by the evaluation; produced: {produced}. Use one of these.")
    return evaluation.metrics[metric]


def _reaches(metric: str, value: float, bound: float) -> bool:
    return value <= bound if metric in LOWER_IS_BETTER else value >= bound


def _against(metric: str, found: Interval, bound: float) -> str:
    if math.isnan(found.value):
        return f"{metric} is undefined on these rows (one class only)"
    reached = _reaches(metric, found.value, bound)
    if metric in LOWER_IS_BETTER:
        return f"{found} {'stays within' if reached else 'is above'} {bound:.3f}"
    return f"{found} {'reaches' if reached else 'is below'} {bound:.3f}"
