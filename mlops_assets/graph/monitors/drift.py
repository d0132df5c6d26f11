"""Drift of what is served, as an asset with a check."""
# Dagster takes a bare MaterializeResult only; its type argument cannot be written.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.durations import in_words
from mlops_assets.graph.kernel.assets import asset
from mlops_assets.graph.kernel.mlflow_run import publish
from mlops_assets.graph.kernel.run_clock import run_started
from mlops_assets.graph.kernel.tables import LazyFrame
from mlops_assets.graph.monitors.asset import check_result, monitor_arguments, monitor_metadata, over_time
from mlops_assets.resources import DeploymentResource, RegistryResource, ReportsResource, WarehouseResource
from mlops_assets.spec.monitor import Drift
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    import polars as pl

    from mlops_assets.monitoring.drift import Served
    from mlops_assets.monitoring.training_window import TrainingWindow
    from mlops_assets.monitoring.window import Window

STORED = "served_profiles"  # a table of the use case, which all its monitors of drift share


def build_drift(use_case: UseCase, stage: str, spec: Drift) -> dg.AssetsDefinition:
    key = dg.AssetKey(names.stage(use_case.name, stage))

    @asset(
        description=f"How far what was served in {in_words(spec.window)} is from what the champion was trained on.",
        check_specs=[dg.AssetCheckSpec(spec.CHECK, asset=key, description="Neither inputs nor answers have drifted.")],
        **monitor_arguments(use_case, stage, "evidently", kind="drift", reads="predictions"),
    )
    def drift(
        context: dg.AssetExecutionContext,
        *,
        predictions: LazyFrame,
        registry: RegistryResource,
        deployment: DeploymentResource,
        warehouse: WarehouseResource,
        reports: ReportsResource,
    ) -> dg.MaterializeResult:
        from mlops_assets.monitoring.drift import monitor_drift
        from mlops_assets.monitoring.window import elsewhere, window_of
        from mlops_assets.tasks import task_of

        plan = deployment.open(use_case.name).plan()
        read_window = partial(_training_window, use_case, registry, plan.champion) if plan else None
        now = run_started(context)
        served = _served(use_case, predictions, warehouse, window_of(predictions, spec, now=now))
        result = monitor_drift(spec, served, read_window, task=task_of(use_case.task), seed=names.SEED)
        result = elsewhere(predictions, spec, now=now).added_to(result)
        files = {f"{stage}_report.html": result.page} if result.page else {}
        links = publish(registry, use_case, plan.champion, files) if plan else {}
        metadata = monitor_metadata(result, links | over_time(use_case, stage, result, reports, at=now))
        return dg.MaterializeResult(metadata=metadata, check_results=[check_result(context, spec, result, use_case, now=now)])

    return drift


def _served(use_case: UseCase, predictions: "pl.LazyFrame", warehouse: WarehouseResource, window: "Window") -> "Served":
    import polars as pl

    from mlops_assets.monitoring.drift import Served
    from mlops_assets.monitoring.stored_profiles import StoredProfiles

    tables, label = warehouse.open(), use_case.label.name
    profiles, rows, outcomes = (tables.path(names.stage(use_case.name, one)) for one in (STORED, "predictions", "outcomes"))
    # Not an asset that it reads: labels that cannot be joined must not silence the monitor of the inputs.
    known = window.of(pl.scan_delta(str(outcomes))).select(label).collect()[label] if outcomes.exists() else pl.Series(label, [])
    return Served(window, window.of(predictions), partial(StoredProfiles(profiles, rows).window, window=window), known)


def _training_window(use_case: UseCase, registry: RegistryResource, version: int) -> "TrainingWindow":
    from mlops_assets.evaluation.evaluate import EVALUATION
    from mlops_assets.monitoring.training_window import TrainingWindow
    from mlops_assets.training.train_and_track import ANSWERS, PERIODS, PROFILES, SAMPLE

    model, opened = names.registered_model(use_case.name), registry.open()
    profiles, sample = (opened.artifact(model, version, artifact) for artifact in (PROFILES, SAMPLE))
    # Versions of earlier releases have only some of these.
    evaluation, periods, answers = (opened.find_artifact(model, version, one) for one in (EVALUATION, PERIODS, ANSWERS))
    return TrainingWindow.from_artifacts(version, profiles, sample, evaluation=evaluation, periods=periods, answers=answers)
