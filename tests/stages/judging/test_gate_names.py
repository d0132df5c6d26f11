"""The names under which people meet the gates: stable, unique, legal for Dagster, and cheap to ask for."""

import re
import subprocess
import sys
from typing import Any

from mlops_assets.spec.gate import BeatsChampion, Calibrated, EverySlice, Floor, Gate, NoSkew
from mlops_assets.stages.gate_names import gate_name, gate_names

GATES: tuple[Gate, ...] = (
    Floor(metric="auc", bound=0.7),
    BeatsChampion(),
    Calibrated(max_ece=0.05),
    EverySlice(column="carrier", metric="auc", bound=0.6),
    NoSkew(),
)


def test_each_gate_is_named_by_what_it_measures() -> None:
    assert gate_names(GATES) == ("floor_auc", "beats_champion_auc", "calibrated", "every_carrier_auc", "no_skew")
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", name) for name in gate_names(GATES))


def test_a_name_survives_a_new_bound() -> None:
    assert gate_name(Floor(metric="auc", bound=0.9)) == gate_name(GATES[0])


def test_gates_that_measure_the_same_are_numbered() -> None:
    assert gate_names((GATES[0], GATES[2], GATES[0])) == ("floor_auc", "calibrated", "floor_auc_2")


def test_the_verdicts_come_in_the_order_and_under_the_names_of_the_gates(trial: Any) -> None:
    verdicts = trial(rows=900).verdicts(*GATES, GATES[0])
    assert [verdict.gate for verdict in verdicts] == list(gate_names((*GATES, GATES[0])))
    assert all(verdict.message.startswith(f"{verdict.gate} · ") for verdict in verdicts)


def test_asking_for_names_loads_no_heavy_library() -> None:
    heavy = "{'numpy', 'polars', 'sklearn', 'torch', 'feast', 'mlflow', 'evidently', 'matplotlib', 'scipy', 'pandas'}"
    code = f"import sys, mlops_assets.stages.gate_names; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
