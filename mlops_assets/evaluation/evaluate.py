"""Evaluation: the evidence about one candidate on the test rows, and its stable JSON, whose digest a blessing signs."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl

from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.statistics.metrics import METRICS, Array, Comparison, Interval, Ranked, comparisons, intervals, measure

Score = Callable[[pl.DataFrame], Array]
SLICE_CONFIDENCE = 0.99  # of each bound: measured, 1 to 4 of 100 unchanged slices then look changed (with 0.95: 1 of 10)


class Rival(NamedTuple):
    """The champion on the same rows: its version and its (n,) probabilities."""

    version: str
    probability: Array


class Unscored(NamedTuple):
    """A champion that gives no probabilities for these rows, and why."""

    version: str
    problem: str


@dataclass(frozen=True)
class Evaluation:
    """The evidence for gates and people. `first` and `last` bound the rows' event_timestamp.

    `slices`: column, value, rows, positives, metrics (None where undefined); with a champion also its metrics
    (`champion`) and the `comparison` with it by metric, whose bounds each have SLICE_CONFIDENCE. `calibration`:
    mean_probability, share, rows of each equal-count bin. `comparison` is None without a champion and for one that cannot be
    scored (`champion_problem` says why), `reference` without a second trainer. `importance`: input and the drop in auc when
    it is shuffled, largest first.
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
    champion_problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values; an undefined number is None."""
        fields = cast(dict[str, Any], plain(asdict(self)))
        if self.champion_problem is None:
            del fields["champion_problem"]  # evidence that was signed before the field existed keeps its digest
        return fields

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
    champion: Rival | Unscored | None = None,
    reference: Array | None = None,
    importance: Sequence[tuple[str, float]] = (),
    resamples: int = 200,
) -> Evaluation:
    """The evidence from the test rows (inputs, `label` as 0/1, event_timestamp) and the candidate's (n,) probabilities.

    `candidate` is the model's digest; `reference` the reference trainer's (n,) probabilities. Raises ValueError without rows.
    """
    if rows.is_empty():
        raise ValueError(f"evaluate · the test split of candidate {candidate} has no rows. Widen split.test or land more days.")
    truth = rows[label].cast(pl.Int8).to_numpy()
    bootstrap: dict[str, Any] = {"seed": seed, "resamples": resamples}
    rival = champion if isinstance(champion, Rival) else None
    return Evaluation(
        candidate=candidate,
        rows=len(rows),
        positives=int(truth.sum()),
        first=cast(datetime, rows[EVENT_TIMESTAMP].min()),
        last=cast(datetime, rows[EVENT_TIMESTAMP].max()),
        threshold=threshold,
        metrics=intervals(truth, probability, **bootstrap),
        slices=[part for column in slices for part in _slices(rows[column], truth, probability, rival, bootstrap)],
        confusion=confusion_matrix(truth, probability, threshold),
        calibration=calibration_table(truth, probability),
        champion=champion.version if champion else None,
        comparison=comparisons(truth, probability, rival.probability, **bootstrap) if rival else None,
        reference=None if reference is None else intervals(truth, reference, **bootstrap),
        importance=tuple(importance),
        champion_problem=champion.problem if isinstance(champion, Unscored) else None,
    )


def _slices(
    column: pl.Series, truth: Array, probability: Array, champion: Rival | None, bootstrap: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The evidence about the rows of each value of the column, in order."""
    values = column.cast(pl.String)
    for value in sorted(values.drop_nulls().unique()):
        inside = (values == value).fill_null(False).to_numpy()
        labels, scores = truth[inside], probability[inside]
        part = {"column": column.name, "value": value, "rows": len(labels), "positives": int(labels.sum())}
        part["metrics"] = _values(labels, scores)
        if champion:
            theirs = champion.probability[inside]
            compared = comparisons(labels, scores, theirs, confidence=SLICE_CONFIDENCE, **bootstrap)
            comparison = {name: plain(vars(one)) for name, one in compared.items()}
            part |= {"champion": _values(labels, theirs), "comparison": comparison}
        yield part


def _values(truth: Array, probability: Array) -> dict[str, float | None]:
    tally = Ranked(truth, probability).tally()
    return {name: plain(metric(tally)) for name, metric in METRICS.items()}


def confusion_matrix(truth: Array, probability: Array, threshold: float) -> dict[str, int]:
    """Rows by truth and decision; a probability of exactly `threshold` decides yes."""
    yes, positive = probability >= threshold, truth == 1
    cells = {"true_positive": yes & positive, "false_positive": yes & ~positive, "false_negative": ~yes & positive}
    return {name: int(cell.sum()) for name, cell in (cells | {"true_negative": ~yes & ~positive}).items()}


def calibration_table(truth: Array, probability: Array) -> list[dict[str, Any]]:
    """Mean probability, share of positives and rows of each equal-count bin, rising."""
    bins = zip(*Ranked(truth, probability).tally().calibration(), strict=True)
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
    drops: list[tuple[str, float]] = []
    for name in inputs:
        stream = np.random.default_rng([seed, *name.encode()])  # one per input: adding an input does not change the others
        shuffled = sample.with_columns(sample[name].gather(stream.permutation(len(sample))))
        drops.append((name, base - measure("auc", truth, score(shuffled))))
    return sorted(drops, key=lambda drop: (-np.nan_to_num(drop[1]), drop[0]))
