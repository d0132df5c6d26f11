"""Multiclass in a declaration: its classes, and the gates and triggers that read what it measures."""

from collections.abc import Callable
from typing import Any

import pytest

from mlops_assets.spec.gate import BeatsChampion, Calibrated, EverySlice, Fair, Floor, Gate, NoLeak, Robust
from mlops_assets.spec.monitor import Performance
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.task import Multiclass
from mlops_assets.spec.trigger import OnPerformance
from mlops_assets.spec.use_case import STAGE_FIELDS
from tests.cli.loans import LOANS

METRICS = "accuracy, macro_f1, auc, brier, log_loss, ece"


def kinds(*classes: Any) -> Multiclass:
    return Multiclass(label=LOANS.label, classes=classes)


THREE = LOANS.but(task=kinds("a", "b", "c"), gates=(NoLeak(),))


def judged_by(gate: Gate) -> Callable[[], Any]:
    return lambda: THREE.but(gates=(gate,))


ILLEGAL: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: kinds("a"),
        "Multiclass · classes = ('a',) · Tuple should have at least 2 items after validation, not 1. Correct it.",
    ),
    (lambda: kinds("a", "b", "a"), "Multiclass · classes · 'a' is declared twice. Keep one."),
    (lambda: kinds(1, 2, 1), "Multiclass · classes · 1 is declared twice. Keep one."),
    (lambda: kinds("1", 1), "Multiclass · classes · 1 is declared twice. Keep one."),
    (
        judged_by(Floor(metric="average_precision", bound=0.5)),
        f"loans · UseCase · gates[0] · Floor reads average_precision, which Multiclass does not measure; legal: {METRICS}. Use one of these.",
    ),
    (
        judged_by(Fair(column="purpose", max_gap=0.1)),
        f"loans · UseCase · gates[0] · Fair reads demographic_parity, which Multiclass does not measure; legal: {METRICS}. Use one of these.",
    ),
    (
        lambda: THREE.but(monitors=(Performance(),), triggers=(OnPerformance(metric="average_precision", bound=0.5),)),
        f"loans · UseCase · triggers[0] · OnPerformance reads average_precision, which Multiclass does not measure; legal: {METRICS}. "
        "Use one of these.",
    ),
    (
        lambda: LOANS.but(gates=(Floor(metric="macro_f1", bound=0.5),)),
        "loans · UseCase · gates[0] · Floor reads macro_f1, which Binary does not measure; legal: auc, average_precision, brier, log_loss, "
        "ece, demographic_parity, equalized_odds. Use one of these.",
    ),
    (lambda: Floor(metric="accuracy", bound=1.5), "Floor · bound · accuracy is never 1.5; legal: 0 to 1. Correct it."),
]


@pytest.mark.parametrize(("build", "message"), ILLEGAL, ids=[message for _, message in ILLEGAL])
def test_an_illegal_declaration_names_what_is_legal(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(IllegalDeclaration) as error:
        build()
    assert str(error.value) == message


@pytest.mark.parametrize("classes", [("", "a"), (True, False), (1.5, 2.5), (None, "a")])
def test_classes_are_texts_or_whole_numbers(classes: tuple[Any, ...]) -> None:
    with pytest.raises(IllegalDeclaration, match=r"Multiclass · classes\.0"):
        kinds(*classes)


def test_a_gate_without_a_metric_judges_the_main_one_of_the_task() -> None:
    gates = (BeatsChampion(), Robust(), NoLeak(), Calibrated(max_ece=0.1))
    assert [gate.name for gate in THREE.but(gates=gates).gates] == [
        "beats_champion_accuracy",
        "robust_accuracy",
        "no_leak",
        "calibrated",
    ]
    assert [gate.name for gate in LOANS.but(gates=gates).gates] == ["beats_champion_auc", "robust_auc", "no_leak", "calibrated"]
    declared = {name: getattr(THREE, name) for name in type(THREE).model_fields if name != "gates"}
    assert type(THREE)(**declared).gates == (BeatsChampion(metric="accuracy"), NoLeak())


def test_a_gate_keeps_the_metric_that_it_declares() -> None:
    gates = (BeatsChampion(metric="log_loss"), EverySlice(column="purpose", metric="brier", bound=0.2))
    assert THREE.but(gates=gates, slices=("purpose",)).gates == gates


def test_other_classes_make_the_candidate_and_its_evaluation_out_of_date() -> None:
    other = THREE.but(task=kinds("a", "b", "c", "d"))
    changed = [stage for stage in STAGE_FIELDS if THREE.fingerprint(stage) != other.fingerprint(stage)]  # type: ignore[arg-type]
    assert changed == ["candidate", "evaluation"]
