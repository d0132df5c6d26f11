"""Declared reasons to train again. How each is found is in triggers/, one module for each kind."""

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import ClassVar

from pydantic import Field

from mlops_assets.spec.gate import Metric, bound_problems
from mlops_assets.spec.implemented import Implemented, snake_case
from mlops_assets.spec.suffixed import Suffixed, endings

TRIGGERS = "mlops_assets.triggers"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
MORE_LOSS = "mean loss by few labels"  # the symptom of a Performance that has too few for its metrics
# The fields of a schedule: lowest and highest number, and the words for the lowest and the following numbers.
CRON: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "minute": (0, 59, ()),
    "hour": (0, 23, ()),
    "day of month": (1, 31, ()),
    "month": (1, 12, MONTHS),
    "day of week": (0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
}

NAMED_DAYS = {"day of month": "l", "day of week": "l[0-7]|[0-7]#[1-5]"}  # the last day; the last or nth of a weekday


class Trigger(Suffixed, Implemented):
    """A reason to train, also outside this package: a subclass, and a function `find_cause` in its module. No training that it
    starts begins within `cool_down` after the end of the newest one, whatever started that.
    """

    FUNCTION = "find_cause"
    PAGE = "docs/triggers.md"
    # Whether it judges the champion, and so waits while another version is on its way to replace that.
    JUDGES_CHAMPION: ClassVar[bool] = True

    cool_down: timedelta = Field(default=timedelta(0), ge=timedelta(0), repr=False)


class OnSchedule(Trigger):
    """Train at these times (cron, UTC), or as soon as possible after one that was missed."""

    MODULE = f"{TRIGGERS}.on_schedule"
    JUDGES_CHAMPION = False

    cron: str = Field(pattern=r"^\S+ \S+ \S+ \S+ \S+$")

    def contradictions(self) -> Iterator[str]:
        fields = {unit: _cron_values(text, unit) for unit, text in zip(CRON, self.cron.split(), strict=True)}
        for unit in (unit for unit, values in fields.items() if not values):
            low, high, words = CRON[unit]
            legal = f"*, {low} to {high}{f' or {words[0]} to {words[-1]}' if words else ''}, a-b, a,b and */n"
            yield f"cron · the {unit} of {self.cron!r} is illegal; legal: {legal}. Correct it."
        days, longest = fields["day of month"], max((MONTH_DAYS[month - 1] for month in fields["month"]), default=31)
        # Where a day of the week is declared too, either of the two is enough.
        if self.cron.endswith(" *") and min(days, default=1) > longest:
            yield f"cron · {self.cron!r} never fires: these months have at most {longest} days. Correct the day or the month."


def _cron_values(text: str, unit: str) -> set[int]:
    """The numbers that one field stands for; none when it is illegal."""
    low, high, words = CRON[unit]
    numbered = re.sub("[a-z]{3}", lambda word: str(low + words.index(word[0])) if word[0] in words else word[0], text.lower())
    values = set[int]()
    for part in numbered.split(","):
        if unit in NAMED_DAYS and re.fullmatch(NAMED_DAYS[unit], part):
            values.add(low)
            continue
        match = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/([1-9]\d*))?", part)
        if not match:
            return set()
        start, end, step = (int(number) if number else None for number in match.groups())
        first, until = low if start is None else start, high if start is None or step else start
        last = until if end is None else end
        if not (low <= first <= high and low <= last <= high):
            return set()
        around = range(first, last + 1) if first <= last else (*range(first, high + 1), *range(low, last + 1))
        values.update(around[:: step or 1])
    return values


class OnCheck(Trigger):
    """Train on the alarm of a monitor."""

    MODULE = f"{TRIGGERS}.on_check"

    monitor: str = Field(default="", repr=False)

    def is_reason(self, share: float, symptoms: Sequence[str]) -> bool:
        """Whether `share`, from 0 to 1, of what is judged has changed enough: the `reason_to_train` of the monitor's check, which
        is about these symptoms.
        """
        return share > 0


class OnDrift(OnCheck):
    """Train when inputs have drifted that carry at least `min_importance` of the importance of all inputs for the champion, in
    `monitor`, such as drift_week, or in any Drift. Where the importance is not known, all inputs have the same. With
    `unless_performance_holds`, not while every Estimation is healthy and no Performance raises an alarm; without an Estimation,
    not while every Performance has enough outcomes and is healthy.
    """

    MODULE = f"{TRIGGERS}.on_drift"

    min_importance: float = Field(default=0.3, gt=0, le=1)
    unless_performance_holds: bool = Field(default=False, repr=False)

    def is_reason(self, share: float, symptoms: Sequence[str]) -> bool:
        return share >= self.min_importance


class OnPerformance(OnCheck):
    """Train when the realised metric of the window is worse than `bound`: in `monitor`, or in any Performance."""

    metric: Metric
    bound: float

    def contradictions(self) -> Iterator[str]:
        yield from bound_problems(self.metric, self.bound)

    def is_reason(self, share: float, symptoms: Sequence[str]) -> bool:
        return share > 0 and MORE_LOSS not in symptoms


class OnLoss(OnCheck):
    """Train when labels that are too few for OnPerformance show that the champion's answers lose more than the rows of its
    evaluation: in `monitor`, or in any Performance.
    """

    def is_reason(self, share: float, symptoms: Sequence[str]) -> bool:
        return share > 0 and MORE_LOSS in symptoms


class OnAlarm(OnCheck):
    """Train when the check of `monitor` fails, which is the name of an OwnMonitor or of an Estimation, such as call_load."""

    monitor: str = Field(min_length=1)


class OnVolume(Trigger):
    """Train on every `rows` labelled rows that are new since the champion was trained."""

    MODULE = f"{TRIGGERS}.on_volume"

    rows: int = Field(ge=1)


class OnCode(Trigger):
    """Train when what a model is made by has changed since the champion was trained: features, label, split, trainer, search, the
    modules of transforms and trainers, or the platform's training code.
    """

    MODULE = f"{TRIGGERS}.on_code"


def trigger_names(triggers: Sequence[Trigger]) -> list[str]:
    """The name of each, such as on_drift. It does not depend on their order."""
    return [f"{snake_case(type(one).__name__)}{ending}" for one, ending in zip(triggers, endings(triggers), strict=True)]
