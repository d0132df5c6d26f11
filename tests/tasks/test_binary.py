"""Labels as truth, legal probabilities, and the decisions from them."""

import math
from pkgutil import resolve_name

import numpy as np
import polars as pl
import pytest

from mlops_assets.spec import task as declared
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.tasks import task_of
from mlops_assets.tasks.task import IllegalLabels
from mlops_assets.use_cases.flight_delay import USE_CASE

LATE = USE_CASE.task
TASK = task_of(LATE)


def test_every_declared_task_has_an_implementation() -> None:
    built_in = [one for one in declared.Task.__subclasses__() if one.__module__ == declared.__name__]
    names = [resolve_name(one.IMPLEMENTATION).__name__ for one in built_in]
    assert names == [f"{one.__name__}Task" for one in built_in]


@pytest.mark.parametrize(
    ("labels", "positive", "truth"),
    [
        ([0, 1, 1], None, [0, 1, 1]),
        ([True, False], None, [1, 0]),
        ([0.0, 1.0], None, [0, 1]),
        (["M", "B", "M"], "M", [1, 0, 1]),
        ([1, 2, 2], 2, [0, 1, 1]),
        ([1.0, 2.0], 2, [0, 1]),
        ([True, False], "true", [1, 0]),
    ],
)
def test_labels_become_0_and_1(labels: list[object], positive: str | int | None, truth: list[int]) -> None:
    assert task_of(LATE.but(positive=positive)).truth(pl.Series(labels)).tolist() == truth
    # Networks learn floats: with another type, Lightning failed for every declared `positive`.
    assert task_of(LATE.but(positive=positive)).truth(pl.Series(labels)).dtype == np.float32


def test_text_labels_without_a_positive_one_are_named_with_the_remedy() -> None:
    with pytest.raises(IllegalLabels, match=r"label late · 'B', 'M'; legal: 0 and 1\. Declare which one is Binary\.positive\."):
        TASK.truth(pl.Series(["M", "B", "M"]))


@pytest.mark.parametrize(
    ("truth", "problem"),
    [
        ([0, 1], ""),
        ([1, 1], "have the labels [1.0] in 'late'; needed: both 0 and 1. Widen that part of the split."),
        ([0, 2], "Return 0 or 1 from the label's transform, or declare Binary.positive."),
        ([0, math.nan], "Leave out the rows without a label."),
        ([], "Land more days, widen that split, or set split.label_delay"),
    ],
)
def test_labels_that_cannot_be_learned_are_named_with_the_remedy(truth: list[float], problem: str) -> None:
    message = TASK.untrainable(np.array(truth, dtype=np.float32))
    assert problem in message if problem else not message


def test_a_legal_output_is_a_probability() -> None:
    scores = [math.nan, -0.1, 1.1, 0.0, 1.0]
    assert [TASK.is_legal(score) for score in scores] == TASK.are_legal(np.array(scores)).tolist() == [False] * 3 + [True] * 2


def test_a_score_of_exactly_the_threshold_decides_yes() -> None:
    read = task_of(LATE.but(threshold=0.5)).reader({})
    assert [read(score) for score in (0.4, 0.5)] == [(0.4, False), (0.5, True)]


@pytest.mark.parametrize("threshold", [0, 1, -0.1, math.nan])
def test_a_threshold_that_decides_nothing_is_refused(threshold: float) -> None:
    with pytest.raises(IllegalDeclaration, match="Binary · threshold"):
        LATE.but(threshold=threshold)
