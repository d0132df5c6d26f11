"""The examples of docs/trainers.md, copied to files verbatim, train, export, answer and train again to the same bytes."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlops_assets.spec.training import OwnLightning, Trainer
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.train import fit
from mlops_assets.training.training_record import read_trainer, record_surroundings, record_trainer
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.documentation.pages import package_of, run_file
from tests.training.training_rows import INPUTS, training_rows

ROWS, KNOWN = training_rows(600), {**INPUTS, "numeric": ("delay", "wind")}


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package of the page, importable."""
    with package_of("docs/trainers.md", tmp_path_factory.mktemp("documented")) as package:
        yield package


def documented(acme: Path) -> Trainer:
    module = import_module("acme.rising_trees")
    return run_file(acme / "use_case.py", {"RisingTrees": module.RisingTrees})["trainer"]


def test_the_trainer_of_the_page_trains_and_keeps_its_promise(acme: Path) -> None:
    trainer = documented(acme)
    assert USE_CASE.but(trainer=trainer).trainer == trainer
    model = fit(trainer, ROWS, **KNOWN)
    assert fit(trainer, ROWS, **KNOWN).digest == model.digest
    rising = ROWS.head(1).select(pl.all().exclude("delay")).join(pl.DataFrame({"delay": np.linspace(0, 100, 200)}), how="cross")
    answers = OnnxModel.from_bytes(model.onnx).predict(rising)
    assert (np.diff(answers) >= 0).all() and np.ptp(answers) > 0.1


def test_its_record_finds_the_class_again_and_an_edit_of_its_module_is_a_change(acme: Path) -> None:
    trainer = documented(acme)
    record = record_trainer(trainer)
    assert record["trainer_class"] == "acme.rising_trees:RisingTrees"
    assert read_trainer(record, "a test") == trainer
    declared = USE_CASE.but(trainer=trainer)
    before, code = record_surroundings(declared, trainer), acme / "rising_trees.py"
    assert "module.acme.rising_trees" in before
    text = code.read_text()
    code.write_text(text + "# another line\n")
    after = record_surroundings(declared, trainer)
    code.write_text(text)
    assert {name for name in before if before[name] != after[name]} == {"module.acme.rising_trees", "code.candidate"}


def test_the_lightning_module_of_the_page_trains(acme: Path) -> None:
    trainer = OwnLightning(module="acme.net:Net", arguments={"width": 8}, max_epochs=6, batch_size=64)
    model = fit(trainer, ROWS, **INPUTS)
    test = ROWS.filter(split="test")
    sample = INPUTS["task"].sample(INPUTS["task"].truth(test["late"]), OnnxModel.from_bytes(model.onnx).predict(test))
    assert sample.measure(["auc"])["auc"] > 0.6
    assert trainer.modules[-1] == "acme.net" and "module.acme.net" in record_surroundings(USE_CASE, trainer)
