"""What changes when the candidate answers instead of the champion: what gets better, what gets worse, for whom.

Belongs here: the facts, from an evaluation and the test rows with both probabilities. Not here: how they look
(side_by_side_page.py), the measures (evaluate.py, metrics.py) and whether the candidate may answer (gates/).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import polars as pl

from mlops_assets.spec.gate import BeatsChampion
from mlops_assets.spec.use_case import UseCase
from mlops_assets.stages.evaluate import Evaluation, plain
from mlops_assets.stages.metrics import Array, Comparison, measure

Outcome = Literal["better", "worse", "no difference", "cannot tell"]
EXAMPLES = 5
FEWEST = 20  # rows of each class: with fewer, one row moves an auc further than most models do


@dataclass(frozen=True)
class Change:
    """One metric on one set of rows: the champion's value, the candidate's, how much better (negative: worse) that is.

    `difference`, `low` and `high` are positive for the better whatever the metric's direction; None where undefined.
    """

    name: str
    rows: int
    positives: int
    before: float | None
    after: float | None
    difference: float | None
    low: float | None
    high: float | None

    @property
    def outcome(self) -> Outcome:
        few = min(self.positives, self.rows - self.positives) < FEWEST
        if few or self.low is None or self.high is None:
            return "cannot tell"
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no difference"


@dataclass(frozen=True)
class Flips:
    """Rows whose decision the candidate changes into `decision`, and how many of them it then has right."""

    decision: bool
    rows: int
    right: int


@dataclass(frozen=True)
class Example:
    """One row: what it is about, its truth, and the probability that each of both gives it."""

    facts: dict[str, str]
    truth: bool
    before: float
    after: float


@dataclass(frozen=True)
class SideBySide:
    """Everything that the page says. `metric` is the one that decides; `groups` come with what changed most first.

    `flips` are those into yes and those into no. `gained` and `lost` are the rows for which the candidate came nearest
    to the truth and went farthest from it, beside the champion.
    """

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
    flips: tuple[Flips, Flips]
    gained: tuple[Example, ...]
    lost: tuple[Example, ...]

    @property
    def decisive(self) -> Change:
        return next(change for change in self.metrics if change.name == self.metric)

    def headline(self) -> str:
        """What a person needs who reads one line only."""
        found = self.decisive
        if found.difference is None:
            return f"{self.metric} is undefined on these rows, so nothing can be said."
        word = {"better": "better", "worse": "worse"}.get(found.outcome, "no better")
        values = f"{self.metric} {found.after:.3f} against {found.before:.3f} ({found.difference:+.3f})"
        return f"The candidate is {word}: {values}. {self._groups_said()} {self._flips_said()}"

    def _groups_said(self) -> str:
        if not self.groups:
            return "No groups are declared."
        named = {word: [change.name for change in self.groups if change.outcome == word] for word in ("better", "worse")}
        better, worse = (f"{len(names)} {word}{_few(names)}" for word, names in named.items())
        return f"Of {len(self.groups)} groups, {better} and {worse}."

    def _flips_said(self) -> str:
        rows, right = sum(flip.rows for flip in self.flips), sum(flip.right for flip in self.flips)
        if not rows:
            return "No decision changes."
        share = f"{rows:,} of {self.rows:,} decisions change ({rows / self.rows:.1%})"
        return f"{share}: {right:,} become right, {rows - right:,} wrong."


def _few(names: Sequence[str]) -> str:
    """The names themselves, where they are few."""
    return f" ({', '.join(names)})" if 0 < len(names) <= 3 else ""


def side_by_side(
    use_case: UseCase, evaluation: Evaluation, rows: pl.DataFrame, *, version: int, candidate: Array, champion: Array
) -> SideBySide:
    """From the (n,) test rows with the label and what the request tells, and both (n,) probabilities of them.

    Personal data is left out of the examples. Raises ValueError when the evaluation has no champion.
    """
    if evaluation.champion is None:
        raise ValueError(f"{use_case.name} · side by side · version {version} was evaluated without a champion. Give both.")
    truth, threshold = rows[use_case.label.name].cast(pl.Int8).to_numpy(), evaluation.threshold
    metric = next((gate.metric for gate in use_case.gates if isinstance(gate, BeatsChampion)), "auc")
    gain = np.abs(champion - truth) - np.abs(candidate - truth)
    order = np.argsort(-gain, kind="stable")
    flips = (_flips(decision, truth, champion >= threshold, candidate >= threshold) for decision in (True, False))
    shown = _shown(use_case, rows).with_columns(truth=truth == 1, before=champion, after=candidate)
    return SideBySide(
        title=f"{use_case.name}: candidate {version} beside champion {evaluation.champion}",
        question=use_case.question,
        label=use_case.label.name,
        metric=metric,
        rows=evaluation.rows,
        positives=evaluation.positives,
        first=evaluation.first,
        last=evaluation.last,
        threshold=threshold,
        metrics=_metrics(evaluation, truth, champion),
        groups=tuple(sorted((_group(one, metric) for one in evaluation.slices), key=_most_changed)),
        flips=(next(flips), next(flips)),
        gained=_examples(shown[[int(row) for row in order[:EXAMPLES] if gain[row] > 0]]),
        lost=_examples(shown[[int(row) for row in order[::-1][:EXAMPLES] if gain[row] < 0]]),
    )


def _metrics(evaluation: Evaluation, truth: Array, champion: Array) -> tuple[Change, ...]:
    def change(name: str, compared: Comparison) -> Change:
        before, after = measure(name, truth, champion), evaluation.metrics[name].value
        bounds = _bounds(plain(vars(compared)))
        return Change(name, evaluation.rows, evaluation.positives, plain(before), plain(after), **bounds)

    return tuple(change(name, compared) for name, compared in (evaluation.comparison or {}).items())


def _group(found: dict[str, Any], metric: str) -> Change:
    return Change(
        f"{found['column']} {found['value']}",
        rows=found["rows"],
        positives=found["positives"],
        before=found["champion"][metric],
        after=found["metrics"][metric],
        **_bounds(found["comparison"][metric]),
    )


def _bounds(compared: dict[str, Any]) -> dict[str, float | None]:
    return {name: compared[name] for name in ("difference", "low", "high")}


def _most_changed(change: Change) -> tuple[int, float, str]:
    place = {"better": 0, "worse": 0, "no difference": 1, "cannot tell": 2}[change.outcome]
    return place, -abs(change.difference or 0), change.name


def _flips(decision: bool, truth: Array, before: Array, after: Array) -> Flips:
    flipped = (after == decision) & (before != decision)
    return Flips(decision, int(flipped.sum()), int((flipped & (truth == decision)).sum()))


def _shown(use_case: UseCase, rows: pl.DataFrame) -> pl.DataFrame:
    """What the request tells and may be shown, as text."""
    contract, held = use_case.contract(use_case.features.request_table), (*use_case.features.request,)
    hidden = {column.name for column in contract.columns if column.pii}
    named = [name for name in held if name in rows.columns and name not in hidden]
    return rows.select(_as_text(rows[name]) for name in named)


def _as_text(column: pl.Series) -> pl.Series:
    text = column.dt.strftime("%Y-%m-%d %H:%M") if column.dtype == pl.Datetime else column.cast(pl.String)
    return text.fill_null("unknown")


def _examples(rows: pl.DataFrame) -> tuple[Example, ...]:
    facts = rows.drop("truth", "before", "after").to_dicts()
    told = rows.select("truth", "before", "after").iter_rows(named=True)
    return tuple(Example(facts=about, **one) for about, one in zip(facts, told, strict=True))
