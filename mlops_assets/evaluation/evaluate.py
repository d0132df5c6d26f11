"""Evaluation: the evidence about one candidate on the test rows, and its stable JSON, whose digest a blessing signs."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, cast

import numpy as np
import polars as pl

from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.statistics.metrics import METRICS, Array, Comparison, Interval, Ranked, calibration, compare, interval, measure

Score = Callable[[pl.DataFrame], Array]
SLICE_CONFIDENCE = 0.99  # of each bound: measured, 1 to 4 of 100 unchanged slices then look changed (with 0.95: 1 of 10)


@dataclass(frozen=True)
class Rival:
    """The champion on the same rows: its version and its (n,) probabilities."""

    version: str
    probability: Array


@dataclass(frozen=True)
class Evaluation:
    """The evidence for gates and people. `first` and `last` bound the rows' event_timestamp.

    `slices`: column, value, rows, positives, metrics (None where undefined); with a champion also its metrics
    (`champion`) and the `comparison` with it by metric, whose bounds each have SLICE_CONFIDENCE. `calibration`:
    mean_probability, share, rows of each equal-count bin. `comparison` is None without a champion, `reference` without
    a second trainer. `importance`: input and the drop in auc when it is shuffled, largest first.
    """

    candidate: str
    rows: int
    positives: int
    first: datetime
    last: datetime
    threshold: float
    metrics: dict[str, Interval]
    slices: list[dict[str, Any]]
    confusion: dict[str, int]
    calibration: list[dict[str, Any]]
    champion: str | None = None
    comparison: dict[str, Comparison] | None = None
    reference: dict[str, Interval] | None = None
    importance: tuple[tuple[str, float], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values; an undefined number is None."""
        return cast(dict[str, Any], plain(asdict(self)))

    def to_json(self) -> str:
        """The same text for the same evidence, on every machine: sorted keys, no spaces, no nan."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def digest(self) -> str:
        """SHA-256 of `to_json`, in hex."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def plain(value: Any) -> Any:
    """The value with tuples as lists, datetimes as ISO text and every number that is not finite as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in cast(dict[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast(Sequence[Any], value)]
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def evaluate(
    rows: pl.DataFrame,
    probability: Array,
    *,
    candidate: str,
    label: str,
    slices: Sequence[str],
    threshold: float,
    seed: int,
    champion: Rival | None = None,
    reference: Array | None = None,
    importance: Sequence[tuple[str, float]] = (),
    resamples: int = 200,
) -> Evaluation:
    """The evidence from the test rows (inputs, `label` as 0/1, event_timestamp) and the candidate's (n,) probabilities.

    `candidate` is the model's digest; `reference` the reference trainer's (n,) probabilities. Raises ValueError without rows.
    """
    if rows.is_empty():
        raise ValueError(f"evaluate · the test split of candidate {candidate} has no rows. Widen split.test or land more days.")
    truth, bootstrap = rows[label].cast(pl.Int8).to_numpy(), {"seed": seed, "resamples": resamples}
    return Evaluation(
        candidate=candidate,
        rows=len(rows),
        positives=int(truth.sum()),
        first=cast(datetime, rows[EVENT_TIMESTAMP].min()),
        last=cast(datetime, rows[EVENT_TIMESTAMP].max()),
        threshold=threshold,
        metrics=_intervals(truth, probability, bootstrap),
        slices=[
            {"column": column, "value": value, **_slice(truth[inside], probability[inside], champion, inside, bootstrap)}
            for column in slices
            for value, inside in _parts(rows[column])
        ],
        confusion=confusion_matrix(truth, probability, threshold),
        calibration=calibration_table(truth, probability),
        champion=champion.version if champion else None,
        comparison=_comparisons(truth, probability, champion.probability, bootstrap) if champion else None,
        reference=None if reference is None else _intervals(truth, reference, bootstrap),
        importance=tuple(importance),
    )


def _intervals(truth: Array, probability: Array, bootstrap: dict[str, int]) -> dict[str, Interval]:
    return {metric: interval(metric, truth, probability, **bootstrap) for metric in METRICS}


def _comparisons(
    truth: Array, candidate: Array, champion: Array, bootstrap: dict[str, int], *, confidence: float = 0.95
) -> dict[str, Comparison]:
    return {name: compare(name, truth, candidate, champion, confidence=confidence, **bootstrap) for name in METRICS}


def _parts(column: pl.Series) -> list[tuple[str, Array]]:
    """Each value of the column, as text and in order, with the (n,) mask of its rows."""
    values = column.cast(pl.String)
    return [(value, (values == value).fill_null(False).to_numpy()) for value in sorted(values.drop_nulls().unique())]


def _slice(truth: Array, scores: Array, rival: Rival | None, inside: Array, bootstrap: dict[str, int]) -> dict[str, Any]:
    part = {"rows": len(truth), "positives": int(truth.sum()), "metrics": _values(truth, scores)}
    if rival is None:
        return part
    champion = rival.probability[inside]
    compared = _comparisons(truth, scores, champion, bootstrap, confidence=SLICE_CONFIDENCE)
    comparison = {name: plain(vars(one)) for name, one in compared.items()}
    return part | {"champion": _values(truth, champion), "comparison": comparison}


def _values(truth: Array, probability: Array) -> dict[str, float | None]:
    return {metric: plain(measure(metric, truth, probability)) for metric in METRICS}


def confusion_matrix(truth: Array, probability: Array, threshold: float) -> dict[str, int]:
    """Rows by truth and decision; a probability of exactly `threshold` decides yes."""
    yes, positive = probability >= threshold, truth == 1
    cells = {"true_positive": yes & positive, "false_positive": yes & ~positive, "false_negative": ~yes & positive}
    return {name: int(cell.sum()) for name, cell in (cells | {"true_negative": ~yes & ~positive}).items()}


def calibration_table(truth: Array, probability: Array) -> list[dict[str, Any]]:
    """Mean probability, share of positives and rows of each equal-count bin, rising."""
    bins = zip(*calibration(Ranked.of(truth, probability).tally()), strict=True)
    return [{"mean_probability": float(mean), "share": float(share), "rows": int(rows)} for mean, share, rows in bins]


def permutation_importance(
    score: Score, rows: pl.DataFrame, *, inputs: Sequence[str], label: str, seed: int, max_rows: int = 5000
) -> list[tuple[str, float]]:
    """Drop in auc when one input is shuffled among the rows (Breiman 2001), largest first, on at most `max_rows` of them.

    Correlated inputs share their importance, and each then looks less important than it is.
    """
    sample = rows.sample(max_rows, seed=seed) if len(rows) > max_rows else rows
    truth = sample[label].cast(pl.Int8).to_numpy()
    base = measure("auc", truth, score(sample))
    drops = [(name, base - measure("auc", truth, score(_shuffled(sample, name, seed)))) for name in inputs]
    return sorted(drops, key=lambda drop: (-np.nan_to_num(drop[1]), drop[0]))


def _shuffled(sample: pl.DataFrame, name: str, seed: int) -> pl.DataFrame:
    stream = np.random.default_rng([seed, *name.encode()])  # one per input, so that adding an input does not change the others
    return sample.with_columns(sample[name].gather(stream.permutation(len(sample))))
