"""Sensors of one use case: landed files, the prediction log, and what starts a training; and the training job."""

from typing import Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.graph.kernel.dagster_internals import DATA_VERSION
from mlops_assets.graph.kernel.pods import PER_STEP, pod_per_step
from mlops_assets.graph.kernel.shared_sensors import shared_sensor
from mlops_assets.graph.landing import landed_checks, landing_sensor
from mlops_assets.graph.training_triggers import build_training_sensor
from mlops_assets.graph.trainings import ONE_AT_A_TIME
from mlops_assets.resources import PredictionLogResource
from mlops_assets.spec.use_case import UseCase

# Under steady traffic the log is reported every five minutes, so that monitors do not run back to back.
TICKS_TO_A_PAUSE = 60  # five minutes
TRAINED = ("training_set", "candidate", "evaluation", "blessing", "rollout", "service")
Requests = dg.SensorResult | dg.SkipReason


def build_triggers(use_case: UseCase) -> dict[str, list[Any]]:
    """Sensors, checks and the training job, as keyword arguments of Definitions."""
    training = _training_job(use_case)
    sensors = [landing_sensor(use_case), _log_sensor(use_case), build_training_sensor(use_case, training)]
    return {"jobs": [training], "checks": landed_checks(use_case), "sensors": sensors}


def _training_job(use_case: UseCase) -> Any:
    stages = (*TRAINED, *(["feature_catalog"] if use_case.features.views else []))
    per_step = use_case.compute.pod_per_step
    return dg.define_asset_job(
        names.job(use_case.name, "training"),
        selection=dg.AssetSelection.assets(*(names.stage(use_case.name, name) for name in stages)),
        tags={ONE_AT_A_TIME: use_case.name, **({PER_STEP: "true"} if per_step else {})},
        executor_def=pod_per_step if per_step else None,
        description="Train a candidate, evaluate it against the champion on the same rows, and roll it out if it is blessed.",
    )


def _log_sensor(use_case: UseCase) -> dg.SensorDefinition:
    key = dg.AssetKey(names.stage(use_case.name, "prediction_log"))

    @shared_sensor(
        use_case,
        "prediction_log",
        description="Reports new rows of the prediction log, at the next pause in traffic or after five minutes without one.",
    )
    def report(context: dg.SensorEvaluationContext, prediction_log: PredictionLogResource) -> Requests:
        written = sum(prediction_log.open(use_case).segments().values())
        reported, previous, ticks = map(int, (context.cursor or "0 0 0").split())
        if written == reported:
            return dg.SkipReason("No request has been served since the last report.")
        if written != previous and ticks < TICKS_TO_A_PAUSE:
            context.update_cursor(f"{reported} {written} {ticks + 1}")
            return dg.SkipReason("Requests are being served; waiting for a pause.")
        event = dg.AssetMaterialization(key, metadata={"bytes": written}, tags={DATA_VERSION: str(written)})
        context.update_cursor(f"{written} {written} 0")
        return dg.SensorResult(asset_events=[event])

    return report
