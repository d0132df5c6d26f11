"""Each task with each trainer: a model file answers what its library does, is the same to the byte when trained again, and works in a search."""

import json
import os
import subprocess
import sys
from functools import cache
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops_assets.foundation.home import PROJECT
from mlops_assets.serving.inference.explain import explain
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.training import BUILT_IN, LightGBM, OwnLightning, Range, Search, SklearnEstimator, Trainer
from mlops_assets.statistics.metrics import measure
from mlops_assets.training.imported import UnusableTrainer
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.search import search
from mlops_assets.training.splits import split_of
from mlops_assets.training.train import TrainedModel, fit, fit_in_library
from mlops_assets.training.training_record import read_trainer, record_surroundings, record_trainer
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.tasks import test_multiclass as multiclass
from tests.tasks.declarations import TRAINERS, trainers
from tests.training.trainers import test_regression as regression
from tests.training.training_rows import INPUTS, training_rows, unlabelled_rows

DATA: dict[str, tuple[pl.DataFrame, dict[str, Any]]] = {
    "binary": (training_rows(600), INPUTS),
    "multiclass": (multiclass.ROWS, multiclass.INPUTS),
    "regression": (regression.rows(600), regression.inputs()),
}
LEAST = {"binary": ("auc", 0.65), "multiclass": ("accuracy", 0.75), "regression": ("r2", 0.7)}
EACH_PAIR = [pytest.mark.parametrize("name", TRAINERS), pytest.mark.parametrize("task", DATA)]
CLASSIFIER, REGRESSOR = "sklearn.linear_model:LogisticRegression", "sklearn.linear_model:Ridge"


def each_pair(test: Any) -> Any:
    for mark in EACH_PAIR:
        test = mark(test)
    return test


@cache
def trained(task: str, name: str) -> TrainedModel:
    rows, inputs = DATA[task]
    return fit(trainers(task)[name], rows, **inputs)


def test_every_built_in_trainer_is_tested() -> None:
    assert {*TRAINERS} == {*BUILT_IN}


@each_pair
def test_a_model_file_answers_what_its_library_does_and_has_learned(task: str, name: str) -> None:
    rows, inputs = DATA[task]
    fitted, signature = fit_in_library(trainers(task)[name], rows, **inputs)
    model = OnnxModel.from_bytes(fitted.to_onnx())
    assert fitted.to_onnx() == trained(task, name).onnx, "the same rows give the same bytes"
    strangers = pl.concat(
        [unlabelled_rows(500, 7), unlabelled_rows(40, 8).with_columns(wind=None, delay=None, carrier=pl.lit("?"))],
        how="vertical_relaxed",
    )
    features = signature.encode(strangers)
    np.testing.assert_allclose(model.score(features), fitted.predict(features), rtol=1e-5, atol=1e-4)
    own = inputs["task"]
    assert own.are_legal(model.score(features)).all()
    test, (metric, least) = rows.filter(split="test"), LEAST[task]
    assert measure(metric, own.sample(own.truth(test[inputs["label"]]), model.predict(test))) > least
    assert fitted.history and all(isinstance(value, float) for record in fitted.history for value in record.values())


PROGRAM = """
import json
from tests.tasks.declarations import TRAINERS
from tests.training.trainers.test_every_trainer import DATA, trained
print(json.dumps({f"{task} {name}": trained(task, name).digest for task in DATA for name in TRAINERS}))
"""


@pytest.mark.slow
def test_another_process_with_other_threads_and_hashes_trains_the_same_bytes() -> None:
    process = run(PROGRAM, PYTHONHASHSEED="7", OMP_NUM_THREADS="2")
    here = {f"{task} {name}": trained(task, name).digest for task in DATA for name in TRAINERS}
    assert json.loads(process.stdout or "{}") == here, process.stderr[-2000:]


@each_pair
def test_the_record_gives_the_trainer_back(task: str, name: str) -> None:
    trainer = trainers(task)[name]
    record = record_trainer(trainer)
    assert [*record] == ["trainer"], "old records have no other key either"
    assert read_trainer(record, "a test") == trainer
    surroundings = record_surroundings(USE_CASE, trainer)
    assert all(surroundings[f"library.{library}"] for library in trainer.LIBRARIES)


@each_pair
def test_contributions_are_those_of_all_orderings_and_add_up(task: str, name: str) -> None:
    """Of five known inputs there are 120 orderings: by brute force, one row a call."""
    rows, inputs = DATA[task]
    model, own = OnnxModel.from_bytes(trained(task, name).onnx), inputs["task"]
    features = model.signature.encode(rows.filter(pl.col("delay").is_not_null() & pl.col("wind").is_not_null()).tail(1))
    nothing = np.where(np.arange(features.shape[1]) < len(model.signature.numeric), np.nan, 0).astype(np.float32)
    score = model.score(features).tolist()[0]

    def additive(some: Any) -> Any:
        return own.additive(model.score(some), score)

    explanation = explain(
        additive,
        features[0],
        nothing,
        names=model.signature.inputs,
        rng=np.random.default_rng(0),
        deadline=lambda: False,
        max_permutations=4000,
    )
    assert explanation.baseline + sum(explanation.contributions.values()) == pytest.approx(
        additive(features)[0], rel=1e-5, abs=1e-5
    )
    expected = by_brute_force(additive, features[0], nothing, model.signature.inputs)
    error = max(explanation.standard_error or 0.0, 1e-4 * max(1.0, abs(additive(features)[0])))
    assert dict(explanation.contributions) == pytest.approx(
        {key: expected[key] for key in explanation.contributions}, abs=6 * error
    )


def by_brute_force(score: Any, row: Any, nothing: Any, names: tuple[str, ...]) -> dict[str, float]:
    """Shapley values by their definition, over all subsets of the known inputs."""
    known = [place for place in range(len(row)) if not (row[place] == nothing[place] or np.isnan(row[place]))]

    def worth(places: tuple[int, ...]) -> float:
        some = nothing.copy()
        some[[*places]] = row[[*places]]
        return float(score(some[None])[0])

    count, values = len(known), dict[str, float]()
    for place in known:
        others = [other for other in known if other != place]
        values[names[place]] = sum(
            factorial(size) * factorial(count - size - 1) / factorial(count) * (worth((*part, place)) - worth(part))
            for size in range(count)
            for part in combinations(others, size)
        )
    return values


RANGED: dict[str, Trainer] = {
    **{name: trainer for name, trainer in trainers("binary").items() if trainer.space()},
    "sklearn_estimator": SklearnEstimator(estimator=CLASSIFIER, arguments={"C": 1.0}, ranges={"C": Range(low=0.01, high=10.0, log=True)}),
    "own_lightning": OwnLightning(
        module="tests.training.trainers.own_net:Net", arguments={"width": 8}, ranges={"width": Range(low=4, high=32)}, max_epochs=2
    ),
}  # fmt: skip


@pytest.mark.parametrize("trainer", RANGED.values(), ids=RANGED)
def test_a_search_begins_with_what_is_declared_and_stays_in_its_ranges(trainer: Trainer) -> None:
    rows = training_rows().with_columns(known_at="event_timestamp")
    best, trials = search(trainer, Search(trials=3, folds=2), rows, split=split_of(USE_CASE), progress=lambda _: None, **INPUTS)
    space = trainer.space()
    assert {name: trials[0][name] for name in space} == {name: trainer.value(name) for name in space}
    assert len({json.dumps([trial[name] for name in space]) for trial in trials}) == 3
    for trial in trials:
        for name, span in space.items():
            assert trial[name] in span if isinstance(span, tuple) else span.low <= trial[name] <= span.high
    assert type(best) is type(trainer) and trainer.with_values({name: best.value(name) for name in space}) == best


REFUSED: list[tuple[str, Trainer, str]] = [
    ("binary", SklearnEstimator(estimator="sklearn.semi_supervised:LabelSpreading"), r"SklearnEstimator · sklearn\.semi_supervised:LabelSpreading · skl2onnx cannot export it: .*; legal: one such as LogisticRegression, "),
    ("binary", SklearnEstimator(estimator="sklearn.svm:LinearSVC"), "has no predict_proba, .* legal: one such as LogisticRegression"),
    ("binary", SklearnEstimator(estimator=REGRESSOR), "Binary needs a classifier, .* legal: one such as LogisticRegression"),
    ("regression", SklearnEstimator(estimator=CLASSIFIER), "Regression needs a regressor, .* legal: one such as Ridge"),
    ("binary", SklearnEstimator(estimator=CLASSIFIER, arguments={"c": 1}), r"LogisticRegression · it cannot be built: .*'c'; arguments: c=1\. Correct them"),
    ("binary", SklearnEstimator(estimator="sklearn.linear_model:Logistic"), r"sklearn\.linear_model has no Logistic\. Correct the path"),
    ("binary", OwnLightning(module="tests.no_such_module:Net"), r"tests\.no_such_module cannot be imported: .*\. Correct the path or the module"),
    ("binary", OwnLightning(module="no_such_package.net:Net"), "no_such_package is not installed. Run: pip install no_such_package"),
    ("binary", OwnLightning(module="tests.training.trainers.own_net:nn"), "own_net:nn · it cannot be built"),
    ("multiclass", OwnLightning(module="tests.training.trainers.wrong_net:OneOutput"), r"forward gives \(2, 1\) for 2 rows; legal: \(2, 3\), a logit of each class"),
    ("binary", OwnLightning(module="tests.training.trainers.wrong_net:Plain"), r"is no LightningModule of pytorch_lightning .*Make it a subclass"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "trainer", "message"), REFUSED, ids=[f"{case[2][:30]}" for case in REFUSED])
def test_a_trainer_that_cannot_train_is_refused_with_its_cause(task: str, trainer: Trainer, message: str) -> None:
    rows, inputs = DATA[task]
    with pytest.raises(UnusableTrainer, match=message):
        fit(trainer, rows, **inputs)


def test_an_export_that_answers_otherwise_is_refused() -> None:
    """skl2onnx exports this binary classifier wrongly (1.20): the platform compares before it registers."""
    rows, inputs = DATA["binary"]
    trainer = SklearnEstimator(estimator="sklearn.discriminant_analysis:LinearDiscriminantAnalysis")
    with pytest.raises(UnusableTrainer, match="its model file answers otherwise than predict in .* of 120 rows"):
        fit(trainer, rows, **inputs)


def test_a_class_is_declared_by_its_public_path() -> None:
    from sklearn.linear_model import LogisticRegression

    assert SklearnEstimator(estimator=LogisticRegression).estimator == CLASSIFIER  # pyright: ignore[reportArgumentType]
    with pytest.raises(IllegalDeclaration, match=r"ranges · 'C' is None; legal: a number from 0\.1 to 1\.0 in arguments"):
        SklearnEstimator(estimator=CLASSIFIER, ranges={"C": Range(low=0.1, high=1.0)})
    with pytest.raises(IllegalDeclaration, match="search · SklearnEstimator declares nothing that a search varies"):
        USE_CASE.but(trainer=SklearnEstimator(estimator=CLASSIFIER), search=Search())


BLOCKED = """
import sys
import importlib.util
is_missing = lambda name: name.partition(".")[0] in {libraries}
class Missing:
    def find_spec(self, name, path=None, target=None):
        if is_missing(name):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if is_missing(name) else find_spec(name, package)
from mlops_assets.definitions import defs
from mlops_assets.training.train import fit
from tests.tasks.declarations import trainers
from tests.training.training_rows import INPUTS, training_rows
print(fit(trainers("binary")[{name!r}], training_rows(600), **INPUTS).digest)
"""
TORCH, TREES, LGBM = ("torch", "pytorch_lightning", "onnxscript"), ("sklearn", "skl2onnx"), ("lightgbm", "onnxmltools")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "libraries"),
    [("lightgbm", (*TORCH, "skl2onnx")), ("hist_gradient_boosting", (*TORCH, *LGBM)), ("lightning", (*TREES, *LGBM)), ("sklearn_estimator", (*TORCH, *LGBM))],
)  # fmt: skip
def test_only_the_libraries_of_the_trainer_are_needed(name: str, libraries: tuple[str, ...]) -> None:
    process = run(BLOCKED.format(libraries=libraries, name=name))
    assert process.stdout.strip() == trained("binary", name).digest, process.stderr[-2000:]


def test_a_missing_library_is_named_with_the_extra_that_brings_it() -> None:
    process = run(BLOCKED.format(libraries=("lightgbm",), name="lightgbm"))
    assert "UnusableTrainer: LightGBM · lightgbm is not installed. Run: pip install 'mlops-assets[lightgbm]'" in process.stderr


def run(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(PROJECT)} | variables
    command = [sys.executable, "-W", "ignore", "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=PROJECT)


def test_lightgbm_splits_as_its_model_file_next_to_every_split() -> None:
    rows, inputs = DATA["binary"]
    fitted, signature = fit_in_library(LightGBM(max_iterations=30, min_data_in_leaf=5), rows, **inputs)
    model, rng = OnnxModel.from_bytes(fitted.to_onnx()), np.random.default_rng(0)
    texts = [
        line.partition("=")[2].split() for line in fitted.model.model_to_string().splitlines() if line.startswith("threshold=")
    ]  # type: ignore[attr-defined]
    splits = np.array([number for text in texts for number in text], np.float64).astype(np.float32)
    splits = splits[np.abs(splits) > 1e-30]  # LightGBM's own zero
    near_splits = np.concatenate([splits, np.nextafter(splits, np.float32(-np.inf)), np.nextafter(splits, np.float32(np.inf))])
    features = rng.choice(near_splits, (3000, len(signature.inputs)))
    np.testing.assert_allclose(model.score(features), fitted.predict(features), rtol=0, atol=1e-5)
    assert len(splits) > 30


@pytest.mark.parametrize("rows", [133, 300])
def test_the_defaults_of_lightgbm_distinguish_the_rows_of_a_small_table(rows: int) -> None:
    model = OnnxModel.from_bytes(fit(LightGBM(), training_rows(rows), **INPUTS).onnx)
    assert len(np.unique(model.predict(training_rows(rows)))) > 5


def test_the_table_of_an_estimator_is_the_same_in_onnx_and_many_codes_become_a_number() -> None:
    import onnxruntime

    from mlops_assets.training.signature import Signature
    from mlops_assets.training.trainers.sklearn import MOST_FLAGS, Table

    airports = tuple(f"airport {place}" for place in range(MOST_FLAGS))
    signature = Signature(("wind", "never"), {"origin": ("EWR", "JFK"), "airport": airports})
    rng = np.random.default_rng(0)
    wind = np.where(rng.random(500) < 0.2, np.nan, rng.normal(1000, 3, 500))
    codes = rng.integers(0, 3, 500), rng.integers(0, MOST_FLAGS + 1, 500)
    features = np.stack([wind, np.full(500, np.nan), *codes], axis=1).astype(np.float32)
    table = Table.of(features, signature)
    assert table.width == 2 * 3 + 3
    numbers = table(features)
    assert np.nanmean(numbers[:, 0]) == pytest.approx(0, abs=1e-2) and numbers[:, 2].std() == pytest.approx(1, abs=1e-2)
    assert (numbers[:, 4] == 1).all(), "the flag of a number that is never known"
    np.testing.assert_array_equal(numbers[:, -3:].argmax(axis=1), codes[0])
    graph = table.to_onnx(4)
    graph.ir_version = 10  # the newest that onnxruntime reads; both halves get that of skl2onnx
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"features": features})[0], numbers)
