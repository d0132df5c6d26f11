"""The answer of a model that reads no input, and whether a model has learned more than that."""

import math
from typing import Any

import polars as pl

from mlops_assets.foundation.names import SEED
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics.metrics import Array, compare
from mlops_assets.tasks.task import Task, as_text
from mlops_assets.training.train import fit_in_library, training_columns

BLIND = "no_input"
RESAMPLES, MAX_COMPARED_ROWS = 200, 100_000  # 1 s; of more test rows every second or third is compared
REMEDY = "Land more rows, look for inputs that say more, or change the trainer's settings."


def answer_blind(use_case: UseCase, rows: pl.DataFrame, test: pl.DataFrame) -> Array:
    """The output of a model that reads nothing: the same for every row of `test`."""
    columns: Any = training_columns(use_case) | {"numeric": [BLIND], "categorical": []}
    nothing = pl.lit(0.0).alias(BLIND)
    fitted, signature = fit_in_library(HistGradientBoosting(max_iter=1), rows.with_columns(nothing), **columns)
    return fitted.predict(signature.encode(test.with_columns(nothing)))


def describe_little(task: Task[Any], truth: Array, output: Array, blind: Array) -> str:
    """Why the model is no use; empty where it has learned something."""
    metric, rows = task.main_metric, f"{len(output):,} test rows"
    if (output == output[0]).all():
        return f"The model gives one answer for all {rows}: {as_text(output[0])}. {REMEDY}"
    part = slice(None, None, math.ceil(len(output) / MAX_COMPARED_ROWS))
    samples = task.sample(truth[part], output[part]), task.sample(truth[part], blind[part])
    gain = compare(metric, *samples, seed=SEED, resamples=RESAMPLES)
    if math.isnan(gain.difference):
        return f"Whether the model learns is unknown: {metric} is undefined on the {rows}. {REMEDY}"
    least = f"{metric} {gain.difference:+.3f}, at least {gain.low:+.3f}"
    return "" if gain.better else f"The model is not certainly better than one answer for all rows: {least}. {REMEDY}"
