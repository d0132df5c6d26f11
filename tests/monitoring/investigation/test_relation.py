"""Labels distinguish a changed relation from changed inputs, for every task."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops_assets.monitoring.investigation.evidence import Relation
from mlops_assets.monitoring.investigation.relation import Sample, find_relation
from mlops_assets.spec.task import Binary, Multiclass, Regression
from mlops_assets.statistics.estimation import Labelled
from mlops_assets.tasks import task_of

START, ROWS = datetime(2024, 5, 1, tzinfo=UTC), 2000
TASKS: dict[str, Any] = {
    "binary": Binary(label="late"),
    "multiclass": Multiclass(label="late", classes=("early", "late", "lost")),
    "regression": Regression(label="late"),
}


def rows_of(declared: Any, seed: int, *, mean: float = 0.0, sign: float = 1.0, since: int = 0) -> pl.DataFrame:
    """The label follows `amount`, from row `since` on with another sign, and the output what it followed at first."""
    rng = np.random.default_rng(seed)
    amount, signs = rng.normal(mean, 1, ROWS), np.where(np.arange(ROWS) < since, 1.0, sign)
    rows = pl.DataFrame({
        "event_timestamp": [START + timedelta(minutes=7 * index) for index in range(ROWS)],
        "amount": amount, "channel": rng.choice(["web", "shop"], ROWS),
    })  # fmt: skip
    chance = 1 / (1 + np.exp(-2 * amount))
    happens = rng.random(ROWS) < 1 / (1 + np.exp(-2 * signs * amount))
    if isinstance(declared, Regression):
        number = signs * amount + rng.normal(0, 0.3, ROWS)
        return rows.with_columns(prediction=amount, low=amount - 1, high=amount + 1, late=number)
    if isinstance(declared, Multiclass):
        shares = pl.struct(early=pl.Series(0.9 * (1 - chance)), late=pl.Series(0.9 * chance), lost=pl.lit(0.1))
        label = np.where(rng.random(ROWS) < 0.1, "lost", np.where(happens, "late", "early"))
        return rows.with_columns(probabilities=shares, late=label)
    return rows.with_columns(probability=chance, late=happens.astype(int))


def relation_of(declared: Any, served: pl.DataFrame) -> Relation:
    task, reference = task_of(declared), rows_of(declared, 1)
    evaluated = Labelled(task.truth(reference["late"]), task.logged(reference))
    training, known = (Sample(task.truth(rows["late"]), rows.select("amount", "channel")) for rows in (reference, served))
    relation = find_relation(task, evaluated, training=training, known=known._replace(rows=served))
    assert relation
    return relation


@pytest.mark.parametrize("task", TASKS)
def test_without_a_known_label_the_relation_is_not_judged(task: str) -> None:
    declared, rows = TASKS[task], rows_of(TASKS[task], 1)
    none, inputs = rows.clear(), rows.select("amount", "channel")
    truth = task_of(declared).truth
    evaluated, training = Labelled(truth(rows["late"]), task_of(declared).logged(rows)), Sample(truth(rows["late"]), inputs)
    assert find_relation(task_of(declared), evaluated, training=training, known=Sample(truth(none["late"]), none)) is None


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("mean", [0.0, 0.8])
def test_inputs_that_change_alone_are_no_changed_relation(task: str, mean: float) -> None:
    assert not relation_of(TASKS[task], rows_of(TASKS[task], 2, mean=mean)).is_changed


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("mean", [0.0, 0.8])
def test_a_changed_relation_is_found_with_its_moment_and_input(task: str, mean: float) -> None:
    relation = relation_of(TASKS[task], rows_of(TASKS[task], 2, mean=mean, sign=-1, since=800))
    assert relation.is_changed and relation.label.startswith("late" if task != "multiclass" else ("late", "early"))
    assert relation.since and abs(relation.since - (START + timedelta(minutes=7 * 800))) < timedelta(hours=20)
    assert relation.within["amount"] > 0.5 and "channel" not in relation.within
