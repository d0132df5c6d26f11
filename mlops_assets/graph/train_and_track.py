"""Training one candidate with everything about it on record. Opens the trainer's library and MLflow.

Belongs here: search, fit, tracking and registration in their order. Not here: any of them.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import dagster as dg
import polars as pl

from mlops_assets import names
from mlops_assets.ports.model_registry import ModelRegistry, TrackedRun
from mlops_assets.spec.training import Trainer
from mlops_assets.spec.use_case import UseCase
from mlops_assets.stages.gates.budget import TRAIN_SECONDS
from mlops_assets.stages.profile import profile_reference, profiles_to_json
from mlops_assets.stages.train import TrainedModel, fit
from mlops_assets.stages.training_record import in_training_order, record_rows, record_surroundings, record_trainer

PROFILES, SAMPLE, SAMPLE_ROWS = "training_profiles.json", "training_sample.parquet", 5000
Say = Callable[[str], None]


@dataclass(frozen=True)
class Tracked:
    """A registered candidate; `training` is what a blessing signs about how it was made."""

    version: int
    digest: str
    training: dict[str, str]
    metadata: dict[str, Any]


def train_and_track(
    use_case: UseCase, rows: pl.DataFrame, *, run: dg.DagsterRun, registry: ModelRegistry, versions: Mapping[str, str], say: Say
) -> Tracked:
    """Search (when declared), fit, log, register. The same rows give the same version again: it is known by its digest."""
    registry.close_stale_runs(names.experiment(use_case.name))  # runs of killed processes
    rows = in_training_order(rows, use_case)
    surroundings = record_surroundings(use_case, use_case.trainer)
    made_from = {**record_rows(rows), **versions, **_asked_by(run), **surroundings}
    experiment, title = names.experiment(use_case.name), f"{use_case.trainer.kind} {run.run_id[:8]}"
    with registry.track(title, experiment=experiment, tags=made_from, params=use_case.trainer.model_dump()) as tracked:
        started = perf_counter()
        trainer = _searched(use_case, rows, tracked, say)
        model = fit(trainer, rows, progress=say, **_inputs(use_case))
        training = made_from | record_trainer(trainer) | {TRAIN_SECONDS: f"{perf_counter() - started:.3f}"}
        _log(tracked, model, rows, use_case)
        version = registry.register(
            names.registered_model(use_case.name),
            model.onnx,
            digest=model.digest,
            run_id=tracked.run_id,
            tags=training,
            description=use_case.question,
        )
    said = {"model_version": version, "digest": model.digest, "mlflow_run": tracked.run_id, "epochs": len(model.history)}
    last = {f"last_{name}": value for name, value in (model.history or [{}])[-1].items()}
    return Tracked(version, model.digest, training, said | last)


def _searched(use_case: UseCase, rows: pl.DataFrame, tracked: TrackedRun, say: Say) -> Trainer:
    if use_case.search is None:
        return use_case.trainer
    from mlops_assets.stages.search import search

    result = search(use_case.trainer, use_case.search, rows, progress=say, **_inputs(use_case))
    tracked.log_text("search_trials.json", json.dumps(result.trials, default=str))
    return result.trainer


def _inputs(use_case: UseCase) -> dict[str, Any]:
    features = use_case.features
    return {"numeric": features.numeric, "categorical": features.categorical, "label": use_case.label.name}


def _log(tracked: TrackedRun, model: TrainedModel, rows: pl.DataFrame, use_case: UseCase) -> None:
    for step, record in enumerate(model.history):
        tracked.log_metrics(record, step=step)
    features, train = use_case.features, rows.filter(pl.col("split") == "train")
    tracked.log_text(PROFILES, profiles_to_json(profile_reference(train, features.numeric, features.categorical)))
    sample = train.sample(min(SAMPLE_ROWS, len(train)), seed=0).select(*features.inputs, use_case.label.name)
    tracked.log_bytes(SAMPLE, _parquet(sample))


def _parquet(frame: pl.DataFrame) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def _asked_by(run: dg.DagsterRun) -> dict[str, str]:
    return {"dagster_run_id": run.run_id, "dagster_reason": run.tags.get("mlops/reason", "materialized by hand")}
