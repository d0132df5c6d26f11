"""The record of a training: read back whole, and precise about what has changed since."""

import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.spec.training import HistGradientBoosting, Lightning, Trainer
from mlops_assets.training import training_record
from mlops_assets.training.training_record import (
    TRAINER,
    Changed,
    NotRecorded,
    changes,
    in_training_order,
    read_trainer,
    record_rows,
    record_surroundings,
)
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.training.training_rows import training_rows

RATES = st.floats(1e-9, 1, exclude_min=True)
TRAINERS: st.SearchStrategy[Trainer] = st.builds(
    Lightning, hidden=st.lists(st.integers(1, 512), min_size=1).map(tuple), learning_rate=RATES, dropout=st.floats(0, 0.99)
) | st.builds(HistGradientBoosting, learning_rate=RATES, max_iter=st.integers(1, 999), seed=st.integers(0, 2**31))

AGAIN = """
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.training.training_record import record_surroundings
from mlops_assets.use_cases.flight_delay import USE_CASE
print(repr(sorted(record_surroundings(USE_CASE, HistGradientBoosting()).items())))
"""


@given(TRAINERS)
def test_a_recorded_trainer_is_read_back_to_the_last_digit(trainer: Trainer):
    assert read_trainer({TRAINER: trainer.model_dump_json()}, "a test") == trainer


@pytest.mark.parametrize(
    "record", [{}, {"trainer": ""}, {"trainer": '{"kind":"oracle"}'}, {"trainer": '{"kind":"lightning","hidden":[]}'}]
)
def test_a_record_without_a_trainer_is_an_error(record: dict[str, str]):
    with pytest.raises(NotRecorded, match=r"flight_delay · version 3 · the record of its training has trainer .*legal: "):
        read_trainer(record, "flight_delay · version 3")


def test_the_same_place_records_the_same_in_another_process():
    result = subprocess.run(
        [sys.executable, "-c", AGAIN], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert result.stdout.strip() == repr(sorted(record_surroundings(USE_CASE, HistGradientBoosting()).items()))


def test_each_trainer_records_its_own_code_and_libraries():
    trees, network = (record_surroundings(USE_CASE, trainer) for trainer in (HistGradientBoosting(), Lightning()))
    assert "source.train_boosting" in trees and "source.train_lightning" in network
    assert "source.train_lightning" not in trees and "source.train_boosting" not in network
    assert "library.torch" in network and "library.torch" not in trees
    assert "library.scikit-learn" in trees and "library.scikit-learn" not in network
    assert trees["library.numpy"] == network["library.numpy"] == __import__("numpy").__version__
    assert (trees["threads"], trees["accelerator"]) == ("1", "cpu")


def test_an_edited_trainer_module_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    then = record_surroundings(USE_CASE, HistGradientBoosting())
    copied = shutil.copytree(training_record.FOLDER, tmp_path / "training")
    with (copied / "trainers" / "boosting.py").open("a") as edited:
        edited.write("# another line\n")
    monkeypatch.setattr(training_record, "FOLDER", copied)
    (change,) = changes(then, record_surroundings(USE_CASE, HistGradientBoosting()))
    assert change.name == "source.train_boosting" and change.then == then["source.train_boosting"] != change.now


def test_an_edited_declaration_is_named_by_its_stage():
    then = record_surroundings(USE_CASE, HistGradientBoosting())
    now = record_surroundings(USE_CASE.but(trainer=HistGradientBoosting()), HistGradientBoosting())
    assert [change.name for change in changes(then, now)] == ["code.candidate"]


def test_a_new_entry_is_a_change_and_a_dropped_entry_is_none():
    assert changes({"python": "3.10", "gone": "x"}, {"python": "3.11", "cpu": "A"}) == (
        Changed("python", "3.10", "3.11"),
        Changed("cpu", None, "A"),
    )


@given(st.permutations(range(40)))
def test_rows_are_put_into_one_order_however_they_were_stored(order: list[int]):
    rows = training_rows(40).with_columns(carrier=pl.lit("UA"), flight=pl.int_range(pl.len()), sched_dep=pl.lit(0), day=pl.lit(1))
    rows = rows.with_columns(event_timestamp=pl.lit(rows["event_timestamp"][0]))
    assert in_training_order(rows[order], USE_CASE).equals(in_training_order(rows, USE_CASE))


def test_the_rows_are_recorded_with_the_window_that_was_trained_on():
    rows = training_rows(100)
    train = rows.filter(split="train")["event_timestamp"]
    assert record_rows(rows) == {"window.first": str(train[0]), "window.last": str(train[-1]), "rows": "100"}
