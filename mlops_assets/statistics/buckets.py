"""Percentiles and shares of what was counted in buckets, as the histograms of Prometheus are."""

import math
from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np

from mlops_assets.statistics.metrics import Array


class Buckets(NamedTuple):
    """`below` are the counts of values at or below each of the rising `edges`, the last of which is infinite."""

    edges: Array
    below: Array

    @classmethod
    def of_counts(cls, below: Mapping[float, float]) -> Self:
        """Counts by edge; without any, of no value."""
        edges = np.array(sorted({*below, math.inf}))
        return cls(edges, np.array([below.get(edge, 0.0) for edge in edges]))

    @property
    def total(self) -> float:
        return float(self.below[-1])

    def quantile(self, share: float) -> float:
        """Linear in the bucket in which the quantile is; above the last finite edge, that edge. nan without values."""
        if not self.total:
            return math.nan
        rank = share * self.total
        at = int(np.searchsorted(self.below, rank))
        low = self.edges[at - 1] if at else 0.0
        if math.isinf(self.edges[at]):
            return float(low)
        before = self.below[at - 1] if at else 0.0
        return float(low + (self.edges[at] - low) * (rank - before) / (self.below[at] - before))

    def above(self, bound: float) -> float:
        """How many values are above `bound`: exact where that is an edge, and else linear in its bucket."""
        finite = np.isfinite(self.edges)
        edges, below = np.append(0.0, self.edges[finite]), np.append(0.0, self.below[finite])
        return self.total - float(np.interp(bound, edges, below))


def exceeds(count: float, total: float, max_share: float, *, significance: float) -> bool:
    """Whether more than `max_share` of `total` were counted, which chance explains with less than `significance` (the exact
    binomial test).
    """
    from scipy.stats import binom

    return count > max_share * total and bool(binom.sf(round(count) - 1, round(total), max_share) < significance)
