"""How a verdict is put into words: a metric against its bound, and the advice that follows a failure.

Belongs here: what several gates say alike. Not here: what only one gate says (its own module).
"""

import math

from mlops_assets.spec.gate import LOWER_IS_BETTER
from mlops_assets.stages.metrics import Interval


def reaches(metric: str, value: float, bound: float) -> bool:
    """Whether `value` is at least as good as `bound`, in the metric's own direction; never for nan."""
    return value <= bound if metric in LOWER_IS_BETTER else value >= bound


def against(metric: str, found: Interval, bound: float) -> str:
    """The metric with its interval, and on which side of the bound it lies."""
    if math.isnan(found.value):
        return f"{metric} is undefined on these rows (one class only)"
    reached = reaches(metric, found.value, bound)
    if metric in LOWER_IS_BETTER:
        return f"{found} {'stays within' if reached else 'is above'} {bound:.3f}"
    return f"{found} {'reaches' if reached else 'is below'} {bound:.3f}"


def sentence(name: str, said: str, *, passed: bool, advice: str) -> str:
    """`<gate> · <said>.`, with the advice behind it when the gate did not pass."""
    return f"{name} · {said}." + ("" if passed else f" {advice}")
