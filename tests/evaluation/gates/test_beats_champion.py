"""BeatsChampion: better than the live champion on the same rows, or reported as `no better`."""

import json
from typing import Any

import numpy as np
import pytest

from mlops_assets.spec.gate import BeatsChampion

AUC = BeatsChampion(metric="auc")


def test_without_a_champion_it_passes_and_says_so(trial: Any) -> None:
    verdict = trial().verdict(AUC)
    assert verdict.passed
    assert verdict.message == "beats_champion_auc · not enough data: there is no champion to beat yet, so this gate passes."
    json.dumps(verdict.to_dict(), allow_nan=False)


@pytest.mark.parametrize("metric", ["auc", "average_precision", "brier", "log_loss"])
def test_a_clearly_better_candidate_beats_the_champion(trial: Any, metric: Any) -> None:
    case = trial()
    verdict = case.but(probability=case.nature).verdict(BeatsChampion(metric=metric), champion=1 - case.nature)
    assert verdict.passed
    assert verdict.measured > 0
    assert "against champion 7 on the same rows" in verdict.message


def test_a_candidate_that_answers_alike_is_no_better(trial: Any) -> None:
    case = trial()
    verdict = case.verdict(AUC, champion=case.probability)
    assert not verdict.passed
    assert verdict.message.startswith("beats_champion_auc · no better: auc +0.0000 against champion 7")
    assert verdict.message.endswith("Keep the champion; train on newer rows or change the trainer.")


def test_a_worse_candidate_fails_with_both_values(trial: Any) -> None:
    case = trial(noise=5.0)
    verdict = case.verdict(AUC, champion=case.nature)
    assert not verdict.passed
    assert verdict.evidence["candidate"] < verdict.evidence["champion_value"]
    assert verdict.evidence["difference"] < 0


def test_a_gain_within_the_noise_passes_only_with_less_confidence(trial: Any) -> None:
    case = trial(noise=0.5)
    champion = np.clip(case.nature + 0.7 * np.random.default_rng(9).normal(size=300), 0, 1)
    sure, unsure = BeatsChampion(metric="auc", confidence=0.999), BeatsChampion(metric="auc", confidence=0.6)
    assert not case.verdict(sure, champion=champion).passed
    assert case.verdict(unsure, champion=champion).passed


def test_rows_of_one_class_cannot_show_a_winner(trial: Any) -> None:
    case = trial()
    verdict = case.but(truth=np.ones_like(case.truth)).verdict(AUC, champion=case.nature)
    assert not verdict.passed
    assert "undefined on these rows" in verdict.message
