"""The split of a proposed use case, and whether its parts have enough rows to look for leaks."""

import math
from datetime import timedelta
from typing import NamedTuple

from mlops_assets.foundation.durations import ONE_DAY
from mlops_assets.inspection.columns import InspectedColumn
from mlops_assets.spec.defaults import BY_TIME
from mlops_assets.spec.split import RandomSplit, TimeSplit

FEWEST = 45  # rows of each class in each part: NoLeak needs 30, and days differ
SCORED = 2  # NoLeak compares a split by time with one at random on half of the test rows
RARER_HALF = 0.35  # of numbers, which NoLeak halves at the median: in a season more are above it
USUAL_SPAN_DAYS = 120  # from which the usual parts leave enough to train on
MIN_SPAN_DAYS = 5
MAX_HELD_OUT, MAX_TEST, USUAL_TEST = 0.6, 0.3, 0.2


class ProposedSplit(NamedTuple):
    """`split` is None where the default suits. `is_enough`: NoLeak can be measured."""

    split: TimeSplit | RandomSplit | None
    is_enough: bool


def smallest_share(label: InspectedColumn) -> float:
    """Of the classes; of numbers, of their rarer half."""
    known = label.values.drop_nulls()
    few = known.n_unique() <= 50 and label.dtype in ("bool", "string", "int")
    return int(known.value_counts()["count"].to_numpy().min()) / len(known) if few else RARER_HALF


def propose_split(rows: int, share: float, span: timedelta | None) -> ProposedSplit:
    """`rows` with a label, of which the rarest class is `share`, in `span` (None: without a time)."""
    needed = FEWEST / share
    if span is None or span.days < MIN_SPAN_DAYS:
        test = math.ceil(20 * needed / rows) / 20  # a twentieth more at a time
        is_enough = test <= MAX_TEST
        wider = RandomSplit(test=test) if USUAL_TEST < test <= MAX_TEST else None
        return ProposedSplit(wider or (RandomSplit() if span else None), is_enough)
    is_short = span.days < USUAL_SPAN_DAYS
    usual = TimeSplit(test=max(1, span.days // 4) * ONE_DAY, validation=max(1, span.days // 8) * ONE_DAY) if is_short else BY_TIME
    tested, validated = (math.ceil(parts * needed * span.days / rows) * ONE_DAY for parts in (SCORED, 1))
    wider = TimeSplit(test=max(usual.test, tested), validation=max(usual.validation, validated))
    is_enough = wider.test + wider.validation <= MAX_HELD_OUT * span
    split = wider if is_enough else usual
    return ProposedSplit(None if split == BY_TIME else split, is_enough)
