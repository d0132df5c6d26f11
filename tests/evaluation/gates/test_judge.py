"""What all gates share: names that are stable, unique and legal for Dagster, one judge each, and monotonic verdicts."""

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.foundation.implementation import function_of
from mlops_assets.spec.gate import (
    BeatsChampion,
    Budget,
    Calibrated,
    EverySlice,
    Fair,
    Floor,
    Gate,
    Latency,
    NoLeak,
    NoPii,
    NoSkew,
    Robust,
    gate_names,
)

GATES: tuple[Gate, ...] = (
    Floor(metric="auc", bound=0.7),
    BeatsChampion(metric="auc"),
    Calibrated(max_ece=0.05),
    EverySlice(column="carrier", metric="auc", bound=0.6),
    NoSkew(),
    Robust(metric="auc"),
    NoLeak(),
    Fair(column="sex", max_gap=0.05, metric="equalized_odds"),
    Latency(p99_ms=5),
    Latency(p99_ms=50, rows=100),
    Budget(max_megabytes=5),
    NoPii(),
)
NAMES = (
    "floor_auc",
    "beats_champion_auc",
    "calibrated",
    "every_carrier_auc",
    "no_skew",
    "robust_auc",
    "no_leak",
    "fair_sex_equalized_odds",
    "latency",
    "latency_100_rows",
    "budget",
    "no_pii",
)


def test_each_gate_is_named_by_what_it_measures() -> None:
    assert gate_names(GATES) == NAMES
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", name) for name in gate_names(GATES))


def test_every_gate_has_a_judge_and_an_example_here() -> None:
    assert {type(gate) for gate in GATES} == {one for one in Gate.__subclasses__() if one.__module__ == Gate.__module__}
    assert [function_of(gate).__module__ for gate in GATES] == [gate.MODULE for gate in GATES]


def test_a_name_survives_a_new_bound() -> None:
    assert Floor(metric="auc", bound=0.9).name == GATES[0].name


def test_gates_that_measure_the_same_are_numbered() -> None:
    assert gate_names((GATES[0], GATES[2], GATES[0])) == ("floor_auc", "calibrated", "floor_auc_2")


def test_the_verdicts_come_in_the_order_and_under_the_names_of_the_gates(trial: Any) -> None:
    over_probabilities = GATES[:5]
    verdicts = trial(rows=900).verdicts(*over_probabilities, GATES[0])
    assert [verdict.gate for verdict in verdicts] == [*NAMES[:5], "floor_auc_2"]
    assert all(verdict.message.startswith(f"{verdict.gate} · ") for verdict in verdicts)


def test_gate_names_load_no_heavy_library() -> None:
    heavy = "{'numpy', 'polars', 'sklearn', 'torch', 'feast', 'mlflow', 'evidently', 'matplotlib', 'scipy', 'pandas'}"
    code = f"import sys, mlops_assets.spec.gate; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


BOUNDED: list[Callable[[Any, float], Gate]] = [
    lambda metric, bound: Floor(metric=metric, bound=bound),
    lambda metric, bound: EverySlice(column="carrier", metric=metric, bound=bound, min_rows=10),
    lambda metric, _bound: BeatsChampion(metric=metric, confidence=0.6),
]


@pytest.mark.parametrize("gate_of", BOUNDED, ids=["floor", "every_slice", "beats_champion"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), step=st.floats(0, 1), metric=st.sampled_from(["auc", "brier"]), bound=st.floats(0, 1))
def test_better_predictions_never_turn_pass_into_fail(
    trial: Any, gate_of: Callable[[Any, float], Gate], seed: int, step: float, metric: str, bound: float
) -> None:
    case, gate = trial(rows=60, seed=seed), gate_of(metric, bound)
    champion = trial(rows=60, seed=seed, noise=0.7).probability
    before, after = (one.verdict(gate, champion=champion) for one in (case, case.nearer_to_the_truth(step)))
    assert after.passed or not before.passed


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), bound=st.floats(0.01, 0.5), slack=st.floats(0, 0.4))
def test_an_easier_bound_never_turns_pass_into_fail(trial: Any, seed: int, bound: float, slack: float) -> None:
    case, easier = trial(rows=60, seed=seed), bound + slack
    pairs = [
        (Floor(metric="auc", bound=easier), Floor(metric="auc", bound=bound)),
        (Floor(metric="brier", bound=bound), Floor(metric="brier", bound=easier)),
        (Calibrated(max_ece=bound), Calibrated(max_ece=easier)),
    ]
    assert all(case.verdict(easy).passed or not case.verdict(hard).passed for hard, easy in pairs)
