"""Random and group splits: every row is in one part, whatever the order of the rows and whichever others there are."""

from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.spec.split import GroupSplit, RandomSplit
from mlops_assets.spec.task import Binary, Multiclass, Regression, Task
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.fitted import UntrainableRows
from mlops_assets.training.splits import split_of
from mlops_assets.training.splits.split import PARTS, MissingRows
from tests.spec.samples import TUMOR

END = datetime(2024, 3, 9, tzinfo=UTC)
SHARES = st.tuples(st.floats(0.1, 0.4), st.floats(0.1, 0.4))
ROWS = st.lists(st.tuples(st.sampled_from("MBB"), st.integers(0, 12)), min_size=1, max_size=120)
TASKS: tuple[tuple[Task, str], ...] = (
    (Binary(label="diagnosis", positive="M"), "diagnosis"),
    (Multiclass(label="diagnosis", classes=("M", "B")), "diagnosis"),
    (Regression(label="cells"), "half"),
)


def samples(rows: list[tuple[str, int]]) -> pl.DataFrame:
    count = len(rows)
    return pl.DataFrame(
        {"sample": range(count), "diagnosis": [label for label, _ in rows], "patient": [f"p{number}" for _, number in rows],
         "cells": [(number * 7919) % 1009 for number in range(count)]},
    )  # fmt: skip


def divide(use_case: UseCase, rows: pl.DataFrame) -> dict[int, str]:
    """The part of every sample; none where a part would be empty."""

    def read(until: date | None) -> pl.LazyFrame:
        return rows.lazy()

    try:
        divided = split_of(use_case).divide(read, end=END)
    except MissingRows:
        return {}
    assert divided.drop("split").equals(rows)
    return dict(divided.select("sample", "split").iter_rows())


@given(ROWS, SHARES, st.sampled_from(TASKS), st.integers(0, 3))
@settings(deadline=None)
def test_every_stratum_has_the_declared_shares(
    rows: list[tuple[str, int]], shares: tuple[float, float], task: tuple[Any, str], seed: int
) -> None:
    frame, (test, validation) = samples(rows), shares
    use_case = TUMOR.but(task=task[0], split=RandomSplit(test=test, validation=validation, seed=seed))
    if not (parts := divide(use_case, frame)):
        return
    strata = frame.with_columns(
        split=pl.col("sample").replace_strict(parts, return_dtype=pl.String), half=pl.col("cells") > pl.col("cells").median()
    )
    assert sorted(parts) == list(range(len(rows))) and {*parts.values()} == {*PARTS}
    for stratum in strata.partition_by(task[1]):
        for name, share in zip(PARTS, (1 - test - validation, validation, test), strict=True):
            assert abs(len(stratum.filter(split=name)) - share * len(stratum)) <= 1


@given(ROWS, st.randoms(use_true_random=False), st.booleans())
@settings(deadline=None)
def test_the_order_of_the_rows_decides_nothing(rows: list[tuple[str, int]], chance: Any, stratify: bool) -> None:
    use_case, frame = TUMOR.but(split=RandomSplit(stratify=stratify)), samples(rows)
    order = list(range(len(rows)))
    chance.shuffle(order)
    assert divide(use_case, frame) == divide(use_case, frame[order])


@given(ROWS, st.sampled_from([RandomSplit(stratify=False), GroupSplit(column="patient")]))
@settings(deadline=None)
def test_a_row_keeps_its_part_when_others_come(rows: list[tuple[str, int]], split: Any) -> None:
    use_case, frame = TUMOR.but(split=split), samples(rows)
    before, after = divide(use_case, frame.head(len(rows) // 2)), divide(use_case, frame)
    assert not after or before.items() <= after.items()


@given(ROWS, st.integers(0, 5))
@settings(deadline=None)
def test_a_group_is_in_one_part(rows: list[tuple[str, int]], seed: int) -> None:
    frame, use_case = samples(rows), TUMOR.but(split=GroupSplit(column="patient", seed=seed))
    parts = divide(use_case, frame)
    groups = [{parts[sample] for sample in group["sample"]} for group in frame.partition_by("patient") if parts]
    assert all(len(group) == 1 for group in groups)


def test_rows_of_one_label_are_in_one_part() -> None:
    frame = samples([("M", 0), ("B", 1)] * 60)
    twice = pl.concat([frame, frame.with_columns(patient=pl.lit("other"))])
    for stratify in (True, False):
        parts = split_of(TUMOR.but(split=RandomSplit(stratify=stratify))).divide(lambda _: twice.lazy(), end=END)
        assert parts.group_by("sample").agg(pl.col("split").n_unique())["split"].unique().to_list() == [1]


def test_the_draw_is_the_same_in_every_version_of_every_library() -> None:
    """A champion was trained on these rows, and tested on those: t-r-ain, v-a-lidation, t-e-st."""
    frame = samples([("MBB"[number % 3], number) for number in range(40)])
    drawn = divide(TUMOR.but(split=RandomSplit(stratify=False)), frame)
    assert "".join(drawn[number][1] for number in range(40)) == "reraareerarearrereaeaaarrrrreareerrrrrrr"
    drawn = divide(TUMOR.but(split=GroupSplit(column="patient", seed=7)), frame)
    assert "".join(drawn[number][1] for number in range(40)) == "eerreraerrrearrarraerrareaarrererararrra"


def test_another_seed_draws_others() -> None:
    frame = samples([("M", number) for number in range(200)])
    for split in (RandomSplit(stratify=False), RandomSplit(), GroupSplit(column="patient")):
        one, two = (divide(TUMOR.but(split=split.but(seed=seed)), frame) for seed in (0, 1))
        assert 50 < sum(one[sample] != two[sample] for sample in one) < 170


def test_too_few_rows_or_groups_are_counted() -> None:
    frame = samples([("M", 3)] * 4)
    with pytest.raises(MissingRows) as error:
        split_of(TUMOR.but(split=RandomSplit(test=0.05, validation=0.3))).divide(lambda _: frame.lazy(), end=END)
    assert str(error.value) == (
        "training_set · test, which takes 5% of the labelled requests, has no row. There are 4 labelled requests; needed are some "
        "20. Land more, or raise the share."
    )
    with pytest.raises(MissingRows, match="There are 1 groups of patient; needed are some 5"):
        split_of(TUMOR.but(split=GroupSplit(column="patient"))).divide(lambda _: frame.lazy(), end=END)


@given(st.integers(2, 5), st.sampled_from([RandomSplit(), RandomSplit(stratify=False), GroupSplit(column="patient")]))
@settings(deadline=None, max_examples=20)
def test_every_row_is_scored_in_one_fold_by_a_model_that_was_not_trained_on_its_group(folds: int, split: Any) -> None:
    frame = samples([("MBB"[number % 3], number % 150) for number in range(600)])
    made = split_of(TUMOR.but(split=split)).folds(frame, folds)
    scored = [set(fold.filter(split="test")["sample"]) for fold in made]
    assert len(made) == folds and sorted(sample for part in scored for sample in part) == list(range(600))
    assert all({*fold["sample"]} == {*range(600)} and {*fold["split"]} == {*PARTS} for fold in made)
    for fold in made:
        groups = [{*part["patient"]} for part in fold.partition_by("split")] if isinstance(split, GroupSplit) else []
        assert all(not one & other for one, other in pairwise([*groups, *groups[:1]]))


def test_stratified_folds_have_every_class() -> None:
    frame = samples([("M" if number < 30 else "B", number) for number in range(300)])
    for fold in split_of(TUMOR).folds(frame, 5):
        assert abs(len(fold.filter(split="test", diagnosis="M")) - 6) <= 1


def test_a_fold_without_rows_is_refused() -> None:
    with pytest.raises(UntrainableRows, match=r"a fold has no .*train rows have 1 groups of patient\. Declare fewer folds"):
        split_of(TUMOR.but(split=GroupSplit(column="patient"))).folds(samples([("M", 1)] * 50), 3)
