"""Monitors after promotion, and triggers of the next training. Their statistics are in statistics/ and monitoring/."""

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import ClassVar, Literal

from pydantic import Field

from mlops_assets.spec.gate import Metric, bound_problems
from mlops_assets.spec.implemented import Implemented, snake_case
from mlops_assets.spec.spec import Spec

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
# The fields of a schedule: lowest and highest number, and the words for the lowest and the following numbers.
CRON: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "minute": (0, 59, ()),
    "hour": (0, 23, ()),
    "day of month": (1, 31, ()),
    "month": (1, 12, MONTHS),
    "day of week": (0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
}

NAMED_DAYS = {"day of month": "l", "day of week": "l[0-7]|[0-7]#[1-5]"}  # the last day; the last or nth of a weekday


class Suffixed(Spec):
    """What may be declared several times. `suffix` ends its name, such as `drift_week`. Without one, the only one of its kind has
    the kind's name, and several are named by their values that are not the default, such as `drift_window_7_days`.
    """

    suffix: str = Field(default="", pattern=r"^([a-z][a-z0-9_]*)?$", repr=False)


class Drift(Suffixed):
    """Served inputs of the last `window` against the champion's training window. An input has drifted when its PSI exceeds
    `max_psi` and its KS statistic (numeric inputs) `max_ks`, when more than `max_new_share` of its values are new, or when its
    share of missing values changed by more than `max_missing_change`. A change that chance explains does not count: of those
    that are reported, at most the share `false_discovery_rate` is expected to be chance. The check fails when more than
    `max_share` of the inputs have drifted.
    """

    CHECK: ClassVar[str] = "inputs_like_training"

    window: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))  # shorter ones alarm on weather alone
    max_psi: float = Field(default=0.25, gt=0)
    max_ks: float = Field(default=0.2, gt=0, lt=1)
    max_new_share: float = Field(default=0.05, ge=0, lt=1)
    max_missing_change: float = Field(default=0.1, gt=0, lt=1)
    false_discovery_rate: float = Field(default=0.01, gt=0, lt=1)
    max_share: float = Field(default=0.3, ge=0, le=1)
    min_rows: int = Field(default=1000, ge=1)


class Performance(Suffixed):
    """Realised quality of the answered requests, by day and month, once their labels are known."""

    CHECK: ClassVar[str] = "realised_metric_within_bound"

    window: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))
    min_rows: int = Field(default=1000, ge=1)


class Skew(Suffixed):
    """Training/serving skew: features that the answers of the last `window` used, against the same recomputed from the feature
    tables. Numbers agree within max(`relative` of the larger, `absolute`). The check fails when more than `max_mismatch_rate`
    of at least `min_rows` answers used any feature that is recomputed differently. At most `max_rows` of them are recomputed.
    """

    CHECK: ClassVar[str] = "features_like_recomputed"

    window: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))
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


class OwnMonitor(Suffixed, Implemented):
    """A monitor of your own, in any package: a subclass, and a function `monitor` in its module, which gets the rows of the last
    `window` of the table READS. CHECK is the name of its check.
    """

    FUNCTION = "monitor"
    PAGE = "docs/monitors.md"
    CHECK: ClassVar[str] = "within_bounds"
    READS: ClassVar[Literal["predictions", "outcomes"]] = "predictions"

    window: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))
    min_rows: int = Field(default=1000, ge=1)


class OnSchedule(Suffixed):
    """Train at these times (cron, UTC)."""

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


class OnDrift(Spec):
    """Train when a drift check fails: that of `monitor`, such as drift_week, or of any Drift."""

    monitor: str = Field(default="", repr=False)


class OnPerformance(Spec):
    """Train when the realised metric of the window is worse than `bound`: in `monitor`, or in any Performance."""

    metric: Metric
    bound: float
    monitor: str = Field(default="", repr=False)

    def contradictions(self) -> Iterator[str]:
        yield from bound_problems(self.metric, self.bound)


class OnAlarm(Spec):
    """Train when the check of `monitor` fails, which is the name of an OwnMonitor, such as call_load."""

    monitor: str = Field(min_length=1)


Monitor = Drift | Performance | Skew | OwnMonitor
Trigger = OnSchedule | OnDrift | OnPerformance | OnAlarm
# In the text of a value, so that different schedules stay different: 0 6 * * 1 is 0_6_any_any_1.
SIGNS = {"*": " any ", "/": " step ", "-": " to ", ",": " and ", "#": " nth "}


def stage_names(monitors: Sequence[Monitor]) -> list[str]:
    """The name of each monitor's asset. It does not depend on their order."""
    return [f"{snake_case(type(monitor).__name__)}{ending}" for monitor, ending in zip(monitors, endings(monitors), strict=True)]


def endings(declared: Sequence[Suffixed]) -> list[str]:
    """What follows the kind in the name of each, with its underscore; empty for the only one of a kind."""
    unnamed = [type(one) for one in declared if not one.suffix]
    texts = [one.suffix or (_changed_values(one) if unnamed.count(type(one)) > 1 else "") for one in declared]
    return [f"_{text}" if text else "" for text in texts]


def _changed_values(spec: Spec) -> str:
    fields = type(spec).model_fields
    changed = [f"{name} {_text(value)}" for name, value in spec if value != fields[name].default]
    return re.sub(r"\W+", "_", " ".join(changed)).strip("_").lower()


def _text(value: object) -> str:
    if isinstance(value, timedelta):
        return f"{value / timedelta(days=1):g} days"
    return str(value).translate(str.maketrans(SIGNS))


class Freshness(Spec):
    """How old each stage may become before it is reported."""

    raw: timedelta = Field(default=timedelta(hours=36), gt=timedelta(0))
    features: timedelta = Field(default=timedelta(hours=36), gt=timedelta(0))
    predictions: timedelta = Field(default=timedelta(hours=48), gt=timedelta(0))
    service: timedelta = Field(default=timedelta(days=14), gt=timedelta(0))
