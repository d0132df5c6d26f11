"""Monitors of what is served. Their statistics are in statistics/ and monitoring/."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import ClassVar, Literal

from pydantic import Field

from mlops_assets.spec.gate import Metric, bound_problems
from mlops_assets.spec.implemented import Implemented, snake_case
from mlops_assets.spec.rollout import BusinessFigure
from mlops_assets.spec.suffixed import Suffixed, endings

Season = Literal["training", "same_weekdays", "same_months"]


class Watching(Suffixed):
    """A monitor judges the rows of the last `window`. Without enough of them for longer than `max_silence` (None: three windows)
    its check fails, which trains nothing.
    """

    READS_VIEWS: ClassVar[bool] = False  # without feature views it has nothing to judge

    window: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))
    max_silence: timedelta | None = Field(default=None, gt=timedelta(0), repr=False)

    @property
    def longest_silence(self) -> timedelta:
        return self.max_silence or 3 * self.window


class Drift(Watching):
    """Served inputs of the last `window` against the champion's training window. An input has drifted when its PSI exceeds
    `max_psi` and its KS statistic (numeric inputs) `max_ks`, when more than `max_new_share` of its values are new, or when its
    share of missing values changed by more than `max_missing_change`. A change that chance explains does not count: of those
    that are reported, at most the share `false_discovery_rate` is expected to be chance. The check fails when any input has
    drifted; OnDrift says how many of them, by their importance, are a reason to train.

    The same is judged of the predictions and, where they are known, the labels. The check fails when these have drifted, which
    trains only with `trains_on_answers`. `max_correlation_change` is a bound for the correlation of each pair of numeric inputs.
    `reference` are the rows of the training that are compared: all, or those of the weekdays or the months of the window.
    """

    CHECK: ClassVar[str] = "inputs_like_training"

    max_psi: float = Field(default=0.25, gt=0)
    max_ks: float = Field(default=0.2, gt=0, lt=1)
    max_new_share: float = Field(default=0.05, ge=0, lt=1)
    max_missing_change: float = Field(default=0.1, gt=0, lt=1)
    false_discovery_rate: float = Field(default=0.01, gt=0, lt=1)
    min_rows: int = Field(default=1000, ge=1)
    max_correlation_change: float | None = Field(default=None, gt=0, lt=2, repr=False)
    trains_on_answers: bool = Field(default=False, repr=False)
    reference: Season = Field(default="training", repr=False)


class Performance(Watching):
    """Realised quality of the answered requests, by day and month, once their labels are known, and next to it the mean of each
    of the `figures`.
    """

    CHECK: ClassVar[str] = "realised_metric_within_bound"

    figures: tuple[BusinessFigure, ...] = Field(default=(), repr=False)
    min_rows: int = Field(default=1000, ge=1)


class Estimation(Watching):
    """Quality of the answers of the last `window` before their labels are known, from the rows on which the champion was
    evaluated (statistics/estimation.py). The check fails when the whole interval of the estimated `metric` (None: the main one of
    the task) is worse than `bound` (None: the worse end of its interval in the evaluation). An estimate that missed most of the
    realised values is not enough data.
    """

    CHECK: ClassVar[str] = "estimated_metric_within_bound"

    metric: Metric | None = None
    bound: float | None = None
    min_rows: int = Field(default=1000, ge=1)

    def contradictions(self) -> Iterator[str]:
        if self.bound is not None and self.metric is None:
            yield f"bound · {self.bound:g} is declared without its metric. Declare metric, too."
        elif self.bound is not None and self.metric is not None:
            yield from bound_problems(self.metric, self.bound)


class Skew(Watching):
    """Training/serving skew: features that the answers of the last `window` used, against the same recomputed from the feature
    tables. Numbers agree within max(`relative` of the larger, `absolute`). The check fails when more than `max_mismatch_rate`
    of at least `min_rows` answers used any feature that is recomputed differently. At most `max_rows` of them are recomputed.
    """

    CHECK: ClassVar[str] = "features_like_recomputed"
    READS_VIEWS: ClassVar[bool] = True

    # Rolling sums differ in their last digits when more days are filled at once, and a model reads 32 bits.
    relative: float = Field(default=1e-6, ge=0, lt=1)
    absolute: float = Field(default=1e-6, ge=0)
    max_mismatch_rate: float = Field(default=0.001, ge=0, lt=1)
    min_rows: int = Field(default=100, ge=1)
    max_rows: int = Field(default=10_000, ge=1)

    def contradictions(self) -> Iterator[str]:
        if self.max_rows < self.min_rows:
            found = f"max_rows is {self.max_rows}, and min_rows is {self.min_rows}"
            yield f"{found}; legal: max_rows at least min_rows, or there are never enough. Raise or lower one."


class OwnMonitor(Watching, Implemented):
    """A monitor of your own, in any package: a subclass, and a function `monitor` in its module, which gets the rows of the last
    `window` of the table READS. CHECK is the name of its check.
    """

    FUNCTION = "monitor"
    PAGE = "docs/monitors.md"
    CHECK: ClassVar[str] = "within_bounds"
    READS: ClassVar[Literal["predictions", "outcomes"]] = "predictions"

    min_rows: int = Field(default=1000, ge=1)


class DataAge(OwnMonitor):
    """Freshness of the answers: of those that found values in a view, the share `min_share` used values that were at most
    `max_age` old at the moment of the request.
    """

    MODULE: ClassVar[str] = "mlops_assets.monitoring.data_age"
    CHECK: ClassVar[str] = "answers_from_fresh_data"
    READS_VIEWS: ClassVar[bool] = True

    max_age: timedelta = Field(gt=timedelta(0))
    min_share: float = Field(default=0.99, gt=0, le=1)


class Operations(Watching):
    """How the live servers run, from their metrics every `interval`: latency of the answers, share of the requests that ended in
    500 or above, CPU time, resident memory, and what 1,000 predictions cost. A bound that is None is not judged; more slow or
    failed requests than a bound allows count where chance does not explain them. A server that does not answer is an alarm.
    Costs are in the currency of the prices: of an hour of CPU time that is used, and of an hour of a server, used or not.
    """

    CHECK: ClassVar[str] = "servers_within_bounds"

    window: timedelta = Field(default=timedelta(hours=1), gt=timedelta(0))
    interval: timedelta = Field(default=timedelta(minutes=5), ge=timedelta(seconds=10))
    max_latency_p95_ms: float | None = Field(default=None, gt=0)
    max_latency_p99_ms: float | None = Field(default=None, gt=0)
    max_error_rate: float | None = Field(default=None, ge=0, lt=1)
    max_resident_mb: float | None = Field(default=None, gt=0)
    max_cost_per_1000: float | None = Field(default=None, gt=0)
    cost_per_cpu_hour: float | None = Field(default=None, gt=0)
    cost_per_server_hour: float | None = Field(default=None, gt=0)
    min_requests: int = Field(default=100, ge=1)

    @property
    def max_latency_ms(self) -> dict[int, float]:
        """The bounds by percentile."""
        bounds = {95: self.max_latency_p95_ms, 99: self.max_latency_p99_ms}
        return {percentile: bound for percentile, bound in bounds.items() if bound is not None}

    @property
    def edges_s(self) -> list[float]:
        return [bound / 1000 for bound in self.max_latency_ms.values()]

    def contradictions(self) -> Iterator[str]:
        if self.window < 2 * self.interval:
            yield f"interval is {self.interval}, and window {self.window}; legal: a window of two intervals or more. Widen it."
        if self.max_cost_per_1000 and not (self.cost_per_cpu_hour or self.cost_per_server_hour):
            legal = "cost_per_cpu_hour, cost_per_server_hour, or both"
            yield f"max_cost_per_1000 is a bound on a cost without a price; legal: {legal}. Declare one."


JudgedByRows = Drift | Performance | Estimation | Skew | OwnMonitor
Monitor = JudgedByRows | Operations


def stage_names(monitors: Sequence[Monitor]) -> list[str]:
    """The name of each monitor's asset. It does not depend on their order."""
    return [f"{snake_case(type(monitor).__name__)}{ending}" for monitor, ending in zip(monitors, endings(monitors), strict=True)]
