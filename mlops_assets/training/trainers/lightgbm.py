"""LightGBM's trees with early stopping, exported by onnxmltools."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import re
import warnings
from dataclasses import replace
from functools import partial
from typing import Any, cast

import lightgbm
import numpy as np
import onnx
from numpy.typing import NDArray
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from mlops_assets.spec.training import LightGBM
from mlops_assets.tasks.task import Activation, Task
from mlops_assets.training.fitted import THREADS, Examples, History, Progress
from mlops_assets.training.signature import INPUT, Signature
from mlops_assets.training.trainers.estimator import FittedEstimator, offsets_of, rounded_down

OPSET = 15  # the newest of onnxmltools
MIN_LEAVES = 20  # the most leaves that a small table can always fill


# LightGBM's objective, and the name of its loss.
OBJECTIVES: dict[Activation, tuple[str, str]] = {
    "sigmoid": ("binary", "binary_logloss"),
    "softmax": ("multiclass", "multi_logloss"),
    "identity": ("regression", "rmse"),
}
Curve = dict[str, dict[str, list[float]]]  # the loss of each iteration, by part and name
# The same rows must give the same trees on any number of cores.
REPEATABLE = {"deterministic": True, "force_row_wise": True, "num_threads": THREADS, "verbosity": -1}


def train(
    trainer: LightGBM, task: Task[Any], *, signature: Signature, train: Examples, validation: Examples, progress: Progress
) -> FittedEstimator:
    """Early stopping on the validation rows finds the number of trees; then as many are trained on all rows. Numbers may be
    missing; a category counts by the place of its value in the order of the label rate, which one split separates.
    """
    progress(f"lightgbm · searching for the best iteration on {len(train)} + {len(validation)} rows")
    curve: Curve = {}
    first = _boost(trainer, task, train, iterations=trainer.max_iterations, validation=validation, curve=curve)
    best = max(1, first.best_iteration)
    # A model on training rows alone has not learned the validation rows, which calibrate it.
    offsets = offsets_of(task, partial(_fitted, first, task, signature), validation=validation, progress=progress)
    rows = train + validation
    progress(f"lightgbm · best iteration {best}; training on all {len(rows)} rows")
    fitted = _fitted(_boost(trainer, task, rows, iterations=best), task, signature)
    return replace(fitted, offsets=offsets, measured=partial(_history, curve, OBJECTIVES[task.ACTIVATION][1]))


def _boost(
    trainer: LightGBM,
    task: Task[Any],
    rows: Examples,
    *,
    iterations: int,
    validation: Examples | None = None,
    curve: Curve | None = None,
) -> lightgbm.Booster:  # fmt: skip
    fields = trainer.model_dump(exclude={"kind", "max_iterations", "patience"}) | REPEATABLE
    fields["objective"], fields["metric"] = OBJECTIVES[task.ACTIVATION]
    fields |= {"num_class": task.outputs} if task.ACTIVATION == "softmax" else {}
    fields["min_data_in_leaf"] = max(1, min(trainer.min_data_in_leaf, len(rows) // MIN_LEAVES))
    data = lightgbm.Dataset(rows.features, rows.label, free_raw_data=False)
    if validation is None or curve is None:
        return lightgbm.train(fields, data, iterations)
    parts = [data, lightgbm.Dataset(validation.features, validation.label, reference=data)]
    stopping = [lightgbm.early_stopping(trainer.patience, verbose=False), lightgbm.record_evaluation(curve)]
    return lightgbm.train(fields, data, iterations, valid_sets=parts, valid_names=["train", "validation"], callbacks=stopping)


def _fitted(booster: lightgbm.Booster, task: Task[Any], signature: Signature) -> FittedEstimator:
    exact = _with_rounded_thresholds(booster)
    raw = partial(_raw, exact, task.ACTIVATION == "sigmoid")
    return FittedEstimator(exact, task, signature, raw, partial(_convert, exact, len(signature.inputs)))


def _with_rounded_thresholds(booster: lightgbm.Booster) -> lightgbm.Booster:
    """The same trees, which split float32 rows exactly as ONNX does; of a booster with early stopping, the best ones."""
    text = re.sub(r"(?m)^threshold=(.*)$", _round, booster.model_to_string(num_iteration=booster.best_iteration))
    return lightgbm.Booster(model_str=re.sub(r"(?m)^tree_sizes=.*\n", "", text))  # counts of bytes, which are others now


def _round(line: re.Match[str]) -> str:
    return f"threshold={' '.join(map(repr, rounded_down(np.array(line[1].split(), np.float64)).astype(float).tolist()))}"


def _raw(booster: lightgbm.Booster, is_binary: bool, features: NDArray[np.float32]) -> NDArray[np.float64]:
    output = np.asarray(booster.predict(features, num_threads=THREADS), dtype=np.float64)
    return np.stack([1 - output, output], axis=1) if is_binary else output


def _convert(booster: lightgbm.Booster, width: int) -> onnx.ModelProto:
    types = [(INPUT, FloatTensorType([None, width]))]
    with warnings.catch_warnings(action="ignore"):
        converted = convert_lightgbm(booster, name="trees", initial_types=types, target_opset=OPSET, zipmap=False)
    return cast(onnx.ModelProto, converted)


def _history(curve: Curve, loss: str) -> History:
    losses = zip(curve["train"][loss], curve["validation"][loss], strict=True)
    return [
        {"epoch": float(number), "train_loss": train, "validation_loss": validation}
        for number, (train, validation) in enumerate(losses, start=1)
    ]
