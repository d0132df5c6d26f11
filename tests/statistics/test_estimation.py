"""Estimated metrics: NannyML's own formulas on the same probabilities, closed forms, and the labels that came."""

import ast
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc

from mlops_assets.spec.task import Binary, Multiclass, Regression
from mlops_assets.statistics.estimation import Calibration, Labelled, estimate
from mlops_assets.tasks import task_of
from mlops_assets.tasks.task import Task

pytestmark = pytest.mark.slow

TASKS: list[Task[Any]] = [
    task_of(Binary(label="y")), task_of(Multiclass(label="y", classes=("a", "b", "c"))), task_of(Regression(label="y")),
]  # fmt: skip


def drawn(task: Task[Any], rows: int, rng: np.random.Generator, *, skill: float = 1.0) -> Labelled:
    """Outputs that are right by their own probabilities, or errors that grow with the prediction."""
    if task is TASKS[0]:
        probability = 1 / (1 + np.exp(-skill * rng.normal(size=rows) + 1))
        return Labelled((rng.random(rows) < probability).astype(np.int8), probability)
    if task is TASKS[1]:
        scores = np.exp(skill * rng.normal(size=(rows, 3)))
        shares = scores / scores.sum(axis=1, keepdims=True)
        return Labelled((rng.random((rows, 1)) >= np.cumsum(shares, axis=1)).sum(axis=1).clip(0, 2), shares)
    prediction = skill * rng.uniform(1, 10, rows)
    spread = 0.2 * prediction
    truth = prediction + spread * rng.normal(size=rows)
    return Labelled(truth, np.stack([prediction, prediction - 1.64 * spread, prediction + 1.64 * spread], axis=1))


def estimated(task: Task[Any], labelled: Labelled, output: Any, **options: Any) -> Any:
    return estimate(labelled, output, learn=task.likely_labels, sample=task.sample, metrics=task.metrics, seed=0, **options)


def nannyml_auc() -> Any:
    """NannyML's function without its package, which imports what our lock does not have."""
    package = Path(str(distribution("nannyml").locate_file("nannyml/performance_estimation/confidence_based/metrics.py")))
    module = ast.parse(package.read_text())
    function = next(node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "estimate_roc_auc")
    function.returns, function.args.args = None, [ast.arg(one.arg) for one in function.args.args]
    space: dict[str, Any] = {"np": np, "auc": auc}
    exec(compile(ast.fix_missing_locations(ast.Module([function], [])), "nannyml", "exec"), space)
    return space["estimate_roc_auc"]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), skill=st.floats(0.3, 3))
def test_the_estimate_of_auc_is_nannymls_and_of_the_others_that_of_the_formula(seed: int, skill: float) -> None:
    rng = np.random.default_rng(seed)
    labelled, served = drawn(TASKS[0], 4000, rng), drawn(TASKS[0], 2000, rng, skill=skill).output
    estimates = estimated(TASKS[0], labelled, served, draws=60)
    probability = Calibration.of(*labelled).of_labels(served)
    brier = probability * (1 - served) ** 2 + (1 - probability) * served**2
    for name, exact in {"auc": nannyml_auc()(probability, served), "brier": brier.mean()}.items():
        half = (estimates[name].high - estimates[name].low) / 2
        assert abs(estimates[name].value - exact) < 0.6 * half + 1e-9, name


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task.declared).__name__)
def test_intervals_hold_the_metrics_of_labels_that_come_later(task: Task[Any]) -> None:
    """Also where the inputs have moved, as long as the labels follow the outputs as they did."""
    rng, hits = np.random.default_rng(0), list[bool]()
    for attempt in range(20):
        labelled, later = drawn(task, 3000, rng), drawn(task, 800, rng, skill=0.6 + 0.04 * attempt)
        realised = task.sample(*later).measure(task.metrics)
        estimates = estimated(task, labelled, later.output, draws=40)
        # The metrics of one attempt are not independent: one of them is counted.
        hits.append(estimates[task.main_metric].low <= realised[task.main_metric] <= estimates[task.main_metric].high)
    assert sum(hits) >= 16  # at 90%, with probability 0.96; draws=40 cuts the tails


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_that_are_too_low_are_corrected_by_the_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labelled = drawn(TASKS[0], 20_000, rng)
    low = Labelled(labelled.truth, labelled.output / 2)
    learned = Calibration.of(*low).of_labels(low.output)
    assert abs(learned - labelled.output).mean() < 0.015
    assert (np.diff(learned[np.argsort(low.output)]) > -0.02).all()


def test_few_labelled_rows_make_intervals_wider() -> None:
    rng = np.random.default_rng(0)
    served = drawn(TASKS[0], 3000, rng).output
    few, many = (estimated(TASKS[0], drawn(TASKS[0], rows, rng), served)["brier"] for rows in (150, 15_000))
    assert few.high - few.low > 1.5 * (many.high - many.low)


def test_a_metric_that_is_undefined_has_no_estimate() -> None:
    labelled = Labelled(np.zeros(500), np.full(500, 1e-9))
    assert np.isnan(estimated(TASKS[0], labelled, np.full(30, 1e-12))["auc"].value)
