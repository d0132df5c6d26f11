"""Explains one prediction by Shapley values: how much each known input moves it away from the baseline."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops_assets.training.signature import UNKNOWN, Signature

Score = Callable[[NDArray[np.float32]], NDArray[np.float64]]
Inputs = NDArray[np.float32]
MAX_PERMUTATIONS = 200
ROWS_A_CALL = 512  # of the model; a call costs some 20 µs before its first row
MIN_PROBABILITY = 1e-7  # the least distance from 1 that 32 bits hold: log-odds of 0 and 1 are infinite
INTERACTING = 3  # with fewer inputs one ordering and its reverse are all that there are


class Unexplainable(RuntimeError):
    """The model gave no probability for some inputs known and others missing."""


@dataclass(frozen=True)
class Explanation:
    """`contributions` in log-odds by input, the largest first. They add up, to rounding: log-odds of `baseline_probability`
    plus all of them are the log-odds of the prediction, both kept MIN_PROBABILITY away from 0 and 1.

    An input that is missing, or an unknown category, equals the baseline and is left out. `standard_error` is the largest
    of the contributions', in log-odds; None after a single pair that is not exact.
    """

    baseline_probability: float
    contributions: Mapping[str, float]
    permutations: int
    standard_error: float | None


def nothing_known(signature: Signature) -> Inputs:
    """The baseline, shape (inputs,): every number missing, every category unknown."""
    numeric = np.full(len(signature.numeric), np.nan, np.float32)
    return np.concatenate([numeric, np.full(len(signature.categories), UNKNOWN, np.float32)])


def explain(
    score: Score,
    row: Inputs,
    baseline: Inputs,
    *,
    names: Sequence[str],
    rng: np.random.Generator,
    deadline: Callable[[], bool],
    max_permutations: int = MAX_PERMUTATIONS,
) -> Explanation:
    """Explains `score(row)` against `score(baseline)`, both of shape (inputs,), the inputs called `names`.

    Samples orderings, each with its reverse (Castro, Gómez and Tejada, 2009). `score` maps (rows, inputs) to probabilities
    (rows,). Ends after `max_permutations` orderings (at least one pair), or at the first call of the model after which
    `deadline` is True. Deterministic for one generator and number of orderings. Raises Unexplainable.
    """
    known = np.flatnonzero((row != baseline) & ~(np.isnan(row) & np.isnan(baseline)))
    ends = _log_odds(score, np.stack([baseline, row]))
    game = _Game(score, row, baseline, known, start=float(ends[0]), end=float(ends[1]))
    pairs = _sample_pairs(game, rng, deadline, max_pairs=max(1, max_permutations // 2))
    means = pairs.mean(axis=0)
    return Explanation(
        baseline_probability=1 / (1 + math.exp(-game.start)),
        contributions={names[int(known[place])]: float(means[place]) for place in np.argsort(-np.abs(means), kind="stable")},
        permutations=2 * len(pairs),
        standard_error=_standard_error(pairs),
    )


@dataclass(frozen=True)
class _Game:
    """Inputs join one after the other; `known` are the places of those that differ from the baseline."""

    score: Score
    row: Inputs
    baseline: Inputs
    known: NDArray[np.intp]
    start: float
    end: float

    def gains(self, orders: NDArray[np.intp]) -> NDArray[np.float64]:
        """What each known input adds as it joins, shape (orderings, known); each row of `orders` permutes 0 to known - 1."""
        joined_at = np.argsort(orders, axis=1)
        steps = np.arange(1, len(self.known))
        inside = joined_at[:, None, :] < steps[None, :, None]
        rows = np.tile(self.baseline, (inside.shape[0], inside.shape[1], 1))
        rows[:, :, self.known] = np.where(inside, self.row[self.known], self.baseline[self.known])
        between = _log_odds(self.score, rows.reshape(-1, len(self.row))).reshape(inside.shape[:2])
        walks = np.pad(between, ((0, 0), (1, 1)))
        # The ends are scored once: in batches of another size they differ in their last bits, and nothing would add up.
        walks[:, 0], walks[:, -1] = self.start, self.end
        return np.take_along_axis(np.diff(walks, axis=1), joined_at, axis=1)


def _sample_pairs(game: _Game, rng: np.random.Generator, deadline: Callable[[], bool], *, max_pairs: int) -> NDArray[np.float64]:
    """Means of pairs, shape (pairs, known). A pair is exact where only pairs of inputs interact."""
    players = len(game.known)
    if players == 0:
        return np.zeros((1, 0))
    wanted = max_pairs if players >= INTERACTING else 1
    pairs_a_call = max(1, ROWS_A_CALL // (2 * players))
    pairs: list[NDArray[np.float64]] = []
    for first in range(0, wanted, pairs_a_call):
        orders = rng.permuted(np.tile(np.arange(players), (min(pairs_a_call, wanted - first), 1)), axis=1)
        gains = game.gains(np.concatenate([orders, orders[:, ::-1]]))
        pairs.append((gains[: len(orders)] + gains[len(orders) :]) / 2)
        if deadline():
            break
    return np.concatenate(pairs)


def _standard_error(pairs: NDArray[np.float64]) -> float | None:
    count, players = pairs.shape
    if players < INTERACTING:
        return 0.0
    return float(pairs.std(axis=0, ddof=1).max() / math.sqrt(count)) if count > 1 else None


def _log_odds(score: Score, rows: Inputs) -> NDArray[np.float64]:
    if not len(rows):
        return np.empty(0)
    probability = score(rows)
    if not np.isfinite(probability).all():
        raise Unexplainable("explanation · the model gives no number where some inputs are missing. Request none.")
    kept = np.clip(probability, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return np.log(kept / (1 - kept))
