"""What the multiclass task owns: labels, outputs, answers of versions with other classes, rollouts, pictures."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mlops_assets.evaluation.report import quality_report
from mlops_assets.serving.log.logged_lines import parse_lines
from mlops_assets.spec.task import Multiclass
from mlops_assets.spec.training import HistGradientBoosting, Lightning, Trainer
from mlops_assets.tasks.multiclass import MulticlassTask
from mlops_assets.tasks.task import IllegalLabels
from mlops_assets.training.fitted import UntrainableRows
from mlops_assets.training.onnx_file import seal
from mlops_assets.training.onnx_model import NotAModel, OnnxModel
from mlops_assets.training.train import fit, fit_in_library
from tests.cli.loans import LOANS
from tests.training.training_rows import CATEGORICAL, NUMERIC, training_rows, unlabelled_rows

LABEL = LOANS.label.but(name="kind")
TASK = MulticlassTask(Multiclass(label=LABEL, classes=("a", "b", "c")))
TRAINERS = [
    HistGradientBoosting(max_iter=10, min_samples_leaf=5),
    Lightning(hidden=(16,), max_epochs=4, batch_size=32, learning_rate=0.02),
]
INPUTS: dict[str, Any] = {"numeric": NUMERIC, "categorical": CATEGORICAL, "label": "kind", "task": TASK}


def with_kinds(rows: pl.DataFrame) -> pl.DataFrame:
    """Class a without a delay, b with one, c of strong wind."""
    kind = pl.when(pl.col("wind") > 12).then(pl.lit("c")).when(pl.col("delay") > 15).then(pl.lit("b")).otherwise(pl.lit("a"))
    return rows.with_columns(kind=kind)


ROWS = with_kinds(training_rows(600))


def outputs(rows: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).dirichlet([1, 1, 1], rows)


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: trainer.kind)
def test_a_model_file_gives_what_its_trainer_gives_and_records_its_classes(trainer: Trainer) -> None:
    fitted, signature = fit_in_library(trainer, ROWS, **INPUTS)
    model = OnnxModel.from_bytes(fitted.to_onnx())
    assert model.signature == signature and model.signature.facts == {"classes": ["a", "b", "c"]}
    rows = unlabelled_rows(300, seed=5)
    output = model.predict(rows)
    np.testing.assert_allclose(output, fitted.predict(signature.encode(rows)), atol=1e-5)
    assert TASK.are_legal(output).all() and all(map(TASK.is_legal, output.tolist()))
    assert model.predict(rows.head(0)).shape == (0, 3)
    truth = TASK.truth(with_kinds(rows)["kind"])
    assert TASK.sample(truth, output).measure(["accuracy"])["accuracy"] > 0.6
    assert fit(trainer, ROWS, **INPUTS).onnx == fitted.to_onnx(), "the same rows give the same bytes"


@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: trainer.kind)
def test_a_model_file_with_other_columns_than_classes_is_refused(trainer: Trainer) -> None:
    import onnx

    fitted, signature = fit_in_library(trainer, ROWS, **INPUTS)
    graph = onnx.load_from_string(fitted.to_onnx())
    with pytest.raises(NotAModel, match=r"its output has \[3\] columns and its signature names 2 classes"):
        OnnxModel.from_bytes(seal(graph, replace(signature, facts={"classes": ["a", "b"]})))
    with pytest.raises(
        NotAModel, match=r"instead of features \[rows, inputs\] and probability \[rows\] or prediction \[rows, 3\]\. Pass"
    ):
        OnnxModel.from_bytes(seal(graph, replace(signature, facts={})))


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (("a", "b"), pl.Series(["b", "a", "b"])),
        (("a", "b"), pl.Series(["b", "a", "b"], dtype=pl.Categorical)),
        ((3, 7), pl.Series([7, 3, 7])),
        ((3, 7), pl.Series([7, 3, 7], dtype=pl.UInt8)),
        ((3, 7), pl.Series([7.0, 3.0, 7.0])),
        ((3, 7), pl.Series(["7", "3", "7"])),
        (("false", "true"), pl.Series([True, False, True])),
    ],
    ids=lambda value: str(getattr(value, "dtype", value)),
)
def test_labels_are_the_places_of_their_classes(classes: Any, labels: pl.Series) -> None:
    assert MulticlassTask(Multiclass(label=LABEL, classes=classes)).truth(labels).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (pl.Series(["a", "d", "e", "d"]), "'d', 'e'"),
        (pl.Series(["a", None]), "None"),
        (pl.Series([1.5, float("nan")]), "1.5, nan"),
    ],
)
def test_undeclared_labels_are_named(labels: pl.Series, found: str) -> None:
    with pytest.raises(IllegalLabels) as error:
        TASK.truth(labels)
    legal = "legal: a, b, c. Correct the labels, or declare their classes in Multiclass.classes."
    assert str(error.value) == f"label kind · {found}; {legal}"


def test_rows_without_a_class_do_not_train() -> None:
    message = r"480 rows of split 'train' have no c in 'kind'; needed: rows of every class\. Widen that part of the split\."
    with pytest.raises(UntrainableRows, match=message):
        fit(TRAINERS[0], training_rows(800).with_columns(kind=pl.lit(pl.Series(["a", "b"] * 400))), **INPUTS)
    with pytest.raises(UntrainableRows, match="0 rows of split 'validation' have no a, b, c in 'kind'; .* Land more days"):
        fit(TRAINERS[0], ROWS.filter(pl.col("split") != "validation"), **INPUTS)


def test_an_answer_has_the_classes_of_its_version() -> None:
    assert TASK.reader({})([0.2, 0.5, 0.3]) == ("b", {"a": 0.2, "b": 0.5, "c": 0.3})
    assert TASK.reader({"classes": ["b", "z"]})([0.4, 0.6]) == ("z", {"b": 0.4, "z": 0.6})


@pytest.mark.parametrize("score", [0.5, [0.5, 0.6], [1.2, -0.2], [float("nan"), 1.0], [1.0, float("nan")], [0.2, 0.2]])
def test_a_score_that_is_no_distribution_is_illegal(score: Any) -> None:
    assert not TASK.is_legal(score)
    assert isinstance(score, float) or not TASK.are_legal(np.array([score])).any()


def test_the_output_of_another_version_is_compared_class_by_class() -> None:
    other = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]])
    assert TASK.aligned(other, {"classes": ["c", "z", "a"]}).tolist() == [[0.7, 0.0, 0.1], [0.4, 0.0, 0.3]]
    with pytest.raises(KeyError):
        TASK.aligned(np.array([0.5]), {})
    assert TASK.as_trained({"classes": ["c", "z"]}).classes == ("c", "z")


def test_logged_answers_of_other_classes_are_read_and_of_none_are_unknown() -> None:
    answers = [{"a": 0.1, "b": 0.2, "c": 0.7}, {"a": 0.5, "z": 0.5}, None]
    rows = pl.DataFrame({"probabilities": pl.Series(answers, dtype=TASK.COLUMNS["probabilities"])})
    np.testing.assert_array_equal(TASK.logged(rows), [[0.1, 0.2, 0.7], [0.5, 0, 0], [np.nan] * 3])
    older = pl.DataFrame({"probabilities": [{"a": 0.6, "z": 0.4}]})
    assert TASK.logged(older).tolist() == [[0.6, 0.0, 0.0]]


def test_lines_of_a_log_with_other_classes_stay_readable() -> None:
    schema = pl.Schema({"prediction_id": pl.String(), **TASK.COLUMNS})
    lines = (
        b'{"prediction_id":"1","decision":"b","probabilities":{"a":0.1,"b":0.7,"c":0.2}}\n'
        b'{"prediction_id":"2","decision":"z","probabilities":{"a":0.1,"z":0.9}}\n'
        b'{"prediction_id":"3","decision":null,"probabilities":null}\n'
    )
    for some, lost in ((lines, []), (lines + b"no JSON\n", [b"no JSON"])):
        rows, unreadable = parse_lines(some, schema, {})
        assert rows["decision"].to_list() == ["b", "z", None] and unreadable == lost
        np.testing.assert_array_equal(TASK.logged(rows), [[0.1, 0.7, 0.2], [0.1, 0, 0], [np.nan] * 3])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_claims_are_the_share_of_each_decided_class_and_losses_are_within_0_and_1(rows: int, seed: int) -> None:
    output, truth = outputs(rows, seed), np.random.default_rng(seed).integers(0, 3, rows)
    answers = [dict(zip("abc", one, strict=True)) for one in output.tolist()]
    frame = pl.DataFrame({"champion_probabilities": pl.Series([*answers, None], dtype=TASK.COLUMNS["probabilities"])})
    edges = TASK.edges(output)
    claims = frame.select(
        claim.cast(pl.Float64).alias(str(place)) for place, claim in enumerate(TASK.claims(frame, edges, "champion_"))
    )
    np.testing.assert_array_equal(claims.to_numpy()[:-1], output.argmax(axis=1)[:, None] == np.arange(3))
    assert claims[-1].to_dicts() == [{"0": None, "1": None, "2": None}]
    losses = TASK.losses(output, truth, edges)
    assert ((losses >= 0) & (losses <= 1)).all()
    assert np.isnan(TASK.losses(np.full((1, 3), np.nan), truth[:1], edges)).all()
    assert TASK.losses(np.eye(3)[[0]], np.array([1]), edges) == [1.0]


def test_an_explanation_adds_up_on_the_log_odds_of_the_decided_class() -> None:
    additive = TASK.additive(np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]), [0.2, 0.5, 0.3])
    np.testing.assert_allclose(additive, np.log([0.5 / 0.5, 0.1 / 0.9]), atol=1e-12)
    assert TASK.baseline(additive[1]) == {"baseline_probability": pytest.approx(0.1)}


def test_the_question_of_the_most_even_class_comes_first() -> None:
    truth = np.array([0] * 5 + [1] * 4 + [2] * 1)
    assert [*TASK.binarized(truth)] == ["a", "b", "c"]
    assert [*TASK.binarized(np.array([0] * 9 + [1] * 2 + [2] * 5))] == ["a", "c", "b"]
    assert TASK.binarized(truth)["c"].tolist() == [0] * 9 + [1]


def test_the_evidence_counts_rows_by_class() -> None:
    truth = np.array([0, 0, 1, 2, 2, 2])
    output = np.eye(3)[[0, 1, 1, 2, 2, 0]]
    details = TASK.details(truth, output)
    assert details["confusion"] == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    assert details["by_class"][2] == {"class": "c", "rows": 3, "decided": 2, "precision": 1.0, "recall": 2 / 3, "f1": 0.8}
    counts = TASK.counts(truth)
    assert counts == {"rows_of_a": 2, "rows_of_b": 1, "rows_of_c": 3}
    assert TASK.informative_rows({"rows": 6, **counts}) == 3
    assert TASK.facts_of(counts, 6) == ["50.0% c", "33.3% a", "16.7% b"]
    assert TASK.describe_labels(truth) == "of which 50.0% c, 33.3% a, 16.7% b in kind"
    changes = TASK.changes(truth, output, np.eye(3)[[0, 0, 1, 2, 0, 2]])
    assert [tuple(change) for change in changes] == [("a", 1, 0), ("b", 1, 0), ("c", 1, 1)]


@pytest.mark.parametrize("count", [2, 3, 12, 30])
def test_every_picture_is_drawn_for_few_and_for_many_classes(count: int) -> None:
    task = MulticlassTask(Multiclass(label=LABEL, classes=tuple(f"kind of class {place}" for place in range(count))))
    rng = np.random.default_rng(0)
    truth, output = rng.integers(0, count, 200), rng.dirichlet(np.ones(count), 200)
    pictures = task.curves(truth, {"candidate": output, "champion 3": output[::-1]}) | task.pictures(task.details(truth, output))
    assert pictures.keys() == {"reliability", "recall", "confusion"}
    for png in pictures.values():
        assert Image.open(io.BytesIO(png)).size[0] == 480


def test_the_report_shows_quality_by_class() -> None:
    rows = ROWS.tail(120)
    page = quality_report(TASK, rows, TASK.truth(rows["kind"]), outputs(120), seed=0)
    assert "Confusion Matrix" in page and "true kind" in page
