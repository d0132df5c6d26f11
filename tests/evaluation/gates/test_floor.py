"""Floor: the metric reaches its bound, in the metric's own direction."""

from typing import Any

import numpy as np

from mlops_assets.spec.gate import Floor


def test_a_good_candidate_passes_and_says_its_interval(trial: Any) -> None:
    verdict = trial(noise=0.1).verdict(Floor(metric="auc", bound=0.7))
    assert verdict.passed
    assert verdict.measured > 0.7
    assert verdict.message.startswith("floor_auc · 0.8")
    assert verdict.message.endswith("reaches 0.700.")


def test_a_poor_candidate_fails_with_what_to_look_at(trial: Any) -> None:
    verdict = trial(noise=5.0).verdict(Floor(metric="auc", bound=0.7))
    assert not verdict.passed
    assert "is below 0.700. Look at the slices" in verdict.message
    assert verdict.evidence["low"] < verdict.measured < verdict.evidence["high"]


def test_a_loss_must_stay_at_or_below_its_bound(trial: Any) -> None:
    case = trial(noise=0.1)
    brier = case.verdict(Floor(metric="brier", bound=0.2)).measured
    assert case.verdict(Floor(metric="brier", bound=brier)).passed
    worse = case.verdict(Floor(metric="brier", bound=brier - 1e-6))
    assert not worse.passed
    assert "is above" in worse.message


def test_an_undefined_metric_never_passes(trial: Any) -> None:
    case = trial()
    verdict = case.but(truth=np.zeros_like(case.truth)).verdict(Floor(metric="auc", bound=0.0))
    assert not verdict.passed
    assert "auc is undefined on these rows (one class only)" in verdict.message
    assert verdict.to_dict()["measured"] is None
