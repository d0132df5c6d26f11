"""A case whose model is real: test rows scored by the ONNX bytes themselves, for gates that call the model again."""

from datetime import UTC, datetime
from typing import Any

import polars as pl

from mlops_assets.evaluation.evaluate import evaluate
from mlops_assets.evaluation.gates.case import Case
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of
from mlops_assets.training.digest import digest
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.use_cases.flight_delay import USE_CASE


def case_of(rows: pl.DataFrame, onnx: bytes, *, use_case: UseCase = USE_CASE, **changes: Any) -> Case:
    """`rows` of all splits with inputs and label; the candidate's probabilities are what the model answers."""
    if "event_timestamp" not in rows.columns:
        rows = rows.with_columns(event_timestamp=datetime(2013, 4, 1, tzinfo=UTC))
    test, model, label = rows.filter(pl.col("split") == "test"), OnnxModel.from_bytes(onnx), use_case.label.name
    answers = model.predict(test).clip(0, 1)
    options: dict[str, Any] = {"candidate": digest(onnx), "label": label, "slices": (), "task": task_of(use_case.task), "seed": 3}
    fields: dict[str, Any] = {
        "evaluation": evaluate(test, answers, **options, resamples=5),
        "truth": test[label].to_numpy(),
        "candidate": answers,
        "champion": None,
        "rows": test,
        "parity": None,
        "served": 0,
        "model": model,
        "onnx": onnx,
        "training_rows": rows,
        "use_case": use_case,
        "training": {},
        "seed": 3,
    }
    return Case(**fields | changes)
