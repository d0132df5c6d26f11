"""How a blessed version takes over the traffic: at once, or step by step with automatic rollback."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field

from mlops_assets.spec.spec import Name, Spec

Split = Literal["canary", "ab"]


class AtOnce(Spec):
    """A blessed version serves all traffic as soon as it is promoted."""


class BusinessFigure(Spec):
    """A business figure of an answer whose outcome is known, such as the cost of a decision. `of(outcomes)` returns a Polars
    expression, one number a row; null where it is unknown, for reasons that do not depend on the model. Numbers outside `low`
    to `high` are clipped; the test's noise grows with the range. `max_loss` is the largest mean loss a row.
    """

    name: Name
    low: float
    high: float
    of: Callable[[Any], Any]
    higher_is_better: bool = True
    max_loss: float = Field(ge=0)

    def contradictions(self) -> Iterator[str]:
        if not self.low < self.high:
            yield f"low to high is {self.low} to {self.high}; legal: low below high. Swap or widen them."
        elif self.max_loss >= self.high - self.low:
            found = f"max_loss is {self.max_loss:g}, and no two figures are further apart than {self.high - self.low:g}"
            yield f"{found}, so that no loss is ever found. Lower it."


class Rollback(Spec):
    """When a rollout is rolled back: on evidence that the challenger is worse than the champion by more than a margin.
    `false_alarm_rate` bounds the chance that a whole rollout, however often it is checked, rolls back a challenger within all
    margins: the share of failing model calls (`max_error_gap`), the share of calls slower than `slow_ms` (`max_slow_gap`), the
    loss of the task (`max_quality_loss`), and the share of scores at or above any edge (`max_score_shift`). The loss of Binary
    is the Brier score, that of Multiclass half the sum of its squared errors, and that of Regression the absolute error, relative
    to the span of 5% to 95% of the champion's predictions.
    """

    false_alarm_rate: float = Field(default=0.01, gt=0, lt=1)
    max_error_gap: float = Field(default=0.001, gt=0, lt=1)
    slow_ms: float = Field(default=50.0, gt=0)
    max_slow_gap: float = Field(default=0.01, ge=0, lt=1)
    max_quality_loss: float = Field(default=0.01, ge=0, lt=1)
    max_score_shift: float = Field(default=0.2, ge=0, lt=1)  # wide, as another model scores differently: detects a broken one
    figure: BusinessFigure | None = None


class Canary(Spec):
    """First a shadow, then growing shares of the traffic, at last all of it, unless `rollback` applies. A step ends after
    `step_rows` different requests to the challenger (`shadow_rows` in the shadow; 0: no shadow), not before `step_for`. A
    rollout that has not finished `give_up_after` its start is rolled back. `split` assigns requests to an arm by the whole
    request (canary) or by the declared sticky key (ab); every such key counts once.
    """

    shadow_rows: int = Field(default=1000, ge=0)
    steps: tuple[float, ...] = (0.05, 0.25, 1.0)
    step_rows: int = Field(default=1000, ge=1)
    step_for: timedelta = Field(default=timedelta(0), ge=timedelta(0))
    give_up_after: timedelta = timedelta(days=7)
    split: Split = "canary"
    rollback: Rollback = Rollback()

    @property
    def shares(self) -> tuple[float, ...]:
        """The challenger's share of the answers, step by step; 0 is the shadow."""
        return (0.0, *self.steps) if self.shadow_rows else self.steps

    def contradictions(self) -> Iterator[str]:
        rising = all(share < following for share, following in pairwise((0.0, *self.steps)))
        if not rising or self.steps[-1:] != (1.0,):
            yield f"steps are {self.steps}; legal: growing shares above 0 that end with 1.0. Use such steps."
        if len(self.shares) == 1:
            yield "steps are (1.0,) without a shadow, so that nothing is watched. Add a step, or use AtOnce()."
        if (soonest := self.step_for * (len(self.shares) - 1)) >= self.give_up_after:
            found = f"give_up_after is {self.give_up_after}; legal: longer than {soonest}"
            yield f"{found}, which the steps take at least. Raise it."


Rollout = AtOnce | Canary
