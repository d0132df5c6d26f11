"""Search: folds never look ahead, hopeless trials stop early, the declaration is the first trial."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.spec.training import HistGradientBoosting, Search, Trainer
from mlops_assets.training.fitted import UntrainableRows
from mlops_assets.training.search import search
from mlops_assets.training.splits import split_of
from mlops_assets.training.splits.by_time import time_folds
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.training.training_rows import INPUTS, training_rows

WORD = HistGradientBoosting(max_iter=8, min_samples_leaf=20, max_leaf_nodes=6, learning_rate=0.1)
AT_ONCE, MINUTES = timedelta(0), timedelta(minutes=1)
ROWS = training_rows(900).with_columns(known_at="event_timestamp")
START = datetime(2013, 1, 1, tzinfo=UTC)
SEARCH = Search(trials=12, folds=3)


class Found(NamedTuple):
    trainer: Trainer
    trials: list[dict[str, Any]]


def searched(rows: pl.DataFrame = ROWS, messages: list[str] | None = None) -> Found:
    progress = (messages if messages is not None else []).append
    return Found(*search(WORD, SEARCH, rows, split=split_of(USE_CASE), progress=progress, **INPUTS))


@pytest.fixture(scope="module")
def search_result() -> Found:
    return searched()


@pytest.mark.slow
@given(st.lists(st.integers(0, 500), min_size=200, max_size=400), st.integers(2, 5))
def test_no_row_of_a_fold_is_judged_by_a_model_that_saw_its_moment_or_a_later_one(hours: list[int], folds: int) -> None:
    moments = [START + timedelta(hours=hour) for hour in hours]
    rows = pl.DataFrame({"event_timestamp": moments, "known_at": moments})
    try:
        made = time_folds(rows, folds, AT_ONCE)
    except UntrainableRows:
        assert rows["event_timestamp"].n_unique() < 60  # only a few moments, each with many rows, cannot be cut
        return
    assert len(made) == folds
    for fold in made:
        moments = {split: fold.filter(split=split)["event_timestamp"] for split in ("train", "validation", "test")}
        assert moments["train"].max() < moments["validation"].min()
        assert moments["validation"].max() < moments["test"].min()


def test_the_windows_grow_and_every_late_row_is_scored_once() -> None:
    made = time_folds(ROWS, 3, AT_ONCE)
    read = [fold.filter(pl.col("split") != "test") for fold in made]
    scored = pl.concat([fold.filter(split="test") for fold in made])
    assert [len(part) for part in read] == [360, 540, 720]
    assert scored["event_timestamp"].to_list() == ROWS["event_timestamp"][360:].to_list()


@given(st.integers(0, 400), st.integers(0, 900), st.integers(2, 4))
def test_no_fold_trains_on_a_label_that_was_unknown_when_its_next_part_began(declared: int, longest: int, folds: int) -> None:
    """Labels take up to `longest` minutes, of which `declared` are declared; the rows are ten minutes apart."""
    taken = (pl.int_range(pl.len()) * 37 % (longest + 1) * MINUTES).alias("known_at")
    rows = ROWS.with_columns(pl.col("event_timestamp") + taken)
    rows = ROWS.with_columns(known_at=rows["event_timestamp"])
    for fold in time_folds(rows, folds, declared * MINUTES):
        parts = [fold.filter(split=split) for split in ("train", "validation", "test")]
        for part, later in pairwise(parts):
            assert part["event_timestamp"].max() < later["event_timestamp"].min() - declared * MINUTES
            assert part["known_at"].max() < later["event_timestamp"].min()


def test_labels_that_take_longer_than_the_folds_are_named() -> None:
    with pytest.raises(UntrainableRows, match=r"a fold has no train, validation rows: .* split.label_delay is 9 days"):
        time_folds(ROWS, 3, timedelta(days=9))


def test_too_few_moments_are_refused() -> None:
    moments = pl.DataFrame({"event_timestamp": [START] * 50 + [START + timedelta(hours=1)] * 50}).with_columns(known_at=START)
    with pytest.raises(UntrainableRows, match=r"search · .*Declare fewer folds, or train on more rows"):
        time_folds(moments, 3, AT_ONCE)


def test_one_label_in_a_scored_fold_is_refused() -> None:
    train = ROWS.filter(split="train")
    last = train.with_columns(late=pl.when(pl.int_range(pl.len()) >= 400).then(0).otherwise("late"))
    with pytest.raises(UntrainableRows, match="rows of a scored fold, which have one label"):
        searched(last)


def test_hopeless_trials_are_stopped_before_their_last_fold(search_result: Found) -> None:
    states = {state: [trial for trial in search_result.trials if trial["state"] == state] for state in ("pruned", "complete")}
    assert len(search_result.trials) == SEARCH.trials == len(states["pruned"]) + len(states["complete"])
    assert states["pruned"]
    assert all(len(trial["folds"]) < SEARCH.folds or trial["auc"] < search_result.trials[0]["auc"] for trial in states["pruned"])
    assert any(len(trial["folds"]) < SEARCH.folds for trial in states["pruned"])
    assert all(len(trial["folds"]) == SEARCH.folds for trial in states["complete"])


def test_the_declared_trainer_is_the_first_trial_and_the_best_one_wins(search_result: Found) -> None:
    first = search_result.trials[0]
    assert {name: first[name] for name in WORD.model_fields if name in first} == WORD.model_dump(exclude={"kind", "seed"})
    best = max((trial for trial in search_result.trials if trial["state"] == "complete"), key=lambda trial: trial["auc"])
    assert search_result.trainer == WORD.but(**{name: best[name] for name in WORD.model_dump(exclude={"kind", "seed"})})
    assert best["auc"] >= first["auc"]


def test_the_same_search_finds_the_same_and_reads_train_rows_only(search_result: Found) -> None:
    spoilt = ROWS.with_columns(late=pl.when(pl.col("split") == "train").then("late").otherwise(None))
    messages: list[str] = []
    assert searched(spoilt, messages) == search_result
    assert len(messages) == SEARCH.trials
    assert messages[0].startswith("search · trial 1 of 12 · auc 0.")
