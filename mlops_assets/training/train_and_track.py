"""Training one candidate: search, fit, log to MLflow, register. Opens the trainer's library and MLflow."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from time import perf_counter
from typing import Any

import polars as pl

from mlops_assets.foundation import names
from mlops_assets.spec.training import Trainer
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics.profile import profile_reference, profiles_to_json
from mlops_assets.training.model_registry import ModelRegistry, TrackedRun
from mlops_assets.training.train import TrainedModel, fit
from mlops_assets.training.training_record import (
    TRAIN_SECONDS,
    in_training_order,
    record_rows,
    record_surroundings,
    record_trainer,
)

PROFILES, SAMPLE, SAMPLE_ROWS = "training_profiles.json", "training_sample.parquet", 5000
Progress = Callable[[str], None]


@dataclass(frozen=True)
class TrackedModel:
    """A registered candidate. `training` is what a blessing signs about how it was made; `last` are its last metrics."""

    version: int
    digest: str
    training: dict[str, str]
    epochs: int
    last: dict[str, float]


def train_and_track(
    use_case: UseCase,
    rows: pl.DataFrame,
    *,
    run: TrackedRun,
    registry: ModelRegistry,
    made_from: Mapping[str, str],
    progress: Progress,
) -> TrackedModel:
    """`made_from` holds what the caller knows of the rows' origin. The same rows give the same version, found by its digest."""
    rows = in_training_order(rows, use_case)
    made_from = {**record_rows(rows), **made_from, **record_surroundings(use_case, use_case.trainer)}
    run.set_tags(made_from)
    run.log_params(use_case.trainer.model_dump())
    started = perf_counter()
    trainer = _searched(use_case, rows, run, progress)
    model = fit(trainer, rows, progress=progress, **_inputs(use_case))
    training = made_from | record_trainer(trainer) | {TRAIN_SECONDS: f"{perf_counter() - started:.3f}"}
    _log(run, model, rows, use_case)
    version = registry.register(
        names.registered_model(use_case.name),
        model.onnx,
        digest=model.digest,
        run_id=run.run_id,
        tags=training,
        description=use_case.question,
    )
    return TrackedModel(version, model.digest, training, len(model.history), dict((model.history or [{}])[-1]))


def _searched(use_case: UseCase, rows: pl.DataFrame, run: TrackedRun, progress: Progress) -> Trainer:
    if use_case.search is None:
        return use_case.trainer
    from mlops_assets.training.search import search

    result = search(use_case.trainer, use_case.search, rows, progress=progress, **_inputs(use_case))
    run.log_text("search_trials.json", json.dumps(result.trials, default=str))
    return result.trainer


def _inputs(use_case: UseCase) -> dict[str, Any]:
    features = use_case.features
    return {"numeric": features.numeric, "categorical": features.categorical, "label": use_case.label.name}


def _log(run: TrackedRun, model: TrainedModel, rows: pl.DataFrame, use_case: UseCase) -> None:
    for step, record in enumerate(model.history):
        run.log_metrics(record, step=step)
    features, train = use_case.features, rows.filter(pl.col("split") == "train")
    run.log_text(PROFILES, profiles_to_json(profile_reference(train, features.numeric, features.categorical)))
    sample = train.sample(min(SAMPLE_ROWS, len(train)), seed=0).select(*features.inputs, use_case.label.name)
    buffer = BytesIO()
    sample.write_parquet(buffer)
    run.log_bytes(SAMPLE, buffer.getvalue())
