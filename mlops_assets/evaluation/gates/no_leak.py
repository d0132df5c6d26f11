"""Judges NoLeak: the candidate reads the label, or facts known only after the prediction (evaluation/leak.py measures)."""

import math
from typing import NamedTuple

from mlops_assets.evaluation.gates.case import Case, Measurement
from mlops_assets.evaluation.leak import FEWEST, NewerFeatures, SplitGap, explain_alone, newer_features, split_gap
from mlops_assets.spec.gate import NoLeak
from mlops_assets.statistics.metrics import Interval

BLIND = 0.5  # the auc of an input without information


class _Sign(NamedTuple):
    """One sign of a leak: `used` is the used part of the bound, above 1 for a leak; nan when undefined."""

    used: Interval
    message: str
    advice: str


def judge(gate: NoLeak, case: Case) -> Measurement:
    """Measures the largest used part of three bounds, so that more than 1 is a leak. nan, and no pass, where rows of one
    class leave a part undefined. The interval is that of the largest part.

    Of one input: (auc - 0.5) / (max_single_auc - 0.5). Of the splits: (auc of the random split - auc of the split by
    time) / max_split_gap. Of moments: 0, or 1 + the share of rows with a newer feature.
    """
    signature, label = case.model.signature, case.use_case.label.name
    alone = explain_alone(case.rows, signature, label, seed=case.seed)
    gap = split_gap(case.training_rows, signature, label, seed=case.seed)
    newer = newer_features(case.training_rows)
    signs = (_of_input(gate, *next(iter(alone.items()))), _of_splits(gate, gap), _of_moments(newer))
    leaking = [sign for sign in signs if not sign.used.value <= 1]  # nan is no pass
    return Measurement(
        passed=not leaking,
        value=max((sign.used for sign in signs), key=lambda used: math.inf if math.isnan(used.value) else used.value),
        bound=1.0,
        message="; ".join(sign.message for sign in leaking or signs),
        advice=" ".join(sign.advice for sign in leaking),
        evidence={"inputs": {name: auc.value for name, auc in alone.items()}, "splits": vars(gap), "moments": vars(newer)},
    )


def _of_input(gate: NoLeak, name: str, auc: Interval) -> _Sign:
    used = Interval(*((value - BLIND) / (gate.max_single_auc - BLIND) for value in (auc.value, auc.low, auc.high)))
    if math.isnan(auc.value):
        return _Sign(used, f"no input could be tried alone: {FEWEST} test rows of each class are needed", "Widen split.test.")
    return _Sign(
        used,
        f"{name} alone has auc {auc.value:.3f}, {_side(auc.value, gate.max_single_auc)}",
        f"Is {name} known at the moment of the prediction? If not, leave it out; if so, raise max_single_auc.",
    )


def _of_splits(gate: NoLeak, gap: SplitGap) -> _Sign:
    used = Interval(*(value / gate.max_split_gap for value in (gap.gap, gap.low, gap.high)))
    if math.isnan(gap.gap):
        message = f"the splits could not be compared: every part needs {FEWEST} rows of each class"
        return _Sign(used, message, "Widen split.test.")
    return _Sign(
        used,
        f"a random split has auc {gap.random:.3f}, the split by time {gap.by_time:.3f}: "
        f"a gap of {gap.gap:+.3f}, {_side(gap.gap, gate.max_split_gap)}",
        "Rows of one moment resemble each other: look for an input that identifies the day or the group of a row.",
    )


def _of_moments(newer: NewerFeatures) -> _Sign:
    used = 1 + newer.share if newer.share else 0.0
    advice = "Join features as of event_timestamp, and use only labels that become known after it."
    return _Sign(Interval(used, used, used), newer.sentence(), advice)


def _side(value: float, bound: float) -> str:
    return f"{'above' if value > bound else 'within'} {bound:g}"
