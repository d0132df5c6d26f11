"""Judges NoLeak: the candidate reads the label, or what is known only after the prediction (evaluation/leak.py measures)."""

import math
from dataclasses import dataclass

from mlops_assets.evaluation.gates.case import Case, Measurement
from mlops_assets.evaluation.leak import FEWEST, NewerFeatures, SingleInput, SplitGap, explain_alone, newer_features, split_gap
from mlops_assets.spec.gate import NoLeak
from mlops_assets.statistics.metrics import Interval

BLIND = 0.5  # the auc of an input without information


@dataclass(frozen=True)
class _Sign:
    """One sign of a leak: `used` is the used part of what is allowed, above 1 for a leak; nan when undefined."""

    used: Interval
    message: str
    advice: str

    @property
    def leaks(self) -> bool:
        return not self.used.value <= 1


def judge(gate: NoLeak, case: Case) -> Measurement:
    """Measures the largest of three used parts of what is allowed, so that 1 is the bound and more than 1 a leak.

    Of one input: (auc - 0.5) / (max_single_auc - 0.5). Of the splits: (auc of the random split - auc of the split by
    time) / max_split_gap. Of moments: 0, or 1 + the share of rows with a newer feature. nan, and no pass, where rows of
    one class leave the first or the second undefined. The interval is that of the largest part.
    """
    signature, label = case.model.signature, case.use_case.label.name
    alone = explain_alone(case.rows, signature, label, seed=case.seed)
    gap = split_gap(case.training_rows, signature, label, seed=case.seed)
    newer = newer_features(case.training_rows)
    signs = (_of_input(gate, alone[0]), _of_splits(gate, gap), _of_moments(newer))
    leaking = [sign for sign in signs if sign.leaks]
    return Measurement(
        passed=not leaking,
        value=max(signs, key=lambda sign: math.inf if math.isnan(sign.used.value) else sign.used.value).used,
        bound=1.0,
        message="; ".join(sign.message for sign in leaking or signs),
        advice=" ".join(sign.advice for sign in leaking),
        evidence={"inputs": {one.name: one.auc for one in alone}, "splits": vars(gap), "moments": vars(newer)},
    )


def _of_input(gate: NoLeak, most: SingleInput) -> _Sign:
    allowed = gate.max_single_auc - BLIND
    message = f"{most.name} alone has auc {most.auc:.3f}, {_side(most.auc, gate.max_single_auc)}"
    return _Sign(
        Interval(*((auc - BLIND) / allowed for auc in (most.auc, most.low, most.high))),
        f"no input could be tried alone: {FEWEST} test rows of each class are needed" if math.isnan(most.auc) else message,
        f"Is {most.name} known at the moment of the prediction? If not, leave it out; if so, raise max_single_auc."
        if most.auc > gate.max_single_auc
        else "Widen split.test.",
    )


def _of_splits(gate: NoLeak, gap: SplitGap) -> _Sign:
    message = f"a random split has auc {gap.random:.3f}, the split by time {gap.by_time:.3f}: "
    message += f"a gap of {gap.gap:+.3f}, {_side(gap.gap, gate.max_split_gap)}"
    return _Sign(
        Interval(*(value / gate.max_split_gap for value in (gap.gap, gap.low, gap.high))),
        f"the splits could not be compared: every part needs {FEWEST} rows of each class" if math.isnan(gap.gap) else message,
        "Rows of one moment resemble each other: look for an input that identifies the day or the group of a row."
        if gap.gap > gate.max_split_gap
        else "Widen split.test.",
    )


def _of_moments(newer: NewerFeatures) -> _Sign:
    used = 1 + newer.share if newer.share else 0.0
    advice = "Join features as of event_timestamp, and take only labels that become known after it."
    return _Sign(Interval(used, used, used), newer.sentence(), advice)


def _side(value: float, bound: float) -> str:
    return f"{'above' if value > bound else 'within'} {bound:g}"
