"""Evaluation: the evidence about one candidate on the test rows, and its stable JSON, whose digest a blessing signs."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl

from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.promotion.ledger_chain import canonical_json
from mlops_assets.spec.gate import LOWER_IS_BETTER
from mlops_assets.statistics.metrics import Array, Comparison, Interval, comparisons, intervals, measure
from mlops_assets.tasks.task import Task
from mlops_assets.training.digest import digest

Score = Callable[[pl.DataFrame], Array]
EVALUATION = "evaluation.json"  # an Evaluation among the artifacts of the version's run
SHUFFLES = 5  # of each input
MAX_SCORED_ROWS, MIN_SHUFFLED_ROWS = 250_000, 200  # of all shuffles together (1 s with 20 inputs), and of one
SLICE_CONFIDENCE = 0.99  # of each bound: measured, 1 to 4 of 100 unchanged slices then look changed (with 0.95: 1 of 10)


class Rival(NamedTuple):
    """The champion on the same rows: its version, and its output or why it gives no legal one."""

    version: str
    output: Array | None = None
    problem: str | None = None


class Importance(NamedTuple):
    """The mean loss of the main metric over SHUFFLES shuffles of one input, and the least and the largest of them."""

    input: str
    loss: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """The evidence for gates and people. `first` and `last` bound the rows' event_timestamp. `slices`: column, value, rows,
    counts, metrics (None where undefined); with a champion also its metrics (`champion`) and the `comparison` with it by metric,
    whose bounds each have SLICE_CONFIDENCE. `comparison` is None without a champion and for one that cannot be scored
    (`champion_problem` says why), `reference` without a second trainer.
    """

    candidate: str
    rows: int
    counts: dict[str, int]
    first: datetime
    last: datetime
    metrics: dict[str, Interval]
    slices: list[dict[str, Any]]
    details: dict[str, Any]
    champion: str | None = None
    comparison: dict[str, Comparison] | None = None
    reference: dict[str, Interval] | None = None
    importance: tuple[Importance, ...] = ()
    champion_problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values; an undefined number is None."""
        fields = cast(dict[str, Any], plain(asdict(self)))
        fields |= fields.pop("counts") | fields.pop("details")
        if self.champion_problem is None:
            del fields["champion_problem"]  # evidence that was signed before the field existed keeps its digest
        return fields

    def to_json(self) -> str:
        """The same text for the same evidence, on every machine: sorted keys, no spaces, no nan."""
        return canonical_json(self.to_dict())

    @property
    def digest(self) -> str:
        """SHA-256 of `to_json`, in hex."""
        return digest(self.to_json().encode())


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
    output: Array,
    *,
    task: Task[Any],
    candidate: str,
    label: str,
    slices: Sequence[str],
    seed: int,
    champion: Rival | None = None,
    reference: Array | None = None,
    importance: Sequence[Importance] = (),
    resamples: int = 200,
) -> Evaluation:
    """The evidence from the test rows and the output of the `candidate`, a model's digest. Raises ValueError without rows."""
    if rows.is_empty():
        raise ValueError(f"evaluate · the test split of candidate {candidate} has no rows. Widen split.test or land more days.")
    truth = task.truth(rows[label])
    sample = task.sample(truth, output)
    bootstrap: dict[str, Any] = {"seed": seed, "resamples": resamples}
    rival = champion.output if champion else None
    slice_evidence = partial(_slices, champion=rival, task=task, bootstrap=bootstrap)
    return Evaluation(
        candidate=candidate,
        rows=len(rows),
        counts=task.counts(truth),
        first=cast(datetime, rows[EVENT_TIMESTAMP].min()),
        last=cast(datetime, rows[EVENT_TIMESTAMP].max()),
        metrics=intervals(sample, task.metrics, **bootstrap),
        slices=[part for column in slices for part in slice_evidence(rows[column], truth, output)],
        details=task.details(truth, output),
        champion=champion.version if champion else None,
        comparison=None if rival is None else comparisons(sample, task.sample(truth, rival), task.metrics, **bootstrap),
        reference=None if reference is None else intervals(task.sample(truth, reference), task.metrics, **bootstrap),
        importance=tuple(importance),
        champion_problem=champion.problem if champion else None,
    )


def _slices(
    column: pl.Series, truth: Array, output: Array, *, champion: Array | None, task: Task[Any], bootstrap: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The evidence about the rows of each value of the column, in order."""
    values = column.cast(pl.String)
    for value in sorted(values.drop_nulls().unique()):
        inside = (values == value).fill_null(False).to_numpy()
        ours = task.sample(truth[inside], output[inside])
        part = {"column": column.name, "value": value, "rows": len(ours), **task.counts(truth[inside])}
        part["metrics"] = plain(ours.measure(task.metrics))
        if champion is not None:
            theirs = task.sample(truth[inside], champion[inside])
            compared = comparisons(ours, theirs, task.metrics, confidence=SLICE_CONFIDENCE, **bootstrap)
            comparison = {name: plain(vars(one)) for name, one in compared.items()}
            part |= {"champion": plain(theirs.measure(task.metrics)), "comparison": comparison}
        yield part


def permutation_importance(
    score: Score, rows: pl.DataFrame, *, task: Task[Any], inputs: Sequence[str], label: str, seed: int, max_rows: int = 5000
) -> list[Importance]:
    """Loss of the main metric when one input is shuffled (Breiman 2001), largest first. Correlated inputs share theirs."""
    most = min(max_rows, max(MIN_SHUFFLED_ROWS, MAX_SCORED_ROWS // (SHUFFLES * max(len(inputs), 1))))
    sample = rows.sample(most, seed=seed) if len(rows) > most else rows
    truth, metric = task.truth(sample[label]), task.main_metric
    base, sign = measure(metric, task.sample(truth, score(sample))), -1 if metric in LOWER_IS_BETTER else 1
    importance: list[Importance] = []
    for name in inputs:
        stream = np.random.default_rng([seed, *name.encode()])  # one per input: adding an input does not change the others
        shuffled = (sample.with_columns(sample[name].gather(stream.permutation(len(sample)))) for _ in range(SHUFFLES))
        losses = [sign * (base - measure(metric, task.sample(truth, score(one)))) for one in shuffled]
        importance.append(Importance(name, float(np.mean(losses)), min(losses), max(losses)))
    return sorted(importance, key=lambda one: (-np.nan_to_num(one.loss), one.input))
