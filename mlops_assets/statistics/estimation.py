"""Metrics of rows without labels, from what their labels are likely to be given the outputs of the model.

That is learned from labelled rows of the same model. Of probabilities it is confidence-based performance estimation (CBPE), of
numbers the errors that predictions of that size had, in the place of direct loss estimation (DLE); both are described by NannyML,
https://nannyml.readthedocs.io/en/stable/how_it_works/performance_estimation.html. An estimate holds while labels depend on the
outputs as they did: it does not show a change of that relation.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple, Self

import numpy as np

from mlops_assets.statistics.metrics import CONFIDENCE, Array, Interval, Sample

Draw = Callable[[Array, np.random.Generator], Array]  # likely labels of the rows with these outputs, (n,)
DRAWS, MAX_ROWS = 100, 20_000  # of more rows a sample is measured: an interval is then as wide as for that many
BIN_ROWS, MAX_BINS = 100, 20
LOG_ODDS = 16.0  # the farthest from 0 that 32 bits tell from certainty


def _log_odds(probability: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.clip(np.log(probability) - np.log1p(-probability), -LOG_ODDS, LOG_ODDS)


class Calibration(NamedTuple):
    """What is added to the log-odds of a probability, as a line between the bins in which it was learned; their `places` rise. So
    rows keep their order within a bin, which isotonic regression loses.
    """

    places: Array
    added: Array

    @classmethod
    def of(cls, truth: Array, probability: Array) -> Self:
        """From (n,) labels of 0 and 1, in bins of equally many rows. A bin counts one more row that is as predicted."""
        order = np.argsort(probability, kind="stable")
        parts = np.array_split(order, max(1, min(MAX_BINS, len(order) // BIN_ROWS)))
        mean = np.array([probability[part].mean() for part in parts])
        share = np.array([(truth[part].sum() + middle) / (len(part) + 1) for part, middle in zip(parts, mean, strict=True)])
        return cls(_log_odds(mean), _log_odds(share) - _log_odds(mean))

    def of_labels(self, probability: Array) -> Array:
        """The probability that the label is 1."""
        odds = _log_odds(probability)
        return 1 / (1 + np.exp(-odds - np.interp(odds, self.places, self.added)))


def likely_binary(truth: Array, probability: Array) -> Draw:
    calibration = Calibration.of(truth, probability)
    return lambda output, rng: (rng.random(len(output)) < calibration.of_labels(output)).astype(np.int8)


def likely_classes(truth: Array, probability: Array) -> Draw:
    """Each class is calibrated against the rest."""
    calibrations = [Calibration.of(truth == place, column) for place, column in enumerate(probability.T)]

    def draw(output: Array, rng: np.random.Generator) -> Array:
        shares = np.stack([one.of_labels(column) for one, column in zip(calibrations, output.T, strict=True)], axis=1)
        below = np.cumsum(shares, axis=1)
        drawn: Array = (rng.random((len(output), 1)) * below[:, -1:] >= below).sum(axis=1)
        return drawn

    return draw


def likely_numbers(truth: Array, prediction: Array) -> Draw:
    """The prediction, with the error of one of the rows whose prediction is in the same bin."""
    order = np.argsort(prediction, kind="stable")
    parts = np.array_split(order, max(1, min(MAX_BINS, len(order) // BIN_ROWS)))
    starts, errors = np.array([prediction[part[0]] for part in parts[1:]]), (truth - prediction)[order]
    sizes = np.array([len(part) for part in parts])
    first = np.cumsum(sizes) - sizes

    def draw(output: Array, rng: np.random.Generator) -> Array:
        place = np.searchsorted(starts, output, side="right")
        return output + errors[first[place] + (rng.random(len(output)) * sizes[place]).astype(np.int64)]

    return draw


class Labelled(NamedTuple):
    """Rows with labels: (n,) truths and the outputs of a model for them."""

    truth: Array
    output: Array

    def some(self, rows: Array) -> Self:
        return self._replace(truth=self.truth[rows], output=self.output[rows])


def estimate(
    labelled: Labelled, output: Array, *, learn: Callable[[Array, Array], Draw], sample: Callable[[Array, Array], Sample],
    metrics: Collection[str], seed: int, draws: int = DRAWS,
) -> dict[str, Interval]:  # fmt: skip
    """The mean of each metric over `draws` of likely labels, and the interval that holds the realised one with CONFIDENCE. Every
    draw learns from a resample of the labelled rows: the interval is also that of what is learned from few. Nan where undefined.
    """
    rng = np.random.default_rng(seed)
    output = output if len(output) <= MAX_ROWS else output[rng.choice(len(output), MAX_ROWS, replace=False)]
    values = {name: np.full(draws, np.nan) for name in metrics}
    for draw in range(draws):
        again = labelled.some(rng.integers(0, len(labelled.truth), min(len(labelled.truth), MAX_ROWS)))
        truth = learn(*again)(output, rng)
        for name, value in sample(truth, output).measure(metrics).items():
            values[name][draw] = value
    return {name: _interval(drawn[~np.isnan(drawn)]) for name, drawn in values.items()}


def _interval(drawn: Array) -> Interval:
    if not len(drawn):
        return Interval()
    low, high = np.quantile(drawn, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Interval(float(drawn.mean()), float(low), float(high))
