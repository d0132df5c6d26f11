"""The page that compares a candidate with the champion on the same test rows: metrics, groups, decisions, examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import polars as pl
import polars.selectors as cs

from mlops_assets.evaluation.evaluate import Evaluation, plain
from mlops_assets.foundation.page import render
from mlops_assets.spec.gate import BeatsChampion
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics.metrics import Array, measure

Outcome = Literal["better", "worse", "no difference", "not enough data"]
EXAMPLES = 5
MIN_ROWS = 20  # of each class: with fewer, one row moves an auc further than most models do
ORDER: dict[Outcome, int] = {"better": 0, "worse": 0, "no difference": 1, "not enough data": 2}  # of the groups on the page
MEANINGS = {
    "auc": "how often a positive row ranks above a negative one",
    "average_precision": "precision, averaged over recall",
    "brier": "squared error of the probability; lower is better",
    "log_loss": "negative log-likelihood in nats; lower is better",
    "ece": "expected calibration error; lower is better",
}


@dataclass(frozen=True)
class Change:
    """One metric on one set of rows; None where undefined. `difference`, `low` and `high` are positive where the candidate is
    better, whatever the metric's direction.
    """

    name: str
    rows: int
    positives: int
    champion: float | None
    candidate: float | None
    difference: float | None
    low: float | None
    high: float | None

    @property
    def is_known(self) -> bool:
        enough = min(self.positives, self.rows - self.positives) >= MIN_ROWS
        return enough and self.low is not None and self.high is not None

    @property
    def outcome(self) -> Outcome:
        if not self.is_known:
            return "not enough data"
        return "better" if (self.low or 0) > 0 else "worse" if (self.high or 0) < 0 else "no difference"


@dataclass(frozen=True)
class Flips:
    """Rows whose decision the candidate changes to `decision`, and for how many that is right."""

    decision: bool
    rows: int
    right: int


@dataclass(frozen=True)
class Example:
    """One row: its public request columns, its label and both probabilities."""

    facts: dict[str, str]
    truth: bool
    champion: float
    candidate: float


@dataclass(frozen=True)
class SideBySide:
    """The content of the page. `metric` is the deciding one; `groups` are ordered by the size of their change."""

    title: str
    question: str
    label: str
    metric: str
    rows: int
    positives: int
    first: datetime
    last: datetime
    threshold: float
    metrics: tuple[Change, ...]
    groups: tuple[Change, ...]
    flips: tuple[Flips, ...]
    gained: tuple[Example, ...]
    lost: tuple[Example, ...]

    @property
    def decisive(self) -> Change:
        return next(change for change in self.metrics if change.name == self.metric)

    @property
    def verdict(self) -> str:
        change = self.decisive
        if change.difference is None:
            return f"{self.metric} is undefined on these rows: they have one class only."
        word = change.outcome if change.outcome in ("better", "worse") else "no better"
        values = f"{self.metric} {change.candidate:.3f} against {change.champion:.3f} ({change.difference:+.3f})"
        return f"The candidate is {word}: {values}."

    @property
    def details(self) -> str:
        """How many groups and decisions change."""
        names = {word: [group.name for group in self.groups if group.outcome == word] for word in ("better", "worse")}
        counts = [f"{len(some)} {word}" + (f" ({', '.join(some)})" if 0 < len(some) <= 3 else "") for word, some in names.items()]
        rows, right = sum(flip.rows for flip in self.flips), sum(flip.right for flip in self.flips)
        groups = f"Of {len(self.groups)} groups, {' and '.join(counts)}. " if self.groups else ""
        share = f"{rows:,} of {self.rows:,} decisions change ({rows / self.rows:.1%})"
        return groups + (f"{share}: {right:,} become right, {rows - right:,} wrong." if rows else "No decision changes.")

    @property
    def group_sizes(self) -> dict[str, str]:
        return {group.name: f"{group.rows:,} rows, {group.positives / group.rows:.0%} {self.label}" for group in self.groups}

    @staticmethod
    def widest(changes: Sequence[Change]) -> float:
        """The bound farthest from no difference: the scale of the drawings."""
        known = (change for change in changes if change.is_known)
        return max((abs(bound or 0) for change in known for bound in (change.low, change.high)), default=0) or 1.0


def as_html(page: SideBySide, pictures: Mapping[str, bytes]) -> str:
    """One self-contained page. `pictures` are PNG bytes by name."""
    return render("side_by_side", title=page.title, page=page, pictures=pictures, meanings=MEANINGS, min_rows=MIN_ROWS)


def side_by_side(
    use_case: UseCase, evaluation: Evaluation, rows: pl.DataFrame, *, version: int, candidate: Array, champion: Array
) -> SideBySide:
    """From the (n,) test rows with label and request columns, and both (n,) probabilities. Examples hide personal data.

    Raises ValueError when the evaluation has no champion.
    """
    if evaluation.champion is None:
        raise ValueError(f"{use_case.name} · side by side · version {version} was evaluated without a champion. Pass both.")
    truth, threshold = rows[use_case.label.name].cast(pl.Int8).to_numpy(), evaluation.threshold
    metric = next((gate.metric for gate in use_case.gates if isinstance(gate, BeatsChampion)), "auc")
    gain = np.abs(champion - truth) - np.abs(candidate - truth)
    order = np.argsort(-gain, kind="stable")
    facts = _public_facts(use_case, rows).with_columns(truth=truth == 1, champion=champion, candidate=candidate)
    groups = [_group(group, metric) for group in evaluation.slices]
    return SideBySide(
        title=f"{use_case.name}: candidate {version} against champion {evaluation.champion}",
        question=use_case.question,
        label=use_case.label.name,
        metric=metric,
        rows=evaluation.rows,
        positives=evaluation.positives,
        first=evaluation.first,
        last=evaluation.last,
        threshold=threshold,
        metrics=_metrics(evaluation, truth, champion),
        groups=tuple(sorted(groups, key=lambda group: (ORDER[group.outcome], -abs(group.difference or 0), group.name))),
        flips=tuple(_flips(yes, truth, champion >= threshold, candidate >= threshold) for yes in (True, False)),
        gained=_examples(facts[order[:EXAMPLES]].filter(gain[order[:EXAMPLES]] > 0)),
        lost=_examples(facts[order[::-1][:EXAMPLES]].filter(gain[order[::-1][:EXAMPLES]] < 0)),
    )


def _metrics(evaluation: Evaluation, truth: Array, champion: Array) -> tuple[Change, ...]:
    return tuple(
        Change(
            name,
            rows=evaluation.rows,
            positives=evaluation.positives,
            champion=plain(measure(name, truth, champion)),
            candidate=plain(evaluation.metrics[name].value),
            **_bounds(plain(vars(compared))),
        )
        for name, compared in (evaluation.comparison or {}).items()
    )


def _group(group: dict[str, Any], metric: str) -> Change:
    return Change(
        f"{group['column']} {group['value']}",
        rows=group["rows"],
        positives=group["positives"],
        champion=group["champion"][metric],
        candidate=group["metrics"][metric],
        **_bounds(group["comparison"][metric]),
    )


def _bounds(compared: dict[str, Any]) -> dict[str, float | None]:
    return {name: compared[name] for name in ("difference", "low", "high")}


def _flips(decision: bool, truth: Array, before: Array, after: Array) -> Flips:
    flipped = (after == decision) & (before != decision)
    return Flips(decision, int(flipped.sum()), int((flipped & (truth == decision)).sum()))


def _public_facts(use_case: UseCase, rows: pl.DataFrame) -> pl.DataFrame:
    """The request columns without personal data, as text."""
    contract = use_case.contract(use_case.features.request_table)
    hidden = {column.name for column in contract.columns if column.pii}
    shown = [name for name in use_case.features.request if name in rows.columns and name not in hidden]
    texts = [cs.datetime().dt.strftime("%Y-%m-%d %H:%M"), (~cs.datetime()).cast(pl.String)]
    return rows.select(shown).with_columns(texts).fill_null("unknown")


def _examples(rows: pl.DataFrame) -> tuple[Example, ...]:
    numbers = ("truth", "champion", "candidate")
    facts, values = rows.drop(numbers).to_dicts(), rows.select(numbers).to_dicts()
    return tuple(Example(facts=fact, **value) for fact, value in zip(facts, values, strict=True))
