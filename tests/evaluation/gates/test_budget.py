"""Budget: what training may take, and what the file may weigh."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from mlops_assets.evaluation.gates.case import Verdict
from mlops_assets.evaluation.judge import judge
from mlops_assets.spec.gate import Budget
from mlops_assets.spec.spec import IllegalDeclaration


def judged(trial: Any, gate: Budget, *, seconds: str | None = "50.0", size: int = 2_000_000) -> Verdict:
    training = {} if seconds is None else {"train_seconds": seconds}
    return judge((gate,), replace(trial().case(), onnx=b"x" * size, training=training))[0]


@pytest.mark.parametrize(
    ("gate", "passed", "measured"),
    [
        (Budget(max_train_seconds=50), True, 1.0),
        (Budget(max_train_seconds=40), False, 1.25),
        (Budget(max_megabytes=2), True, 1.0),
        (Budget(max_megabytes=1.6), False, 1.25),
        (Budget(max_train_seconds=100, max_megabytes=1), False, 2.0),
        (Budget(max_train_seconds=10, max_megabytes=100), False, 5.0),
        (Budget(max_train_seconds=100, max_megabytes=10), True, 0.5),
    ],
)
def test_the_bound_that_is_used_up_most_decides(trial: Any, gate: Budget, passed: bool, measured: float) -> None:
    verdict = judged(trial, gate)
    assert (verdict.passed, verdict.measured, verdict.bound) == (passed, pytest.approx(measured), 1.0)


def test_the_message_says_what_was_used_of_what(trial: Any) -> None:
    verdict = judged(trial, Budget(max_train_seconds=40, max_megabytes=10))
    assert (
        verdict.message
        == "budget · 50 of 40 train seconds, 2 of 10 megabytes. Shrink the trainer or the search, or widen the budget."
    )
    assert verdict.evidence["shares"] == {"train_seconds": 1.25, "megabytes": 0.2}


def test_a_candidate_without_its_time_is_no_pass_however_small(trial: Any) -> None:
    verdict = judged(trial, Budget(max_train_seconds=40, max_megabytes=100), seconds=None)
    assert not verdict.passed and math.isnan(verdict.measured)
    assert verdict.message == "budget · the candidate has no training time. Train again."
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_a_training_without_a_measured_time_passes_where_only_the_size_is_bounded(trial: Any) -> None:
    assert judged(trial, Budget(max_megabytes=100), seconds=None).passed


def test_a_budget_without_a_bound_is_no_budget() -> None:
    with pytest.raises(IllegalDeclaration, match="legal: max_train_seconds, max_megabytes, or both"):
        Budget()
