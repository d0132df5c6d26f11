"""A metric against its bound, in its own direction: the comparison and the sentence."""

import math

from mlops_assets.spec.gate import LOWER_IS_BETTER
from mlops_assets.statistics.metrics import Interval


def reaches(metric: str, value: float, bound: float) -> bool:
    """Whether `value` is at least as good as `bound`; never for nan."""
    return value <= bound if metric in LOWER_IS_BETTER else value >= bound


def against(metric: str, measured: Interval, bound: float) -> str:
    """The metric with its interval, and on which side of the bound it is."""
    if math.isnan(measured.value):
        return f"{metric} is undefined on these rows (one class only)"
    reached = reaches(metric, measured.value, bound)
    if metric in LOWER_IS_BETTER:
        return f"{measured} {'stays within' if reached else 'is above'} {bound:.3f}"
    return f"{measured} {'reaches' if reached else 'is below'} {bound:.3f}"
