"""Metrics of the probabilities of several classes against the true one."""

from collections.abc import Callable, Collection

import numpy as np

from mlops_assets.statistics.binary import BinarySample
from mlops_assets.statistics.metrics import ALL_ROWS, BINS, Array

_EPS = float(np.finfo(np.float64).eps)  # as sklearn.metrics.log_loss clips


class MulticlassSample:
    """A sample whose losses are computed and whose probabilities are sorted once, so that a resample of it only counts. `bins`
    are those of ece. `top` is whether each decision is right, against its probability.

    Raises ValueError unless `truth` has n places of classes, and `probability` n rows of k probabilities.
    """

    def __init__(self, truth: Array, probability: Array, *, bins: int = BINS) -> None:
        if probability.ndim != 2 or truth.shape != probability.shape[:1]:
            raise ValueError(f"metrics · truth is {truth.shape}, probability {probability.shape}. Pass n places and n rows.")
        if not ((probability >= 0) & (probability <= 1)).all():
            raise ValueError("metrics · probability has nan or values outside [0, 1]. Pass probabilities, not scores.")
        rows, classes = len(probability), int(probability.shape[1])
        if not np.isin(truth, range(classes)).all():
            raise ValueError(f"metrics · truth has other values than the places 0 to {classes - 1}. Leave these rows out.")
        truth, probability = truth.astype(np.int64), probability.astype(np.float64)
        decided: Array = probability.argmax(axis=1)
        true: Array = np.equal(truth[:, None], range(classes))
        self._classes, self._code, self._bins = classes, truth * classes + decided, bins
        hit: Array = np.equal(decided, truth)
        self._means = {  # of one number a row
            "accuracy": hit.astype(np.float64),
            "brier": half_brier(truth, probability),
            "log_loss": -np.log(np.clip(probability[np.arange(rows), truth], _EPS, 1 - _EPS)),
        }
        self.top = BinarySample(hit, probability.max(axis=1, initial=0.0), bins=bins)
        self._one_against_rest = [BinarySample(true[:, place], probability[:, place]) for place in range(classes)]
        self._others: dict[str, Callable[[Array | slice], float]] = {
            "macro_f1": self._macro_f1,
            "auc": self._auc,
            "ece": self._ece,
        }

    def __len__(self) -> int:
        return len(self._code)

    def measure(self, metrics: Collection[str], rows: Array | slice = ALL_ROWS) -> dict[str, float]:
        """Each metric of the sample, or of the resample that takes `rows`; nan where it is undefined (auc without a class)."""
        if not len(self):
            return dict.fromkeys(metrics, float("nan"))
        return {
            name: float(self._means[name][rows].mean()) if name in self._means else self._others[name](rows) for name in metrics
        }

    def confusion(self, rows: Array | slice = ALL_ROWS) -> Array:
        """Rows by truth and decision, (k, k)."""
        return np.bincount(self._code[rows], minlength=self._classes**2).reshape(self._classes, self._classes)

    def _macro_f1(self, rows: Array | slice) -> float:
        """The mean over the classes that occur, truly or decided, as scikit-learn's."""
        cells = self.confusion(rows)
        occurs = cells.sum(axis=0) + cells.sum(axis=1)
        return float((2 * np.diagonal(cells)[occurs > 0] / occurs[occurs > 0]).mean())

    def _auc(self, rows: Array | slice) -> float:
        """The mean over the classes of each against the rest; nan where one does not occur."""
        return float(np.mean([sample.tally(rows).auc() for sample in self._one_against_rest]))

    def _ece(self, rows: Array | slice) -> float:
        """Expected calibration error of the most probable class."""
        return self.top.tally(rows).ece(self._bins)


def half_brier(truth: Array, probability: Array) -> Array:
    """Half of the sum of squared errors of each row, (n,), from 0 to 1: of two classes that of a binary probability."""
    true: Array = np.equal(truth[:, None], range(int(probability.shape[1])))
    return ((probability - true) ** 2).sum(axis=1) / 2
