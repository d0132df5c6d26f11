"""The features of some rows as plain values, which is what a server wants of them.

Belongs here: the values, where they come from, how old they are. Not here: looking them up (feature_store.py). A frame of 25
features costs 0.4 ms to make and 0.3 to take apart again, as much as all the rest of a lookup.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from mlops_assets.ports.online_mirror import Answer, Moments
from mlops_assets.ports.packed_rows import NEVER

POINT_IN_TIME = "point_in_time"
Ages = dict[str, float | None]


class LookedUp(NamedTuple):
    """Row by row as asked: `features` by name (None or NaN: not known), where each row's come from, and their ages in
    seconds by view (None: not known).
    """

    features: dict[str, list[Any]]
    features_from: list[str]
    ages: list[Ages | None]

    def replace(self, places: Sequence[int], others: "LookedUp") -> None:
        """Puts the rows of `others` into these places."""
        pairs = [(column, others.features[name]) for name, column in self.features.items()]
        for ours, theirs in [*pairs, (self.features_from, others.features_from), (self.ages, others.ages)]:
            for place, value in zip(places, cast(list[Any], theirs), strict=True):
                cast(list[Any], ours)[place] = value


def ages(answer: Answer, at: Moments) -> list[Ages | None]:
    """Seconds from each view's event time to `at`, shape (rows,)."""
    rows = zip(at.tolist(), answer.event_times.tolist(), strict=True)
    return [
        {view: None if time == NEVER else (moment - time) / 1e6 for view, time in zip(answer.views, times, strict=True)}
        for moment, times in rows
    ]
