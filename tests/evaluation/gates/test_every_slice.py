"""EverySlice: no group of rows is served badly behind a good average."""

from typing import Any

import numpy as np

from mlops_assets.spec.gate import EverySlice

GATE = EverySlice(column="carrier", metric="auc", bound=0.6, min_rows=50)


def spoiled(case: Any, carrier: str) -> Any:
    """Random answers for one carrier; nature's own for the others."""
    noise = np.random.default_rng(4).uniform(size=len(case.truth))
    return case.but(probability=np.where(case.carrier == carrier, noise, case.nature))


def test_the_worst_slice_is_named_when_it_fails(trial: Any) -> None:
    verdict = spoiled(trial(), "B6").verdict(GATE)
    assert not verdict.passed
    assert "worst of 3 values of carrier is B6" in verdict.message
    assert "Failing: B6." in verdict.message
    assert verdict.evidence["failing"] == ["B6"]


def test_the_worst_slice_is_named_when_it_passes(trial: Any) -> None:
    case = trial()
    verdict = case.but(probability=case.nature).verdict(GATE)
    assert verdict.passed
    assert verdict.evidence["worst"] in {"AA", "B6", "UA"}
    assert verdict.message.endswith("0 skipped as too small.")


def test_for_a_loss_the_worst_slice_is_the_one_with_the_highest(trial: Any) -> None:
    verdict = spoiled(trial(), "UA").verdict(EverySlice(column="carrier", metric="brier", bound=0.2, min_rows=50))
    assert not verdict.passed
    assert verdict.evidence["worst"] == "UA"


def test_small_slices_are_skipped_and_counted(trial: Any) -> None:
    case = spoiled(trial(), "B6")
    few = case.but(carrier=np.where((case.carrier == "B6") & (np.arange(300) > 60), "UA", case.carrier))
    verdict = few.verdict(GATE)
    assert "B6" not in verdict.evidence["failing"]
    assert "1 skipped as too small" in verdict.message


def test_a_slice_of_one_class_is_skipped_and_counted(trial: Any) -> None:
    case = spoiled(trial(), "B6")
    verdict = case.but(truth=np.where(case.carrier == "B6", 0, case.truth)).verdict(GATE)
    assert verdict.passed
    assert (verdict.evidence["judged"], verdict.evidence["skipped"]) == (2, 1)


def test_nothing_to_judge_is_no_pass(trial: Any) -> None:
    verdict = trial().verdict(GATE.but(min_rows=1000))
    assert not verdict.passed
    assert "none of 3 values of carrier has 1000 rows of both classes. Widen split.test." in verdict.message


def test_a_column_without_slices_is_no_pass(trial: Any) -> None:
    verdict = trial().verdict(EverySlice(column="dest", metric="auc", bound=0.5))
    assert not verdict.passed
    assert "none of 0 values of dest has 200 rows of both classes" in verdict.message
