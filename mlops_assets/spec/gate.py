"""The rules that a candidate must pass. How each is measured is in evaluation/gates/, one module per class."""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal, get_args

from pydantic import Field

from mlops_assets.spec.implemented import Implemented, snake_case

Metric = Literal[
    "auc", "average_precision", "brier", "log_loss", "ece",
    "accuracy", "macro_f1",
    "rmse", "mae", "r2", "coverage", "width",
]  # fmt: skip
Fairness = Literal["demographic_parity", "equalized_odds"]
FAIRNESS: tuple[Fairness, ...] = get_args(Fairness)  # of decisions: yes or no
IN_UNITS: frozenset[str] = frozenset({"rmse", "mae", "width"})  # of the label
GATES = "mlops_assets.evaluation.gates"
LOWER_IS_BETTER: frozenset[str] = frozenset({"brier", "log_loss", "ece"}) | IN_UNITS
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("log_loss", *IN_UNITS), (0, math.inf)), "r2": (-math.inf, 1),
}  # fmt: skip


class Gate(Implemented):
    """One rule, also outside this package: a subclass, and a module with a function `judge`."""

    FUNCTION = "judge"
    PAGE = "docs/gates.md"
    # Over the fields of the gate, without its bound, so that the name survives a new bound; without one, the class's own.
    NAME: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """What the gate measures, such as `every_carrier_auc`."""
        return (self.NAME or snake_case(type(self).__name__)).format_map(vars(self))


def gate_names(gates: tuple[Gate, ...]) -> tuple[str, ...]:
    """One unique name per gate, in order; a second gate that measures the same gets a number: `floor_auc_2`."""
    names = [gate.name for gate in gates]
    earlier = [names[:index].count(name) for index, name in enumerate(names)]
    return tuple(f"{name}_{count + 1}" if count else name for name, count in zip(names, earlier, strict=True))


def bound_problems(metric: Metric, bound: float) -> Iterator[str]:
    """A bound that every value of the metric reaches, or none."""
    lowest, highest = RANGES.get(metric, (0, 1))
    if not lowest <= bound <= highest:
        yield f"bound · {metric} is never {bound:g}; legal: {lowest:g} to {highest:g}. Correct it."


class Floor(Gate):
    """The metric on the test rows reaches `bound` (where lower is better, as of brier and rmse: stays at or below it)."""

    MODULE = f"{GATES}.floor"
    NAME = "floor_{metric}"
    metric: Metric
    bound: float

    def contradictions(self) -> Iterator[str]:
        yield from bound_problems(self.metric, self.bound)


class BeatsChampion(Gate):
    """Paired bootstrap on the same rows: better than the live champion with this confidence. Passes without a champion.
    `metric` is the main one of the task where none is declared.
    """

    MODULE = f"{GATES}.beats_champion"
    NAME = "beats_champion_{metric}"
    metric: Metric | None = None
    confidence: float = Field(default=0.95, gt=0.5, lt=1)


class Calibrated(Gate):
    """Expected calibration error over `bins` equal-count bins stays at or below `max_ece`."""

    MODULE = f"{GATES}.calibrated"
    NAME = "calibrated"
    metric: ClassVar[Metric] = "ece"
    max_ece: float = Field(gt=0, lt=1)
    bins: int = Field(default=10, ge=2)


class EverySlice(Gate):
    """The metric reaches `bound` in every value of `column` with at least `min_rows` test rows of both classes."""

    MODULE = f"{GATES}.every_slice"
    NAME = "every_{column}_{metric}"
    column: str
    metric: Metric
    bound: float
    min_rows: int = Field(default=200, ge=2)

    def contradictions(self) -> Iterator[str]:
        yield from bound_problems(self.metric, self.bound)


class NoSkew(Gate):
    """Training/serving skew: of the answers in the Skew monitor's last comparison, at most `max_mismatch_rate` used a feature
    that is recomputed differently. Below `min_rows` of them there is not enough data: it then passes, or refuses (`without_data`)
    once anything has been served; before, no version could ever serve. Of several Skew, it reads the one that compared most.
    """

    MODULE = f"{GATES}.no_skew"
    NAME = "no_skew"
    max_mismatch_rate: float = Field(default=0.001, ge=0, lt=1)
    min_rows: int = Field(default=100, ge=1)
    without_data: Literal["pass", "refuse"] = "pass"


class Robust(Gate):
    """The metric on the test rows falls by at most `max_drop` under each of four perturbations, and every score stays finite.
    Gaussian noise of `noise` standard deviations on every number; a share `missing` of the values of every input missing; the
    same share of every category replaced by an unknown one; the same share of every number far out of the training range.
    `metric` is the main one of the task where none is declared.
    """

    MODULE = f"{GATES}.robust"
    NAME = "robust_{metric}"
    noise: float = Field(default=0.05, gt=0)
    missing: float = Field(default=0.05, gt=0, le=1)
    max_drop: float = Field(default=0.02, gt=0)
    metric: Metric | None = None


class NoLeak(Gate):
    """No input of the model reveals the label, or anything known only after the prediction moment. No single input has an auc
    above `max_single_auc`; a random split is at most `max_split_gap` of auc better than the declared one; no feature is newer
    than the prediction or the label.
    """

    MODULE = f"{GATES}.no_leak"
    NAME = "no_leak"
    # For scale: the departure delay, a leak, predicts a late arrival with an auc of 0.87 to 0.92, by month of 2013.
    max_single_auc: float = Field(default=0.85, gt=0.5, le=1)
    max_split_gap: float = Field(default=0.05, gt=0)


class Fair(Gate):
    """The decisions of the test rows differ by at most `max_gap` between the values of `column`, any column of the training
    rows. demographic_parity: the largest gap of the share of positive decisions; equalized_odds: the larger of the gaps of that
    share among the positive and among the negative rows. Values with fewer than `min_rows` rows are not compared.
    """

    MODULE = f"{GATES}.fair"
    NAME = "fair_{column}_{metric}"
    column: str
    max_gap: float = Field(gt=0, lt=1)
    metric: Fairness = "demographic_parity"
    min_rows: int = Field(default=200, ge=2)


class Latency(Gate):
    """99 of 100 calls of the warm ONNX model with `rows` rows take at most `p99_ms` milliseconds of one core."""

    MODULE = f"{GATES}.latency"
    p99_ms: float = Field(gt=0)
    rows: int = Field(default=1, ge=1)

    @property
    def name(self) -> str:
        return f"latency_{self.rows}_rows" if self.rows > 1 else "latency"


class Budget(Gate):
    """Training took at most `max_train_seconds`, its search included, and the model file is at most `max_megabytes` large."""

    MODULE = f"{GATES}.budget"
    NAME = "budget"
    max_train_seconds: float | None = Field(default=None, gt=0)
    max_megabytes: float | None = Field(default=None, gt=0)

    def contradictions(self) -> Iterator[str]:
        if self.max_train_seconds is None and self.max_megabytes is None:
            yield "no bound is declared; legal: max_train_seconds, max_megabytes, or both. Declare at least one."


class NoPii(Gate):
    """No input of the model and no readable column of the prediction log is made from a column that a contract tags `pii`. The
    columns are followed through the views and `entity_rows`. Rows may be joined and grouped by a tagged key.
    """

    MODULE = f"{GATES}.no_pii"
    NAME = "no_pii"
