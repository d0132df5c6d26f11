"""Drift of the served inputs, as an asset with a check."""
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
from mlops_assets.resources import DeploymentResource, RegistryResource, ReportsResource
from mlops_assets.spec.monitor import Drift
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.monitoring.drift import TrainingWindow


def build_drift(use_case: UseCase, stage: str, spec: Drift) -> dg.AssetsDefinition:
    key = dg.AssetKey(names.stage(use_case.name, stage))

    @asset(
        description=f"How far the inputs served in {in_words(spec.window)} are from those that the champion was trained on.",
        check_specs=[dg.AssetCheckSpec(spec.CHECK, asset=key, description="No input has drifted.")],
        **monitor_arguments(use_case, stage, "evidently", kind="drift", reads="predictions"),
    )
    def drift(
        context: dg.AssetExecutionContext,
        predictions: LazyFrame,
        registry: RegistryResource,
        deployment: DeploymentResource,
        reports: ReportsResource,
    ) -> dg.MaterializeResult:
        from mlops_assets.monitoring.drift import monitor_drift
        from mlops_assets.monitoring.window import elsewhere, recent
        from mlops_assets.tasks import task_of

        plan = deployment.open(use_case.name).plan()
        read_window = partial(_training_window, use_case, registry, plan.champion) if plan else None
        now = run_started(context)
        rows = recent(predictions, spec, now=now)
        result = monitor_drift(spec, rows, read_window, task=task_of(use_case.task), seed=names.SEED)
        result = elsewhere(predictions, spec, now=now).added_to(result)
        files = {f"{stage}_report.html": result.page} if result.page else {}
        links = publish(registry, use_case, plan.champion, files) if plan else {}
        metadata = monitor_metadata(result, links | over_time(use_case, stage, result, reports, at=now))
        return dg.MaterializeResult(metadata=metadata, check_results=[check_result(context, spec, result, use_case, now=now)])

    return drift


def _training_window(use_case: UseCase, registry: RegistryResource, version: int) -> "TrainingWindow":
    from mlops_assets.evaluation.evaluate import EVALUATION
    from mlops_assets.monitoring.drift import TrainingWindow
    from mlops_assets.training.train_and_track import PERIODS, PROFILES, SAMPLE

    model, opened = names.registered_model(use_case.name), registry.open()
    profiles, sample = (opened.artifact(model, version, artifact) for artifact in (PROFILES, SAMPLE))
    # Versions of earlier releases have only some of these.
    evaluation, periods = (opened.find_artifact(model, version, artifact) for artifact in (EVALUATION, PERIODS))
    return TrainingWindow.from_artifacts(version, profiles, sample, evaluation=evaluation, periods=periods)
