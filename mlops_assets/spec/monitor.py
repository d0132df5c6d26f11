"""Monitors after promotion, and triggers of the next training. Their statistics are in statistics/ and monitoring/."""

from datetime import timedelta

from pydantic import Field

from mlops_assets.spec.gate import Metric
from mlops_assets.spec.spec import Spec


class Drift(Spec):
    """Served inputs of the last `window` against the champion's training window. An input has drifted when its PSI exceeds
    `max_psi` and its KS statistic (numeric inputs) `max_ks`; the check fails when more than `max_share` of the inputs have.
    """

    window: timedelta = timedelta(days=30)  # shorter ones alarm on weather alone
    max_psi: float = Field(default=0.25, gt=0)
    max_ks: float = Field(default=0.2, gt=0, lt=1)
    max_share: float = Field(default=0.3, ge=0, le=1)
    min_rows: int = Field(default=1000, ge=1)


class Performance(Spec):
    """Realised quality of the answered requests, by day and month, once their labels are known."""

    window: timedelta = timedelta(days=30)
    min_rows: int = Field(default=1000, ge=1)


class Skew(Spec):
    """Training/serving skew: features that the answers of the last `window` used, against the same recomputed from the feature
    tables. Numbers agree within max(`relative` of the larger, `absolute`). The check fails when more than `max_mismatch_rate`
    of at least `min_rows` answers used any feature that is recomputed differently. At most `max_rows` of them are recomputed.
    """

    window: timedelta = timedelta(days=30)
    # Rolling sums differ in their last digits when more days are filled at once, and a model reads 32 bits.
    relative: float = Field(default=1e-6, ge=0, lt=1)
    absolute: float = Field(default=1e-6, ge=0)
    max_mismatch_rate: float = Field(default=0.001, ge=0, lt=1)
    min_rows: int = Field(default=100, ge=1)
    max_rows: int = Field(default=10_000, ge=1)


class OnSchedule(Spec):
    """Train at these times (cron, UTC)."""

    cron: str = Field(pattern=r"^\S+ \S+ \S+ \S+ \S+$")


class OnDrift(Spec):
    """Train when the drift check fails."""


class OnPerformance(Spec):
    """Train when the realised metric of the window is worse than `bound`."""

    metric: Metric
    bound: float


Monitor = Drift | Performance | Skew
Trigger = OnSchedule | OnDrift | OnPerformance


class Freshness(Spec):
    """How old each stage may become before it is reported."""

    raw: timedelta = timedelta(hours=36)
    features: timedelta = timedelta(hours=36)
    predictions: timedelta = timedelta(hours=48)
    service: timedelta = timedelta(days=14)
