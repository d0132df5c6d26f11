"""How a blessed version comes to answer everybody: at once, or step by step beside the champion.

Belongs here: the words of a rollout and what takes it back. Not here: the tests that decide (stages/sequential.py,
stages/rollout_step.py) and who goes to which version (serving/routing.py).
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from mlops_assets.spec.word import Word


class AtOnce(Word):
    """A blessed version answers everybody as soon as it is promoted."""


class BusinessFigure(Word):
    """What the business counts of an answer whose outcome is known, such as the cost of a decision.

    `of(outcomes)` returns a Polars expression over them, one number a row; null where it is not known, for reasons that do
    not hang on who answered. Numbers outside `low` to `high` count as the nearer of the two, so choose them wide, but not
    wider: their distance is the noise that the test must see through. `max_loss` is what may be lost a row, on average.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    low: float
    high: float
    of: Callable[[Any], Any]
    higher_is_better: bool = True
    max_loss: float = Field(ge=0)

    @model_validator(mode="after")
    def _spans_a_range(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low to high is {self.low} to {self.high}; legal: low below high. Swap or widen them.")
        return self


class Rollback(Word):
    """What takes a rollout back: proof that the challenger is worse than the champion by more than it may be.

    `false_alarm_rate` bounds the chance that a whole rollout, however often one looks, is taken back by a challenger that
    keeps within all of these: so many more of its model calls fail (`max_error_gap`, a share), so many more take longer
    than `slow_ms` (`max_slow_gap`, a share), its Brier score is so much higher (`max_quality_loss`), and the share of its
    scores at or above any level watched is so far from the champion's (`max_score_shift`: wide, for another model is
    supposed to answer otherwise; it tells a broken one).
    """

    false_alarm_rate: float = Field(default=0.01, gt=0, lt=1)
    max_error_gap: float = Field(default=0.001, gt=0, lt=1)
    slow_ms: float = Field(default=50.0, gt=0)
    max_slow_gap: float = Field(default=0.01, ge=0, lt=1)
    max_quality_loss: float = Field(default=0.01, ge=0, lt=1)
    max_score_shift: float = Field(default=0.2, ge=0, lt=1)
    figure: BusinessFigure | None = None


class Canary(Word):
    """First a shadow that answers nobody, then growing shares of the traffic, at last all of it.

    A step is left after `step_rows` different requests that the challenger was asked (`shadow_rows` in the shadow; 0: no
    shadow), not before `step_for`, unless `rollback` says otherwise; the last step is the promotion. What has not come
    through `give_up_after` its begin is taken back. A canary draws by all that a request says, an A/B test by the declared
    sticky key; either way what is drawn counts once, however often it asks.
    """

    shadow_rows: int = Field(default=1000, ge=0)
    steps: tuple[float, ...] = (0.05, 0.25, 1.0)
    step_rows: int = Field(default=1000, ge=1)
    step_for: timedelta = Field(default=timedelta(0), ge=timedelta(0))
    give_up_after: timedelta = timedelta(days=7)
    split: Literal["canary", "ab"] = "canary"
    rollback: Rollback = Rollback()

    @property
    def shares(self) -> tuple[float, ...]:
        """The challenger's share of the answers, step by step; 0 is the shadow."""
        return (0.0, *self.steps) if self.shadow_rows else self.steps

    @model_validator(mode="after")
    def _leads_to_full(self) -> Self:
        rising = all(one < other for one, other in zip((0.0, *self.steps), self.steps, strict=False))
        if not rising or self.steps[-1:] != (1.0,):
            raise ValueError(f"steps are {self.steps}; legal: growing shares above 0 that end with 1.0. Put them so.")
        if len(self.shares) == 1:
            raise ValueError("steps are (1.0,) without a shadow, so that nothing is watched. Add a step, or say AtOnce().")
        soonest = self.step_for * (len(self.shares) - 1)
        if soonest >= self.give_up_after:
            raise ValueError(
                f"give_up_after is {self.give_up_after}; legal: longer than {soonest}, which the steps take at least. Raise it."
            )
        return self


Rollout = AtOnce | Canary
