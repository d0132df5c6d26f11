"""A changed relation: the same inputs have other labels than in the champion's evaluation."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl

from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.foundation.wording import some
from mlops_assets.monitoring.investigation.cause import Cause, Kind
from mlops_assets.monitoring.investigation.evidence import Evidence, Relation
from mlops_assets.statistics.estimation import Labelled
from mlops_assets.statistics.metrics import Array
from mlops_assets.statistics.relation import RelationChange, changes_within, compare_relation
from mlops_assets.tasks.task import Task

CHANGED, MIN_WITHIN, SHOWN = 0.7, 0.1, 3
REMEDY = "Train again with rows since then: rows of before teach the former relation, however many there are."


class Sample(NamedTuple):
    """Rows with labels, of which `truth` are the numbers."""

    truth: Array
    rows: pl.DataFrame


def find_causes(evidence: Evidence) -> Iterator[Cause]:
    relation = evidence.relation
    if relation is None or not relation.is_changed:
        return
    within = [
        f"{name} (PSI {relation.within[name]:.2f})" for name in sorted(relation.within, key=lambda one: -relation.within[one])
    ]
    text = (
        f"Among answers with the same output, the share of {relation.label} differs by {relation.change:.1%} from the evaluation."
    )
    text += f" Inputs that differ among rows of the same label: {some(within, SHOWN)}." if within else ""
    symptoms = frozenset({*evidence.affected, relation.label})
    yield Cause(Kind.RELATION, "outcomes", relation.since, CHANGED, text, REMEDY, symptoms)


def find_relation(task: Task[Any], evaluated: Labelled, *, training: Sample, known: Sample) -> Relation | None:
    """Of the question whose share has changed most: `evaluated` and `training` are rows of the champion's evaluation and
    training, `known` answers by moment. None for too few of these.
    """
    if known.rows.is_empty():  # such as labels that become known months later
        return None
    truths = [evaluated.truth, training.truth, known.truth]
    ends = np.cumsum([len(one) for one in truths])[:-1]
    # Together, as the median of numbers is to be the same for all.
    questions = {name: np.split(bits, ends) for name, bits in task.binarized(np.concatenate(truths)).items()}
    blocks, output = known.rows[EVENT_TIMESTAMP].dt.date().rank("dense").to_numpy().astype(int) - 1, task.logged(known.rows)
    changes = dict[str, RelationChange]()
    for name, (before, _trained, now) in questions.items():
        place = _column(evaluated.output, before)
        reference, current = Labelled(before, _columns(evaluated.output)[place]), Labelled(now, _columns(output)[place])
        if change := compare_relation(reference, current, blocks):
            changes[name] = change
    if not changes:
        return None
    label = max(changes, key=lambda name: (changes[name].is_proven, changes[name].change))
    change, (_before, trained, now) = changes[label], questions[label]
    since = cast(datetime, known.rows[EVENT_TIMESTAMP][change.first]) if change.first else None
    inputs = [name for name in training.rows.columns if name in known.rows.columns]
    within = changes_within(
        training.rows.select(inputs), known.rows.select(inputs)[change.first :], (trained, now[change.first :])
    )
    return Relation(
        label, change.is_proven, change.change, since, {name: psi for name, psi in within.items() if psi > MIN_WITHIN}
    )


def _column(output: Array, truth: Array) -> int:
    """The number of the output that says most about a question."""
    with np.errstate(invalid="ignore", divide="ignore"):  # of a constant one
        return int(np.nan_to_num([abs(np.corrcoef(one, truth)[0, 1]) for one in _columns(output)]).argmax())


def _columns(output: Array) -> Array:
    return output.reshape(len(output), -1).T
