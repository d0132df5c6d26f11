"""The same model is trained again from its record, in another process; where that fails, the message has the cause."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import Result
from deltalake import DeltaTable
from mlflow import MlflowClient
from sklearn.metrics import roc_auc_score

from mlops_assets.cli.provenance import reproduce_page
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables, VersionGone
from mlops_assets.foundation.home import PROJECT
from mlops_assets.foundation.terminal import as_text
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.provenance.reproduce import OtherRows, Reproduced, reproduce
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.model_registry import ModelAltered, NotRegistered
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.trainers import boosting as train_boosting
from mlops_assets.training.training_record import NotRecorded, read_trainer
from tests.integration.small_line import SMALL
from tests.provenance.conftest import LINES, NETWORK, NOW, SEARCHED, TREES, Line

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(400)]

TRAINING_SET = names.stage(SMALL.name, "training_set")
REPRODUCE_ALL = """
import typer
from mlops_assets.cli.provenance import reproduce
for version in (1, 2, 3):
    try:
        reproduce(version, "flight_delay")
    except typer.Exit as ended:
        print("exit", ended.exit_code)
"""


def again(
    line: Line, version: int = TREES, use_case: UseCase = SMALL, progress: Callable[[str], None] = lambda _: None, **stores: Any
) -> Reproduced:
    return reproduce(use_case, version, line.stores(**stores), registry=line.registry, progress=progress)


def record_of(line: Line, version: int) -> dict[str, str]:
    return next(model.tags for model in line.registry.versions(SMALL.name) if model.version == version)


@pytest.fixture
def recorded(line: Line) -> Any:
    """Edits the tags of version 1 in MLflow until the test ends."""
    client = MlflowClient(*[f"sqlite:///{line.home.mlflow / 'mlflow.db'}"] * 2)
    before = record_of(line, TREES)

    def edit(**tags: str | None) -> None:
        for name, value in tags.items():
            if value is None:
                client.delete_model_version_tag(SMALL.name, str(TREES), name)
            else:
                client.set_model_version_tag(SMALL.name, str(TREES), name, value)

    yield edit
    edit(**before)


@pytest.mark.slow
def test_another_process_with_other_threads_and_hashes_trains_the_same_bytes(line: Line):
    elsewhere = {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2", "POLARS_MAX_THREADS": "1", "MKL_NUM_THREADS": "2"}
    process = subprocess.run(
        [sys.executable, "-c", REPRODUCE_ALL],
        env=os.environ | line.variables | elsewhere, capture_output=True, text=True, check=False, cwd=PROJECT,
    )  # fmt: skip
    assert process.stdout.splitlines().count("exit 0") == len(LINES), process.stderr[-2000:]
    for version in (TREES, NETWORK, SEARCHED):
        digest = record_of(line, version)["digest"][:12]
        assert f"flight_delay, version {version}: same model, " in process.stdout
        assert f"ONNX digest {digest}… again" in process.stdout


def test_without_any_change_no_change_is_reported(line: Line):
    result = again(line)
    assert (result.digest, result.distance, result.changed, result.is_good) == (result.again, None, (), True)
    assert len(as_text(*reproduce_page(result)).splitlines()) == 1


def test_a_search_is_not_repeated_but_its_result_trained(line: Line):
    trainer = read_trainer(record_of(line, SEARCHED), "a test")
    assert trainer != LINES[SEARCHED].trainer, "the search has found another trainer than the declared one"
    lines: list[str] = []
    result = again(line, SEARCHED, LINES[SEARCHED], progress=lines.append)
    assert result.distance is None and result.changed == ()
    assert not [text for text in lines if text.startswith("search")]


def test_another_python_library_platform_and_declaration_are_named(line: Line, recorded: Any):
    recorded(**{"python": "3.10.4", "library.numpy": "1.0.0", "platform": "Amiga", "cpu": None})
    longer = SMALL.split.but(validation=SMALL.split.validation * 2)
    result = again(line, use_case=SMALL.but(split=longer))
    assert {change.name: change.then for change in result.changed} == {
        "code.training_set": SMALL.fingerprint("training_set"),
        "python": "3.10.4",
        "library.numpy": "1.0.0",
        "platform": "Amiga",
        "cpu": None,
    }
    text = as_text(*reproduce_page(result))
    assert re.search(rf"^python +3\.10\.4 +{re.escape(platform.python_version())}$", text, re.MULTILINE)
    assert re.search(rf"^library numpy +1\.0\.0 +{re.escape(np.__version__)}$", text, re.MULTILINE)
    assert re.search(r"^cpu +not recorded  ", text, re.MULTILINE)
    assert re.search(r"^declared features, label, split +[0-9a-f]{12} +[0-9a-f]{12}$", text, re.MULTILINE)
    assert "Changed since, without effect" in text, "the bytes are the same all the same"


def test_other_code_that_makes_another_model_is_measured_and_named(line: Line, recorded: Any, monkeypatch: pytest.MonkeyPatch):
    recorded(**{"source.train_boosting": "0" * 12})
    trees = train_boosting.TREES["sigmoid"]

    def fewer(**parameters: Any) -> Any:
        return trees(**parameters | {"max_iter": 2})

    monkeypatch.setitem(train_boosting.TREES, "sigmoid", fewer)
    result = again(line)
    assert result.digest != result.again and result.distance is not None
    assert [change.name for change in result.changed] == ["source.train_boosting"]
    test = line.training_set().filter(split="test")
    model = OnnxModel.from_bytes(line.registry.load(SMALL.name, TREES))
    assert result.distance.rows == len(test)
    assert result.distance.metrics["auc"][0] == pytest.approx(roc_auc_score(test["late"], model.predict(test)))
    assert result.distance.weights is None, "two trees instead of five"
    text = as_text(*reproduce_page(result))
    assert "DIFFERENT MODEL" in text.splitlines()[0] and "NOT within the tolerance of 0.005" in text
    assert re.search(r"^code of training/trainers/boosting.py +000000000000 +[0-9a-f]{12}$", text, re.MULTILINE)
    assert not result.is_good


def test_a_small_difference_is_within_the_tolerance_and_no_cause_is_made_up(line: Line, monkeypatch: pytest.MonkeyPatch):
    def lower_baseline(classifier: Any) -> None:
        classifier._baseline_prediction -= 1e-4

    monkeypatch.setattr(train_boosting, "_round_thresholds_down", lower_baseline)
    result = again(line)
    assert result.digest != result.again and result.is_good and result.distance is not None
    assert 0 < result.distance.output < 1e-3
    text = as_text(*reproduce_page(result))
    assert "equivalent model" in text.splitlines()[0]
    assert "code, libraries and machine are unchanged: the cause was not recorded" in text


@pytest.fixture
def copied(line: Line, tmp_path: Path) -> DeltaTables:
    """The training set alone, for tests that spoil it."""
    tables = DeltaTables(tmp_path)
    shutil.copytree(line.tables.path(TRAINING_SET), tables.path(TRAINING_SET))
    return tables


def test_vacuumed_rows_are_reported_with_the_erasures_that_may_have_removed_them(line: Line, copied: DeltaTables, tmp_path: Path):
    path = str(copied.path(TRAINING_SET))
    pl.read_delta(path).head(10).write_delta(path, mode="overwrite")
    assert again(line, tables=copied).distance is None, "an old version is read as long as it is kept"
    DeltaTable(path).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    with pytest.raises(VersionGone, match=r"training_set · version 0 cannot be read any more .*Erasures in the ledger: none"):
        again(line, tables=copied, ledger=ledger)
    ledger.append(SMALL.name, "erasure", {"because": "letter"}, by="the officer", at=NOW)
    with pytest.raises(VersionGone, match=r"Erasures in the ledger: record 1 by the officer, 2013-01-05"):
        again(line, tables=copied, ledger=ledger)


def test_a_missing_table_is_reported(line: Line, tmp_path: Path):
    with pytest.raises(VersionGone, match=r"version 0 cannot be read any more .*the newest is -1"):
        again(line, tables=DeltaTables(tmp_path))


def test_a_table_that_was_created_again_is_refused(line: Line, copied: DeltaTables):
    path = copied.path(TRAINING_SET)
    rows = pl.read_delta(str(path))
    shutil.rmtree(path)
    rows.filter(pl.int_range(pl.len()) > 0).write_delta(str(path))
    with pytest.raises(OtherRows, match=rf"version 0 of its training_set has .*rows {len(rows) - 1} instead of {len(rows)}"):
        again(line, tables=copied)


def test_the_order_of_stored_rows_does_not_matter(line: Line, copied: DeltaTables):
    path = copied.path(TRAINING_SET)
    rows = pl.read_delta(str(path))
    shutil.rmtree(path)
    rows.sample(fraction=1, shuffle=True, seed=1).write_delta(str(path))
    assert again(line, tables=copied).distance is None


def test_an_altered_model_is_refused(line: Line, altered: Callable[[Path, bytes, bytes], None]):
    path = next(path for path in line.home.mlflow.rglob("model.onnx") if b"trees" in path.read_bytes() and is_first(line, path))
    altered(path, b"trees", b"treez")
    with pytest.raises(ModelAltered, match="version 1 · the bytes have SHA-256"):
        again(line)


def is_first(line: Line, path: Path) -> bool:
    return path.read_bytes() == line.registry.load(SMALL.name, TREES)


@pytest.mark.parametrize("missing", ["trainer", "table.training_set"])
def test_a_version_without_its_record_is_refused_with_what_is_missing(line: Line, recorded: Any, missing: str):
    recorded(**{missing: None})
    with pytest.raises(NotRecorded, match=rf"flight_delay · version 1 · the record of its training has {missing} "):
        again(line)


def test_an_unregistered_version_is_refused_with_the_registered_ones(line: Line, run: Callable[..., Result]):
    with pytest.raises(NotRegistered, match="registered are: 1, 2, 3"):
        again(line, 9)
    result = run("reproduce", 9)
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert "registered are: 1, 2, 3" in result.output


def test_training_the_same_again_is_the_same_version_with_its_first_record(line: Line):
    before = record_of(line, TREES)
    assert line.train(SMALL) == TREES
    assert record_of(line, TREES) == before


def test_a_copied_home_explains_and_reproduces_without_the_original(
    line: Line, answered: list[dict[str, Any]], run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, aside = shutil.copytree(line.home.root, tmp_path / "copy"), line.home.root.with_name("aside")
    monkeypatch.setenv("MLOPS_HOME", str(copy))
    line.home.root.rename(aside)
    try:
        for command in (("why", answered[0]["prediction_id"]), ("reproduce", str(TREES))):
            result = run(*command)
            assert result.exit_code == 0, result.output
    finally:
        assert not line.home.root.exists(), "the copy has written into the original's folder"
        aside.rename(line.home.root)
    shutil.rmtree(copy)
