"""A cause of an alarm, and how causes explain one another."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from math import prod
from typing import NamedTuple

from mlops_assets.foundation.moments import to_minute

LIKELY, VERY_LIKELY = 0.5, 0.8
NEGLIGIBLE = 0.05


class Kind(StrEnum):
    """In the order of the graph: what is wrong with a delivery shows in all that is made from it."""

    PARTITION = "broken or late partition"
    SCHEMA = "schema or unit change"
    TRANSFORM = "changed transform"
    STALE_VIEW = "stale feature view"
    SKEW = "training/serving skew"
    SEGMENT = "one segment"
    RELATION = "changed relation"
    POPULATION = "population shift"
    TOO_FEW = "too few rows"


ORDER = {kind: place for place, kind in enumerate(Kind)}


class Cause(NamedTuple):
    """`where` is an asset with a partition, column or segment of it; `since` is None where it began before the window.
    `confidence` is from 0 to 1. `symptoms` are the inputs that it explains; none: whatever there is.
    """

    kind: Kind
    where: str
    since: datetime | None
    confidence: float
    evidence: str
    remedy: str
    symptoms: frozenset[str] = frozenset()

    @property
    def sure(self) -> str:
        words = {VERY_LIKELY: "very likely", LIKELY: "likely"}
        return next((word for bound, word in words.items() if self.confidence >= bound), "possible")

    @property
    def brief(self) -> str:
        began = f"since {to_minute(self.since)}" if self.since else "since before the window"
        return f"{self.sure}: {self.kind} in {self.where}, {began}."

    @property
    def sentence(self) -> str:
        return f"{self.brief} {self.evidence} {self.remedy}"


def rank(causes: Sequence[Cause]) -> list[Cause]:
    """First the one that is probable and explains most of what has changed. A cause is explained away by those before it in the
    graph, by as much as they are probable and cover its symptoms: stale features look like drift, and it is the missing file that
    made them stale.
    """
    adjusted = [one._replace(confidence=one.confidence * _unexplained(one, causes)) for one in causes]
    whole = Cause(Kind.POPULATION, "", None, 0.0, "", "", frozenset[str]().union(*(one.symptoms for one in causes)))
    kept = [one for one in adjusted if one.confidence >= NEGLIGIBLE]
    return sorted(kept, key=lambda one: (-one.confidence * _covered(whole, one), ORDER[one.kind], one.where))


def _unexplained(cause: Cause, causes: Sequence[Cause]) -> float:
    upstream = [one for one in causes if ORDER[one.kind] < ORDER[cause.kind]]
    return prod(1 - one.confidence * _covered(cause, one) for one in upstream)


def _covered(cause: Cause, by: Cause) -> float:
    """The share of its symptoms."""
    if not cause.symptoms or not by.symptoms:
        return 1.0
    return len(cause.symptoms & by.symptoms) / len(cause.symptoms)
