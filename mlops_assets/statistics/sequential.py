"""Sequential tests by betting: the wealth of bets against a claim is the evidence, valid however often it is checked.

A claim is that the challenger's outcomes, in [0, 1] where 1 is worst, are on average at most `margin` above the champion's.
While it holds, no bettor's wealth grows in expectation, so that it ever reaches 1 / alpha with probability at most alpha
(Ville's inequality; Waudby-Smith & Ramdas 2023, https://arxiv.org/abs/2010.09686).
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from mlops_assets.statistics.metrics import Array

# Shares of the largest bet that cannot lose everything. Small shares detect small harm best: errors of 0.5% against a
# margin of 0.1% with 1/250. Eleven bettors cost log(11) = 2.4 of some 6 that a breach needs.
STAKES = 2.0 ** -np.arange(1, 12)
BLOCK = 1024  # rows at once: (rows, claims, stakes) then stays in the processor's cache


@dataclass(frozen=True)
class Wealth:
    """The wealth of bets against c claims since the start of the rollout, and the outcomes since `counted_anew`.

    `logs` is (c, stakes), natural logs, each stake starting at 1; `peak` the largest log of their mean so far; `rows` and
    `totals` count and sum the outcomes of champion and challenger: (2,) and (2, c).
    """

    logs: Array
    peak: float
    rows: Array
    totals: Array

    @classmethod
    def fresh(cls, claims: int) -> Self:
        return cls(np.zeros((claims, len(STAKES))), 0.0, np.zeros(2, dtype=np.int64), np.zeros((2, claims)))

    def counted_anew(self) -> Self:
        """The same wealth, with no outcome counted."""
        return replace(self, rows=np.zeros_like(self.rows), totals=np.zeros_like(self.totals))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, to the last bit."""
        return {"logs": self.logs.tolist(), "peak": self.peak, "rows": self.rows.tolist(), "totals": self.totals.tolist()}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        return cls(np.array(fields["logs"]), fields["peak"], np.array(fields["rows"]), np.array(fields["totals"]))


def needed(alpha: float) -> float:
    """The peak at which all claims together are refuted, wrongly so with probability at most `alpha`."""
    return -math.log(alpha)


def bet_on_draws(wealth: Wealth, drawn: Array, outcome: Array, *, share: float, margin: float, most: float = 1.0) -> Wealth:
    """The wealth after rows of a drawn arm: (n,) `drawn` is true for the challenger, with chance `share`; `outcome` is (n, c).

    Only the draw is random, so nothing is assumed about the traffic, which may drift, nor about the outcomes of one arm,
    which may be correlated. With A the draw and m the champion's mean so far, which only lessens the noise, each row pays
    x = (A - share) * (outcome - margin * A - m), whose expectation is share * (1 - share) * (the challenger's excess -
    margin). `most` is the highest possible outcome of the champion. Raises ValueError on outcomes out of range and on a
    share that draws nothing.
    """
    if not 0 < share < 1:
        raise ValueError(f"sequential · share is {share}; legal: above 0 and below 1. Use bet_on_pairs instead.")
    arms = drawn.astype(bool)[:, None]
    theirs, whose = np.where(arms, 0.0, outcome), (~arms).astype(np.int64)
    _require_within(outcome, 1.0)
    _require_within(theirs, most)
    known = wealth.totals[0] + np.cumsum(theirs, axis=0) - theirs
    mean: Array = known / (wealth.rows[0] + np.cumsum(whose, axis=0) - whose + 1)
    paid: Array = np.where(arms, (1 - share) * (outcome - margin - mean), -share * (outcome - mean))
    worst = np.maximum((1 - share) * (margin + mean), share * (most - mean))
    champion, challenger = theirs.sum(axis=0), outcome.sum(axis=0) - theirs.sum(axis=0)
    rows, totals = np.array([whose.sum(), len(arms) - whose.sum()]), np.array([champion, challenger])
    return _grown(wealth, paid / worst, rows, totals)


def bet_on_pairs(wealth: Wealth, challenger: Array, champion: Array, *, margin: float, most: float = 1.0) -> Wealth:
    """The wealth after rows that both have scored: outcomes (n, c), of which the champion's are at most `most`.

    Each row pays challenger - champion - margin. Here the rows are random: the claim is about the traffic as it arrives.
    Raises ValueError on outcomes out of range.
    """
    _require_within(challenger, 1.0)
    _require_within(champion, most)
    rows, totals = np.full(2, len(challenger)), np.array([champion.sum(axis=0), challenger.sum(axis=0)])
    return _grown(wealth, (challenger - champion - margin) / (most + margin), rows, totals)


def _grown(wealth: Wealth, paid: Array, rows: Array, totals: Array) -> Wealth:
    """The wealth after (n, c) payments of at least -1, each stake betting its share of what it has; adds `rows` and `totals`."""
    logs, peak = wealth.logs, wealth.peak
    for start in range(0, len(paid), BLOCK):
        path = logs + np.cumsum(np.log1p(paid[start : start + BLOCK, :, None] * STAKES), axis=0)
        highest = float(path.max())
        if highest > peak:  # the mean cannot be above the highest; most blocks need no more
            peak = max(peak, highest + math.log(np.exp(path - highest).mean(axis=(1, 2)).max()))
        logs = path[-1]
    return Wealth(logs, peak, wealth.rows + rows, wealth.totals + totals)


def _require_within(outcome: Array, most: float) -> None:
    if not bool(np.all((outcome >= 0) & (outcome <= most))):
        raise ValueError(f"sequential · an outcome is not within 0 to {most:g}. Scale it, and leave out unknown outcomes.")
