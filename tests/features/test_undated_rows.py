"""Training rows of a table without times: labels that are columns, corrections, groups, and too few rows."""

import datetime as dt
from typing import Any

import polars as pl
import pytest

from mlops_assets.features.featurize import IllegalFeatures, known_labels, training_rows
from mlops_assets.spec.feature import Label
from mlops_assets.spec.split import GroupSplit
from mlops_assets.spec.task import Binary
from mlops_assets.tasks import task_of
from tests.spec.samples import TUMOR

UTC_US, NOW = pl.Datetime("us", "UTC"), dt.datetime(2024, 3, 20, tzinfo=dt.UTC)
EPOCH, FIRST = dt.date(1970, 1, 1), dt.date(2024, 3, 1)  # of a snapshot, and of a table that lands every day


def landed(count: int, day: dt.date = EPOCH, **columns: Any) -> pl.LazyFrame:
    rows = {
        "sample": range(count), "patient": [f"p{number // 2}" for number in range(count)], "radius": 1.5, "cells": 3,
        "stained": True, "laboratory": "east", "taken_at": NOW, "diagnosis": ["MB"[number % 2] for number in range(count)],
        "day": day,
    }  # fmt: skip
    return pl.LazyFrame(rows | columns, schema_overrides={"taken_at": UTC_US, "diagnosis": pl.String})


def trained(use_case: Any, rows: pl.LazyFrame) -> pl.DataFrame:
    return training_rows(use_case, rows, rows, now=NOW)


@pytest.mark.parametrize("day", [EPOCH, FIRST])
def test_a_row_holds_for_the_start_of_its_day_and_its_label_is_known_by_the_end(day: dt.date) -> None:
    rows, start = trained(TUMOR, landed(40, day)), dt.datetime.combine(day, dt.time(), dt.UTC)
    assert len(rows) == 40 and set(rows["event_timestamp"]) == {start}
    assert set(rows["known_at"]) == {start + dt.timedelta(days=1, microseconds=-1)}
    assert rows.columns == [*TUMOR.features.request, "event_timestamp", "diagnosis", "known_at", "split"]
    assert rows["split"].value_counts(sort=True)["count"].to_list() == [24, 8, 8]


def test_a_corrected_row_counts_once_with_its_newest_values() -> None:
    rows = trained(TUMOR, pl.concat([landed(40, FIRST), landed(3, FIRST + dt.timedelta(days=2), radius=9.5, diagnosis="M")]))
    assert rows.filter(pl.col("radius") == 9.5).select("sample", "diagnosis").rows() == [(0, "M"), (1, "M"), (2, "M")]
    assert rows["sample"].n_unique() == len(rows) == 40


def test_a_row_without_a_label_waits() -> None:
    missing = [None if number == 7 else "MB"[number % 2] for number in range(40)]
    assert 7 not in trained(TUMOR, landed(40, diagnosis=missing))["sample"].to_list()


def test_a_group_need_not_be_sent_in_requests() -> None:
    rows = trained(TUMOR.but(split=GroupSplit(column="patient")), landed(60))
    assert "patient" not in TUMOR.features.request
    assert rows.group_by("patient").agg(pl.col("split").n_unique())["split"].unique().to_list() == [1]


def test_a_young_table_says_how_many_rows_are_there_and_needed() -> None:
    with pytest.raises(
        IllegalFeatures, match=r"test, which takes 20% of the labelled requests, .* There are 2 .* needed are some 5"
    ):
        trained(TUMOR, landed(2, diagnosis="M"))
    with pytest.raises(
        IllegalFeatures, match=r"groups of patient, has no row\. There are 1 groups of patient; needed are some 5"
    ):
        trained(TUMOR.but(split=GroupSplit(column="patient")), landed(2))


def test_a_label_of_a_column_may_have_a_moment_of_its_own() -> None:
    use_case = TUMOR.but(task=Binary(label=Label(name="diagnosis", known_at="taken_at"), positive="M"))
    assert set(known_labels(use_case, landed(4)).collect()["known_at"]) == {NOW}


@pytest.mark.parametrize(("values", "positive"), [("MBMB", "M"), ([1, 0, 1, 0], None), ([2, 1, 2, 1], 2), ([True, False] * 2, None),
                                                  ([True, False] * 2, True), ([True, False] * 2, "true"), ([False, True] * 2, False)])  # fmt: skip
def test_labels_of_every_type_are_read_alike(values: Any, positive: Any) -> None:
    assert task_of(Binary(label="diagnosis", positive=positive)).truth(pl.Series(list(values))).tolist() == [1, 0, 1, 0]
