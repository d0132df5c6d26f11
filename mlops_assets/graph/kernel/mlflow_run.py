"""The MLflow run of a training step, opened by dagster-mlflow, with links between MLflow and Dagster."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.resources import RegistryResource
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.training.model_registry import TrackedRun


@contextmanager
def tracked_run(context: dg.AssetExecutionContext, use_case: UseCase, resource: RegistryResource) -> "Generator[TrackedRun]":
    """One MLflow run per step: FINISHED, FAILED when the block raises, KILLED when it is interrupted. A retry resumes it.

    Not the hook `end_mlflow_on_run_finished`: it ends a run after the job's last step, jobs of automation conditions have no
    hooks, and there the run stayed RUNNING (dagster-mlflow 0.29.27). So the resource lasts for the step, which took 0.24 s.
    """
    from dagster_mlflow import mlflow_tracking

    registry, experiment = resource.open(), names.experiment(use_case.name)
    registry.experiment(experiment)  # dagster-mlflow would make it with artifacts in ./mlruns
    registry.close_stale_runs(experiment, is_over=lambda run_id: _is_over(context.instance, run_id))
    tracking = mlflow_tracking.configured(
        {
            "experiment_name": experiment,
            "mlflow_tracking_uri": registry.uri,
            "env": {},
            "extra_tags": _tags(context, use_case, resource.dagster_url),
        }
    )
    with dg.build_resources(
        {"mlflow": tracking}, instance=context.instance, dagster_run=context.run, log_manager=context.log
    ) as opened:
        mlflow: Any = opened.mlflow
        yield registry.tracked(mlflow.active_run().info.run_id)
        mlflow.end_run()


def link_of(run: "TrackedRun", resource: RegistryResource) -> dg.MetadataValue:
    """The run's page in MLflow, or its id where MLOPS_MLFLOW_URL is not set."""
    if resource.mlflow_url is None:
        return dg.MetadataValue.text(run.run_id)
    return dg.MetadataValue.url(f"{resource.mlflow_url}/#/experiments/{run.experiment_id}/runs/{run.run_id}")


def _is_over(instance: dg.DagsterInstance, run_id: str) -> bool:
    """A run that Dagster has finished or does not know."""
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished


def _tags(context: dg.AssetExecutionContext, use_case: UseCase, dagster_url: str | None) -> dict[str, str]:
    """`dagster_run_id` is dagster-mlflow's own tag. MLflow shows the note as Markdown above the run."""
    asset, run_id = context.asset_key.path, context.run.run_id
    tags = {"mlflow.runName": f"{use_case.trainer.kind} {run_id[:8]}", "dagster_asset": "/".join(asset)}
    if dagster_url is None:
        return tags
    page = f"{dagster_url}/runs/{run_id}"
    note = f"Dagster [run {run_id[:8]}]({page}), asset [{'/'.join(asset)}]({dagster_url}/assets/{'/'.join(asset)})"
    return tags | {"dagster_url": page, "mlflow.note.content": note}
