"""Applies every declared gate to one candidate: JUDGES maps each gate class to the module that measures it."""

from collections.abc import Callable
from typing import Any

from mlops_assets.evaluation.evaluate import plain
from mlops_assets.evaluation.gates import (
    beats_champion,
    budget,
    calibrated,
    every_slice,
    fair,
    floor,
    latency,
    no_leak,
    no_pii,
    no_skew,
    robust,
)
from mlops_assets.evaluation.gates.case import Case, Measurement, Verdict
from mlops_assets.spec import gate as declared
from mlops_assets.spec.gate import Gate, gate_names

JUDGES: dict[type[Gate], Callable[[Any, Case], Measurement]] = {
    declared.BeatsChampion: beats_champion.judge,
    declared.Budget: budget.judge,
    declared.Calibrated: calibrated.judge,
    declared.EverySlice: every_slice.judge,
    declared.Fair: fair.judge,
    declared.Floor: floor.judge,
    declared.Latency: latency.judge,
    declared.NoLeak: no_leak.judge,
    declared.NoPii: no_pii.judge,
    declared.NoSkew: no_skew.judge,
    declared.Robust: robust.judge,
}


def judge(gates: tuple[Gate, ...], case: Case) -> tuple[Verdict, ...]:
    """One verdict per gate, in order. Raises ValueError when a gate reads a metric, slice or column that the case lacks."""
    return tuple(_verdict(name, JUDGES[type(gate)](gate, case)) for gate, name in zip(gates, gate_names(gates), strict=True))


def _verdict(name: str, found: Measurement) -> Verdict:
    message = f"{name} · {found.message.removesuffix('.')}."
    return Verdict(
        gate=name,
        passed=found.passed,
        measured=found.value.value,
        low=found.value.low,
        high=found.value.high,
        bound=found.bound,
        message=message if found.passed or not found.advice else f"{message} {found.advice}",
        evidence=plain(found.evidence),
    )
