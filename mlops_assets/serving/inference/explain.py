"""Explains one prediction by Shapley values: how much each known input moves it away from the baseline."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Score = Callable[[NDArray[np.float32]], NDArray[np.float64]]
Inputs = NDArray[np.float32]
MAX_PERMUTATIONS = 200
ROWS_A_CALL = 512  # of the model; a call costs some 20 µs before its first row
INTERACTING = 3  # with fewer inputs one ordering and its reverse are all that there are


class Unexplainable(RuntimeError):
    """The model gave no number for some inputs known and others missing."""


@dataclass(frozen=True)
class Explanation:
    """`contributions` by input, the largest first; with the score of the baseline they add up to that of the row. An input that
    is missing, or an unknown category, is left out. `standard_error` is the largest; None after a single pair that is not exact.
    """

    baseline: float
    contributions: Mapping[str, float]
    permutations: int
    standard_error: float | None


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
    """Explains `score(row)` against `score(baseline)`, both of shape (inputs,), the inputs called `names`, by sampled orderings,
    each with its reverse (Castro, Gómez and Tejada, 2009). Ends after `max_permutations` orderings (at least one pair), or at the
    first call of the model after which `deadline` is True. Deterministic for one generator and number of orderings. Raises
    Unexplainable.
    """
    known = np.flatnonzero((row != baseline) & ~(np.isnan(row) & np.isnan(baseline)))
    ends = _finite(score, np.stack([baseline, row]))
    # With fewer inputs a pair is exact, as only pairs of inputs interact.
    count = max(1, max_permutations // 2) if len(known) >= INTERACTING else 1
    pairs_a_call = max(1, ROWS_A_CALL // (2 * max(1, len(known))))
    samples: list[NDArray[np.float64]] = []
    for first in range(0, count, pairs_a_call):
        orders = rng.permuted(np.tile(np.arange(len(known)), (min(pairs_a_call, count - first), 1)), axis=1)
        gains = _gains(score, row, baseline, known, ends=ends, orders=np.concatenate([orders, orders[:, ::-1]]))
        samples.append((gains[: len(orders)] + gains[len(orders) :]) / 2)
        if deadline():
            break
    pairs = np.concatenate(samples)  # shape (pairs, known)
    means = pairs.mean(axis=0)
    error = float(pairs.std(axis=0, ddof=1).max() / math.sqrt(len(pairs))) if len(pairs) > 1 else None
    return Explanation(
        baseline=float(ends[0]),
        contributions={names[int(known[place])]: float(means[place]) for place in np.argsort(-np.abs(means), kind="stable")},
        permutations=2 * len(pairs),
        standard_error=error if len(known) >= INTERACTING else 0.0,
    )


def _gains(
    score: Score, row: Inputs, baseline: Inputs, known: NDArray[np.intp], *, ends: NDArray[np.float64], orders: NDArray[np.intp]
) -> NDArray[np.float64]:
    """What each known input adds as it joins, shape (orderings, known); each row of `orders` permutes 0 to known - 1. `known` are
    the places of the inputs that differ from the baseline, `ends` the scores of the baseline and of `row`.
    """
    joined_at = np.argsort(orders, axis=1)
    inside = joined_at[:, None, :] < np.arange(1, len(known))[None, :, None]
    rows = np.tile(baseline, (*inside.shape[:2], 1))
    rows[:, :, known] = np.where(inside, row[known], baseline[known])
    walks = np.pad(_finite(score, rows.reshape(-1, len(row))).reshape(inside.shape[:2]), ((0, 0), (1, 1)))
    # The ends are scored once: in batches of another size they differ in their last bits, and nothing would add up.
    walks[:, 0], walks[:, -1] = ends
    return np.take_along_axis(np.diff(walks, axis=1), joined_at, axis=1)


def _finite(score: Score, rows: Inputs) -> NDArray[np.float64]:
    scores = score(rows)
    if not np.isfinite(scores).all():
        raise Unexplainable("explanation · the model gives no number where some inputs are missing. Request none.")
    return scores
