"""The rules that a candidate must pass. Not here: how they are measured (stages/gates/)."""

from typing import Literal, Self

from pydantic import Field, model_validator

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


class Robust(Word):
    """The metric on the test rows falls by at most `max_drop` under each of four disturbances, and every answer stays finite.

    Each number with Gaussian noise of `noise` standard deviations; a share `missing` of the values of each input gone; as
    many of each category unseen before; as many of each number far outside of the range that was learned from.
    """

    noise: float = Field(default=0.05, gt=0)
    missing: float = Field(default=0.05, gt=0, le=1)
    max_drop: float = Field(default=0.02, gt=0)
    metric: Metric = "auc"


class NoLeak(Word):
    """Nothing that the model reads tells the label itself, or what is known only after the moment of the prediction.

    No single input reaches an auc above `max_single_auc`; a random split is at most `max_split_gap` of auc better than
    the split by time; no feature is newer than the prediction or the label. For scale: the delay of a departure tells its
    late arrival with an auc of 0.87 to 0.92, by month of 2013.
    """

    max_single_auc: float = Field(default=0.85, gt=0.5, le=1)
    max_split_gap: float = Field(default=0.05, gt=0)


class Fair(Word):
    """The decisions of the test rows differ by at most `max_gap` between the values of `column`, which may be any column of
    the training rows and need not be an input.

    demographic_parity: the largest gap of the share decided yes; equalized_odds: the larger of the gaps of that share among
    the positive and among the negative rows. Values with fewer than `min_rows` rows are not compared.
    """

    column: str
    max_gap: float = Field(gt=0, lt=1)
    metric: Literal["demographic_parity", "equalized_odds"] = "demographic_parity"
    min_rows: int = Field(default=200, ge=2)


class Latency(Word):
    """99 of 100 calls of the warm ONNX model with `rows` rows take at most `p99_ms` milliseconds of one core."""

    p99_ms: float = Field(gt=0)
    rows: int = Field(default=1, ge=1)


class Budget(Word):
    """Training took at most `max_train_seconds`, its search included, and the model file is at most `max_megabytes` large."""

    max_train_seconds: float | None = Field(default=None, gt=0)
    max_megabytes: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.max_train_seconds is None and self.max_megabytes is None:
            raise ValueError("no bound is given; legal: max_train_seconds, max_megabytes, or both. Give at least one.")
        return self


class NoPii(Word):
    """No input of the model and no readable column of the prediction log is made from a column that a contract tags `pii`.

    The columns are followed through the views and `entity_rows`. Rows may be joined and grouped by a tagged key.
    """


Gate = Floor | BeatsChampion | Calibrated | EverySlice | NoSkew | Robust | NoLeak | Fair | Latency | Budget | NoPii
