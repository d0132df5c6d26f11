"""Histogram gradient boosting with scikit-learn, exported by skl2onnx."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.tasks.task import Activation, Task
from mlops_assets.training.fitted import THREADS, Examples, History, Progress
from mlops_assets.training.signature import INPUT, Signature
from mlops_assets.training.trainers.estimator import FittedEstimator, convert_estimator, offsets_of, rounded_down, training_loss

MIN_LEAVES = 20  # the most leaves that a small table can always fill
TREES: dict[Activation, Callable[..., Any]] = {
    "sigmoid": HistGradientBoostingClassifier,
    "softmax": HistGradientBoostingClassifier,
    "identity": HistGradientBoostingRegressor,
}


def train(
    trainer: HistGradientBoosting, task: Task[Any], *, signature: Signature, train: Examples, validation: Examples,
    progress: Progress,
) -> FittedEstimator:  # fmt: skip
    """Trees on training and validation rows together: the number of iterations is declared, so nothing needs validating."""
    rows = train + validation
    with threadpool_limits(limits=THREADS, user_api="openmp"):
        part = partial(_fit, trainer, task, signature, train)
        offsets = offsets_of(task, part, validation=validation, progress=progress)
        progress(f"boosting · {trainer.max_iter} iterations on {len(rows)} rows")
        fitted = replace(_fit(trainer, task, signature, rows), offsets=offsets)
    return replace(fitted, measured=partial(_history, fitted, rows, trainer.max_iter))


def _history(fitted: FittedEstimator, rows: Examples, iterations: int) -> History:
    with threadpool_limits(limits=THREADS, user_api="openmp"):
        return [{"iterations": float(iterations), "train_loss": training_loss(fitted, rows)}]


def _fit(trainer: HistGradientBoosting, task: Task[Any], signature: Signature, rows: Examples) -> FittedEstimator:
    fields = trainer.model_dump(exclude={"kind", "seed"})
    fields |= {"early_stopping": False, "random_state": trainer.seed}
    # A tree needs two leaves: the default of 200 rows gives one and the same probability for all of 133 rows.
    fields["min_samples_leaf"] = max(1, min(trainer.min_samples_leaf, len(rows) // MIN_LEAVES))
    model = TREES[task.ACTIVATION](**fields)
    # A column without any known value becomes 0, which no tree can split: scikit-learn cannot bin NaN alone.
    model.fit(np.where(np.isnan(rows.features).all(axis=0), np.float32(0), rows.features), rows.label)
    _round_thresholds_down(model)
    raw = model.predict_proba if is_classifier(model) else model.predict
    convert = partial(convert_estimator, model, name="trees", input=INPUT, width=len(signature.inputs))
    return FittedEstimator(model, task, signature, raw, convert)


def _round_thresholds_down(model: Any) -> None:
    """Rounds each split threshold down to float32: float32 rows get the same answer, and ONNX splits exactly as scikit-learn.

    scikit-learn has no public access to its trees. `test_scikit_learn_keeps_its_thresholds_where_they_are_rounded` fails
    when they move.
    """
    for tree in chain.from_iterable(model._predictors):
        tree.nodes["num_threshold"] = rounded_down(tree.nodes["num_threshold"])
