"""MLflow runs of training steps, opened by dagster-mlflow, their reports, and the links between MLflow and Dagster."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.resources import RegistryResource
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.training.model_registry import TrackedRun


@contextmanager
def tracked_run(context: dg.AssetExecutionContext, use_case: UseCase, resource: RegistryResource) -> "Generator[TrackedRun]":
    """One MLflow run per step: FINISHED, FAILED when the block raises, KILLED when it is interrupted. A retry resumes it."""
    # Not the hook `end_mlflow_on_run_finished`: it ends a run after the job's last step, but runs of automation conditions
    # have no hooks and stayed RUNNING (dagster-mlflow 0.29.27). So the resource lasts for the step, at 0.24 s a step.
    from dagster_mlflow import mlflow_tracking

    def is_over(run_id: str) -> bool:
        run = context.instance.get_run_by_id(run_id)
        return run is None or run.is_finished

    registry, experiment = resource.open(), names.experiment(use_case.name)
    registry.experiment(experiment)  # dagster-mlflow would create it with artifacts in ./mlruns
    registry.close_stale_runs(experiment, is_over=is_over)
    tags = _tags(context, use_case, resource.dagster_url)
    config = {"experiment_name": experiment, "mlflow_tracking_uri": registry.uri, "env": {}, "extra_tags": tags}
    resources = {"mlflow": mlflow_tracking.configured(config)}
    with dg.build_resources(resources, instance=context.instance, dagster_run=context.run, log_manager=context.log) as opened:
        mlflow: Any = opened.mlflow
        yield registry.tracked(mlflow.active_run().info.run_id)
        mlflow.end_run()


def link_of(run: "TrackedRun", resource: RegistryResource, artifact: str = "") -> dg.MetadataValue:
    """The page in MLflow of the run or of an artifact. Where MLOPS_MLFLOW_URL is not set, the run's id or the file's path."""
    if resource.mlflow_url:
        page = f"{resource.mlflow_url}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
        return dg.MetadataValue.url(f"{page}/artifacts/{artifact}" if artifact else page)
    return dg.MetadataValue.path(run.folder / artifact) if artifact else dg.MetadataValue.text(run.run_id)


def publish(
    resource: RegistryResource, use_case: UseCase, version: int | None, files: Mapping[str, bytes | str]
) -> dict[str, dg.MetadataValue]:
    """Stores `files` as artifacts of the run that trained `version`, and returns a link to each by its name without suffix.

    The links open from any machine where MLOPS_MLFLOW_URL is set. A file of the same name is replaced. Without a version
    nothing is stored.
    """
    if version is None or not files:
        return {}
    registry = resource.open()
    run = registry.tracked(registry.version(names.registered_model(use_case.name), version).run_id)
    for name, content in files.items():
        run.log_file(name, content)
    return {Path(name).stem: link_of(run, resource, name) for name in files}


def _tags(context: dg.AssetExecutionContext, use_case: UseCase, dagster_url: str | None) -> dict[str, str]:
    """`dagster_run_id` is dagster-mlflow's own tag. MLflow shows the note as Markdown above the run."""
    asset, run_id = "/".join(context.asset_key.path), context.run.run_id
    tags = {"mlflow.runName": f"{use_case.trainer.kind} {run_id[:8]}", "dagster_asset": asset}
    if dagster_url is None:
        return tags
    page = f"{dagster_url}/runs/{run_id}"
    note = f"Dagster [run {run_id[:8]}]({page}), asset [{asset}]({dagster_url}/assets/{asset})"
    return tags | {"dagster_url": page, "mlflow.note.content": note}
