"""MLflow runs of training steps, opened by dagster-mlflow, their reports, and the links between MLflow and Dagster."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

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

    registry, experiment = resource.open(), names.experiment(use_case.name)
    registry.experiment(experiment)  # dagster-mlflow would create it with artifacts in ./mlruns
    registry.close_stale_runs(experiment, is_over=lambda run_id: _is_over(context.instance, run_id))
    tags = _tags(context, use_case, resource.dagster_url)
    config = {"experiment_name": experiment, "mlflow_tracking_uri": registry.uri, "env": {}, "extra_tags": tags}
    resources = {"mlflow": mlflow_tracking.configured(config)}
    with dg.build_resources(resources, instance=context.instance, dagster_run=context.run, log_manager=context.log) as opened:
        mlflow: Any = opened.mlflow
        yield registry.tracked(mlflow.active_run().info.run_id)
        mlflow.end_run()


def link_of(run: "TrackedRun", resource: RegistryResource) -> dg.MetadataValue:
    """The run's page in MLflow, or its id where MLOPS_MLFLOW_URL is not set."""
    return dg.MetadataValue.url(_page(run, resource)) if resource.mlflow_url else dg.MetadataValue.text(run.run_id)


def publish(
    resource: RegistryResource, use_case: UseCase, version: int, files: Mapping[str, bytes | str]
) -> dict[str, dg.MetadataValue]:
    """Stores `files` as artifacts of the run that trained `version`, and returns a link to each by its name without suffix.

    The links open from any machine; where MLOPS_MLFLOW_URL is not set, they are paths. A file of the same name is replaced.
    """
    if not files:
        return {}
    registry = resource.open()
    versions = registry.versions(names.registered_model(use_case.name))
    run = registry.tracked(next(known.run_id for known in versions if known.version == version))
    folder = Path(unquote(urlparse(str(registry.client.get_run(run.run_id).info.artifact_uri)).path))
    links: dict[str, dg.MetadataValue] = {}
    for name, content in files.items():
        run.log_bytes(name, content.encode() if isinstance(content, str) else content)
        url = f"{_page(run, resource)}/artifacts/{name}" if resource.mlflow_url else None
        links[Path(name).stem] = dg.MetadataValue.url(url) if url else dg.MetadataValue.path(folder / name)
    return links


def _page(run: "TrackedRun", resource: RegistryResource) -> str:
    return f"{resource.mlflow_url}/#/experiments/{run.experiment_id}/runs/{run.run_id}"


def _is_over(instance: dg.DagsterInstance, run_id: str) -> bool:
    """A run that Dagster has finished or does not know."""
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished


def _tags(context: dg.AssetExecutionContext, use_case: UseCase, dagster_url: str | None) -> dict[str, str]:
    """`dagster_run_id` is dagster-mlflow's own tag. MLflow shows the note as Markdown above the run."""
    asset, run_id = "/".join(context.asset_key.path), context.run.run_id
    tags = {"mlflow.runName": f"{use_case.trainer.kind} {run_id[:8]}", "dagster_asset": asset}
    if dagster_url is None:
        return tags
    page = f"{dagster_url}/runs/{run_id}"
    note = f"Dagster [run {run_id[:8]}]({page}), asset [{asset}]({dagster_url}/assets/{asset})"
    return tags | {"dagster_url": page, "mlflow.note.content": note}
