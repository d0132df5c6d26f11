"""Trains one candidate: search, fit, log to MLflow, register. Imports the trainer's library, MLflow and matplotlib."""

import json
from dataclasses import dataclass
from io import BytesIO
from time import perf_counter

import polars as pl

from mlops_assets.foundation import names
from mlops_assets.spec.use_case import UseCase
from mlops_assets.statistics.profile import profile_reference, profiles_to_json
from mlops_assets.statistics.time_plots import loss_curve
from mlops_assets.statistics.variation import count_periods
from mlops_assets.tasks import task_of
from mlops_assets.training.feature_code import record_feature_code
from mlops_assets.training.fitted import TEST, TRAIN, Progress
from mlops_assets.training.model_registry import ModelRegistry, Tags, TrackedRun
from mlops_assets.training.splits import split_of
from mlops_assets.training.train import TrainedModel, fit, training_columns
from mlops_assets.training.training_record import (
    TRAIN_SECONDS,
    in_training_order,
    record_rows,
    record_surroundings,
    record_trainer,
)

PROFILES, PERIODS = "training_profiles.json", "training_periods.parquet"
SAMPLE, SAMPLE_ROWS = "training_sample.parquet", 5000
ANSWERS = "test_answers.parquet"  # what the version answers for rows that it was not trained on: of others it knows too much


@dataclass(frozen=True)
class TrackedModel:
    """A registered candidate. `training` is what a blessing signs about its origin; `rows` are those that it learned, without
    the test rows; `last` are its last metrics.

    `loss` is the loss of each epoch as PNG bytes.
    """

    version: int
    digest: str
    training: Tags
    rows: int
    epochs: int
    last: dict[str, float]
    loss: bytes


def train_and_track(
    use_case: UseCase, rows: pl.DataFrame, *, run: TrackedRun, registry: ModelRegistry, made_from: Tags, progress: Progress
) -> TrackedModel:
    """`made_from` records the origin of the rows. The same rows give the same version, found by its digest."""
    rows = in_training_order(rows, use_case)
    made_from = {**record_rows(rows), **made_from, **record_feature_code(use_case)}
    made_from |= record_surroundings(use_case, use_case.trainer)
    run.log(tags=made_from, params=use_case.trainer.model_dump())
    started, trainer = perf_counter(), use_case.trainer
    if use_case.search:
        from mlops_assets.training.search import search

        split, columns = split_of(use_case), training_columns(use_case)
        trainer, trials = search(trainer, use_case.search, rows, split=split, progress=progress, **columns)
        run.log_file("search_trials.json", json.dumps(trials, default=str))
    model = fit(trainer, rows, progress=progress, **training_columns(use_case))
    training = made_from | record_trainer(trainer) | {TRAIN_SECONDS: f"{perf_counter() - started:.3f}"}
    _log(run, model, rows, use_case)
    name, history = names.registered_model(use_case.name), model.history
    version = registry.register(name, model.onnx, run_id=run.run_id, tags=training, description=use_case.question)
    learned = rows.filter(pl.col("split") != TEST).height
    return TrackedModel(version, model.digest, training, learned, len(history), dict(history[-1]), loss_curve(history))


def _log(run: TrackedRun, model: TrainedModel, rows: pl.DataFrame, use_case: UseCase) -> None:
    for step, record in enumerate(model.history):
        run.log_metrics(record, step)
    features, train = use_case.features, rows.filter(pl.col("split") == TRAIN)
    profiles = profile_reference(train, features.numeric, features.categorical)
    run.log_file(PROFILES, profiles_to_json(profiles))
    run.log_file(PERIODS, _parquet(count_periods(train, profiles, names.EVENT_TIMESTAMP)))
    sample = train.sample(min(SAMPLE_ROWS, len(train)), seed=names.SEED)
    run.log_file(SAMPLE, _parquet(sample.select(*features.inputs, use_case.label.name)))
    test = rows.filter(pl.col("split") == TEST)
    run.log_file(ANSWERS, _parquet(_answers(model, test.sample(min(SAMPLE_ROWS, len(test)), seed=names.SEED), use_case)))


def _answers(model: TrainedModel, rows: pl.DataFrame, use_case: UseCase) -> pl.DataFrame:
    """As the service gives them, with their moments."""
    from mlops_assets.training.onnx_model import OnnxModel

    opened, task = OnnxModel.from_bytes(model.onnx), task_of(use_case.task)
    read, columns = task.reader(opened.signature.facts), {name: task.COLUMNS[name] for name in task.ANSWER}
    answers = pl.DataFrame([read(score) for score in opened.predict(rows).tolist()], schema=columns, orient="row")
    return answers.select(task.SUMMARY, rows[names.EVENT_TIMESTAMP])


def _parquet(rows: pl.DataFrame) -> bytes:
    buffer = BytesIO()
    rows.write_parquet(buffer)
    return buffer.getvalue()
