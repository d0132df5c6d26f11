"""Tests that stay valid however often one looks at them: bets on claims, whose wealth is the evidence.

Belongs here: the bets, their state and its JSON. Not here: which claims a rollout makes of its rows (rollout_evidence.py)
and what follows (rollout_step.py). A claim says that the challenger's outcomes, in [0, 1] and bad when high, are on average
at most `margin` above the champion's. While it holds, no bettor's wealth is expected to grow, so that it ever reaches
1 / alpha with probability at most alpha (Ville's inequality; Waudby-Smith & Ramdas 2023, https://arxiv.org/abs/2010.09686).
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from mlops_assets.stages.metrics import Array

# Shares of the largest bet that cannot lose everything. Small, slow harm is best bet on with small shares: rare errors of
# 0.5% against a margin of 0.1% with 1/250. Eleven bettors cost log(11) = 2.4 of some 6 that a breach needs.
STAKES = 2.0 ** -np.arange(1, 12)
BLOCK = 1024  # rows at once: (rows, claims, stakes) then stays in the processor's cache


@dataclass(frozen=True)
class Wealth:
    """What bets against c claims have won since the rollout began, and their outcomes since `counted_anew`.

    `logs` is (c, stakes), natural logs, each stake having begun with 1; `peak` the largest log of their mean that was ever
    reached; `rows` and `totals` count and sum the outcomes of champion and challenger: (2,) and (2, c).
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
    def from_dict(cls, said: dict[str, Any]) -> Self:
        return cls(np.array(said["logs"]), said["peak"], np.array(said["rows"]), np.array(said["totals"]))


def needed(alpha: float) -> float:
    """The peak at which all claims together are refuted, wrongly so with probability at most `alpha`."""
    return -math.log(alpha)


def bet_on_draws(wealth: Wealth, drawn: Array, outcome: Array, *, share: float, margin: float, most: float = 1.0) -> Wealth:
    """The wealth after rows whose arm was drawn: (n,) `drawn` says the challenger's, with chance `share`; `outcome` is (n, c).

    The draw is all that is random, so nothing is asked of the traffic, which may drift, nor of the outcomes of one arm,
    which may hang together. With A the draw and m the champion's mean so far, which only lessens the noise, each row pays
    x = (A - share) * (outcome - margin * A - m), whose expectation is share * (1 - share) * (what the challenger is worse -
    margin). `most` is the highest outcome that the champion can have. Raises ValueError on outcomes out of range and on a
    share that draws nothing.
    """
    if not 0 < share < 1:
        raise ValueError(f"sequential · share is {share}; legal: above 0 and below 1, or nothing is drawn. Bet on pairs.")
    arms = drawn.astype(bool)[:, None]
    theirs, whose = np.where(arms, 0.0, outcome), (~arms).astype(np.int64)
    _demand_within(outcome, 1.0)
    _demand_within(theirs, most)
    known = wealth.totals[0] + np.cumsum(theirs, axis=0) - theirs
    mean: Array = known / (wealth.rows[0] + np.cumsum(whose, axis=0) - whose + 1)
    paid: Array = np.where(arms, (1 - share) * (outcome - margin - mean), -share * (outcome - mean))
    worst = np.maximum((1 - share) * (margin + mean), share * (most - mean))
    champion, challenger = theirs.sum(axis=0), outcome.sum(axis=0) - theirs.sum(axis=0)
    rows, totals = np.array([whose.sum(), len(arms) - whose.sum()]), np.array([champion, challenger])
    return replace(_grown(wealth, paid / worst), rows=wealth.rows + rows, totals=wealth.totals + totals)


def bet_on_pairs(wealth: Wealth, challenger: Array, champion: Array, *, margin: float, most: float = 1.0) -> Wealth:
    """The wealth after rows that both have scored: outcomes (n, c), of which the champion's are at most `most`.

    Each row pays challenger - champion - margin. Here the rows are the chance: the claim is about the traffic as it comes.
    Raises ValueError on outcomes out of range.
    """
    _demand_within(challenger, 1.0)
    _demand_within(champion, most)
    rows, totals = np.full(2, len(challenger)), np.array([champion.sum(axis=0), challenger.sum(axis=0)])
    grown = _grown(wealth, (challenger - champion - margin) / (most + margin))
    return replace(grown, rows=wealth.rows + rows, totals=wealth.totals + totals)


def _grown(wealth: Wealth, paid: Array) -> Wealth:
    """The wealth after (n, c) payments of at least -1, each stake betting its share of what it has."""
    logs, peak = wealth.logs, wealth.peak
    for start in range(0, len(paid), BLOCK):
        path = logs + np.cumsum(np.log1p(paid[start : start + BLOCK, :, None] * STAKES), axis=0)
        highest = float(path.max())
        if highest > peak:  # the mean cannot be above the highest; most blocks need no more
            peak = max(peak, highest + math.log(np.exp(path - highest).mean(axis=(1, 2)).max()))
        logs = path[-1]
    return replace(wealth, logs=logs, peak=peak)


def _demand_within(outcome: Array, most: float) -> None:
    if not bool(np.all((outcome >= 0) & (outcome <= most))):
        raise ValueError(f"sequential · an outcome is not within 0 to {most:g}. Scale it, and leave out what is not known.")
