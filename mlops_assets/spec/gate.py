"""The rules that a candidate must pass. Not here: how they are measured (stages/judge.py)."""

from typing import Literal

from pydantic import Field

from mlops_assets.spec.word import Word

Metric = Literal["auc", "average_precision", "brier", "log_loss", "ece"]
LOWER_IS_BETTER: frozenset[str] = frozenset({"brier", "log_loss", "ece"})


class Floor(Word):
    """The metric on the test rows reaches `bound` (for brier, log_loss and ece: stays at or below it)."""

    metric: Metric
    bound: float


class BeatsChampion(Word):
    """Paired bootstrap on the same rows: better than the live champion with this confidence. Passes without a champion."""

    metric: Metric = "auc"
    confidence: float = Field(default=0.95, gt=0.5, lt=1)


class Calibrated(Word):
    """Expected calibration error over `bins` equal-count bins stays at or below `max_ece`."""

    max_ece: float = Field(gt=0, lt=1)
    bins: int = Field(default=10, ge=2)


class EverySlice(Word):
    """The metric reaches `bound` in every value of `column` with at least `min_rows` test rows of both classes."""

    column: str
    metric: Metric
    bound: float
    min_rows: int = Field(default=200, ge=2)


class NoSkew(Word):
    """Of the answers that the Skew monitor compared last, at most `max_mismatch_rate` used a feature that is recomputed
    otherwise: whoever trains on other features than are served learns another question. Passes below `min_rows` answers.
    """

    max_mismatch_rate: float = Field(default=0.001, ge=0, lt=1)
    min_rows: int = Field(default=100, ge=1)


Gate = Floor | BeatsChampion | Calibrated | EverySlice | NoSkew
