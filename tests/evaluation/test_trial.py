"""A quick model: what it learns, against an answer without inputs, and where it learns nothing."""

import re
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from mlops_assets.cli import arguments
from mlops_assets.cli.app import app
from mlops_assets.evaluation.trial import run_trial
from mlops_assets.spec.feature import Label
from mlops_assets.spec.gate import BeatsChampion, Floor, NoLeak
from mlops_assets.spec.request_feature import hashed_words
from mlops_assets.spec.split import TimeSplit
from mlops_assets.spec.task import Multiclass, Regression
from mlops_assets.spec.training import HistGradientBoosting, LightGBM, SklearnEstimator
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.fitted import UntrainableRows
from tests.inspection.orders import USE_CASE, features, inspected, orders, write

GATED = USE_CASE.but(gates=(BeatsChampion(), Floor(metric="auc", bound=0.55), Floor(metric="brier", bound=0.1), NoLeak()))
AMOUNTS = features(
    request=("number", "ordered_at", "visits", "channel"), numeric=("visits",), categorical=("channel",)
).but(task=Regression(label=Label(name="amount", known_at="closed_at")))  # fmt: skip
CLASSES = USE_CASE.but(task=Multiclass(label=Label(name="returned", known_at="closed_at"), classes=("yes", "no", "lost")))
EQUAL = orders().with_columns(amount=pl.lit(1.0), visits=pl.lit(1), channel=pl.lit("web"), city=pl.lit("Bonn"))


def test_a_signal_is_learned_and_every_gate_is_judged_that_needs_no_champion() -> None:
    trial = run_trial(inspected(orders(), GATED))
    assert trial.evaluation.metrics["auc"].low > 0.5 and trial.warning == ""
    assert [(one.gate, one.passed) for one in trial.judged] == [("floor_auc", True), ("floor_brier", False), ("no_leak", True)]
    assert [one.gate for one in trial.not_judged] == ["beats_champion_auc"]
    assert {one.input for one in trial.evaluation.importance[:2]} == {"channel", "visits"}


def test_the_answer_without_inputs_is_the_rate_of_the_training_rows() -> None:
    data = inspected(orders())
    learned, test = (data.part(*names)["returned"] == "yes" for names in (("train", "validation"), ("test",)))
    expected = float(((learned.mean() - test.cast(pl.Float64)) ** 2).mean())  # pyright: ignore
    reference = run_trial(data).evaluation.reference or {}
    assert reference["brier"].value == pytest.approx(expected)
    assert reference["auc"].value == 0.5


@pytest.mark.parametrize("use_case", [AMOUNTS, CLASSES], ids=["regression", "multiclass"])
def test_other_tasks_have_a_model_and_an_answer_without_inputs(use_case: UseCase) -> None:
    rows = orders().with_columns(amount=pl.col("visits") * 10.0 + pl.col("number") % 7)
    rows = rows.with_columns(returned=pl.when(pl.col("number") % 5 == 0).then(pl.lit("lost")).otherwise("returned"))
    trial = run_trial(inspected(rows, use_case))
    assert trial.evaluation.reference and trial.evaluation.metrics.keys() == trial.evaluation.reference.keys()


def test_the_words_of_a_text_are_learned() -> None:
    words = hashed_words("city", 8)
    use_case = features(
        request=("number", "ordered_at", "city"), request_features=words, numeric=[one.name for one in words], categorical=()
    )
    text = pl.when(pl.col("returned") == "yes").then(pl.lit("it arrived Damaged")).otherwise(pl.lit("it arrived well"))
    spoken = pl.concat_str(text, pl.lit(" on day "), pl.col("number").cast(pl.String))
    assert run_trial(inspected(orders().with_columns(city=spoken), use_case)).evaluation.metrics["auc"].value > 0.99


def test_inputs_that_say_nothing_give_a_warning() -> None:
    noise = np.where(np.random.default_rng(1).random(len(EQUAL)) < 0.3, "yes", "no")
    warning = run_trial(inspected(orders().with_columns(returned=noise))).warning
    assert re.match(
        r"The model is not certainly better than one answer for all rows: auc [+-]0\.\d+, at least -0\.\d+\. Land more", warning
    )


def test_a_model_that_gives_one_answer_for_all_rows_is_named() -> None:
    warning = run_trial(inspected(EQUAL)).warning
    assert re.match(r"The model gives one answer for all 400 test rows: 0\.3\d+\. Land more rows", warning)


def test_under_200_rows_the_default_trainer_learns_what_is_there() -> None:
    few = orders(per_day=1).with_columns(
        amount=pl.when(pl.col("returned") == "yes").then(pl.col("amount") + 300).otherwise("amount")
    )
    trial = run_trial(inspected(few, USE_CASE.but(trainer=HistGradientBoosting())))
    assert trial.rows < 100 and trial.warning == "" and trial.evaluation.metrics["auc"].value > 0.85


@pytest.mark.parametrize(
    "trainer",
    [LightGBM(), SklearnEstimator(estimator="sklearn.linear_model:LogisticRegression")],
    ids=lambda trainer: trainer.kind,
)
def test_the_declared_trainer_is_used_with_at_most_100_iterations(trainer: LightGBM | SklearnEstimator) -> None:
    trial = run_trial(inspected(orders(), USE_CASE.but(trainer=trainer)))
    assert type(trial.trainer) is type(trainer)
    assert trial.shortened(trainer) == ({"max_iterations": (100, 500)} if isinstance(trainer, LightGBM) else {})


def test_rows_that_no_training_set_can_be_made_of_are_an_error() -> None:
    use_case = USE_CASE.but(split=TimeSplit(test=timedelta(days=90), validation=timedelta(days=20)))
    with pytest.raises(UntrainableRows, match="orders · training set · train has no row"):
        run_trial(inspected(orders(), use_case))


def test_the_command_prints_what_was_refused_learned_and_leaked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "USE_CASES", (GATED,))
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    file = write(orders().with_columns(city="returned"), tmp_path / "orders.csv")
    broken = "\n".join(f"{9000 + number},s1,2024-01-05T10:00:00Z,,,much,1,web,Bonn,no" for number in range(3))
    file.write_text(f"{file.read_text()}{broken}\n")
    result = CliRunner().invoke(app, ["try", "orders", "--file", str(file)])
    lines = result.output.splitlines()
    assert result.exit_code == 0, result.output
    assert lines[1:3] == ["Refused: 3 of 2,003 rows of orders.", "  3 × amount is not a finite number"]
    assert any(
        re.match(r"Model: hist_gradient_boosting, trained on 1,480 rows in \d+\.\d s\. Nothing is stored\.", line)
        for line in lines
    )
    assert any(re.match(r"auc +1\.000 \[.*\] +0\.500 \[0\.500, 0\.500\]", line) for line in lines)
    assert any(re.match(r"city +\+0\.\d{4}", line) for line in lines)
    assert "Leaks: 1." in lines and any(line.startswith("  leak · `city` alone predicts the label") for line in lines)
    assert any(line.startswith("Not judged: beats_champion_auc · not enough data: there is no champion") for line in lines)
    assert not (tmp_path / "home").exists()
