"""The page that compares a candidate with the champion on the same test rows: metrics, groups, decisions, examples."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs

from mlops_assets.evaluation.evaluate import Evaluation, plain
from mlops_assets.foundation.moments import MINUTE
from mlops_assets.foundation.page import render
from mlops_assets.spec.gate import BeatsChampion
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics.metrics import Array
from mlops_assets.tasks import task_of
from mlops_assets.tasks.task import DecisionChange, Task

EXAMPLES = 5
MIN_ROWS = 20  # of each class: with fewer, one row moves an auc further than most models do
ORDER = {"better": 0, "worse": 0, "no difference": 1, "not enough data": 2}  # of the groups on the page


class Change(NamedTuple):
    """One metric on one set of rows, which `note` describes; None where undefined. `difference`, `low` and `high` are positive
    where the candidate is better, whatever the metric's direction; the comparison rests on `informative` rows.
    """

    name: str
    note: str
    informative: int
    champion: float | None
    candidate: float | None
    difference: float | None
    low: float | None
    high: float | None

    @property
    def outcome(self) -> str:
        if self.informative < MIN_ROWS or self.low is None or self.high is None:
            return "not enough data"
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no difference"


class SideBySide(NamedTuple):
    """The content of the page. `metric` is the deciding one; `groups` are ordered by the size of their change. `gained` and
    `lost` are the rows that moved most: `facts` (the public request columns as text), truth, champion, candidate.
    """

    use_case: UseCase
    version: int
    evaluation: Evaluation
    metric: str
    metrics: tuple[Change, ...]
    groups: tuple[Change, ...]
    changes: tuple[DecisionChange, ...]
    gained: list[dict[str, Any]]
    lost: list[dict[str, Any]]

    @property
    def facts(self) -> list[str]:
        """What the task says of the test rows and of decisions."""
        return task_of(self.use_case.task).facts_of(self.evaluation.counts, self.evaluation.rows)

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
        rows, right, total = (sum(one.rows for one in self.changes), sum(one.right for one in self.changes), self.evaluation.rows)
        groups = f"Of {len(self.groups)} groups, {' and '.join(counts)}. " if self.groups else ""
        share = f"{rows:,} of {total:,} decisions change ({rows / total:.1%})"
        if not rows:
            return groups + "No decision changes." * self.use_case.task.DECIDES
        return f"{groups}{share}: {right:,} become right, {rows - right:,} wrong."

    def to_html(self, pictures: Mapping[str, bytes]) -> str:
        """One self-contained page. `pictures` are PNG bytes by name."""
        title = f"{self.use_case.name}: candidate {self.version} against champion {self.evaluation.champion}"
        return render("side_by_side", title=title, page=self, pictures=pictures, min_rows=MIN_ROWS)


def side_by_side(
    use_case: UseCase, evaluation: Evaluation, rows: pl.DataFrame, *, version: int, candidate: Array, champion: Array
) -> SideBySide:
    """From the n test rows with label and request columns, and both outputs, which `evaluation` compares."""
    task = task_of(use_case.task)
    truth = task.truth(rows[use_case.label.name])
    declared = (gate.metric for gate in use_case.gates if isinstance(gate, BeatsChampion))
    metric = next(declared, None) or task.main_metric
    whole = evaluation.to_dict()
    whole["metrics"] = {name: measured["value"] for name, measured in whole["metrics"].items()}
    whole["champion"] = plain(task.sample(truth, champion).measure(task.metrics))
    groups = [_change(task, f"{group['column']} {group['value']}", group, metric) for group in evaluation.slices]
    edges, facts = task.edges(champion), _public_facts(use_case, rows)
    gain = task.losses(champion, truth, edges) - task.losses(candidate, truth, edges)
    outputs = {"champion": task.shown(champion), "candidate": task.shown(candidate)}
    shown = facts.select(facts=pl.struct(pl.all()), truth=task.shown_truth(truth), **outputs)
    order = np.argsort(-gain, kind="stable")
    return SideBySide(
        use_case,
        version,
        evaluation,
        metric,
        metrics=tuple(_change(task, name, whole, name) for name in evaluation.metrics),
        groups=tuple(sorted(groups, key=lambda group: (ORDER[group.outcome], -abs(group.difference or 0), group.name))),
        changes=tuple(task.changes(truth, candidate, champion)),
        gained=shown[order[:EXAMPLES]].filter(gain[order[:EXAMPLES]] > 0).to_dicts(),
        lost=shown[order[::-1][:EXAMPLES]].filter(gain[order[::-1][:EXAMPLES]] < 0).to_dicts(),
    )


def _change(task: Task[Any], name: str, part: dict[str, Any], metric: str) -> Change:
    """The metric on a part of the rows, as in Evaluation.slices."""
    compared = part["comparison"][metric]
    values = part["champion"][metric], part["metrics"][metric]
    informative = task.informative_rows(part)
    note = ", ".join([f"{part['rows']:,} rows", *task.facts_of(part, part["rows"])[:1]])
    return Change(name, note, informative, *values, compared["difference"], compared["low"], compared["high"])


def _public_facts(use_case: UseCase, rows: pl.DataFrame) -> pl.DataFrame:
    """The request columns without personal data, as text."""
    contract = use_case.contract(use_case.features.request_table)
    hidden = {column.name for column in contract.columns if column.pii}
    shown = [name for name in use_case.features.request if name in rows.columns and name not in hidden]
    texts = [cs.datetime().dt.strftime(MINUTE), (~cs.datetime()).cast(pl.String)]
    return rows.select(shown).with_columns(texts).fill_null("unknown")
