"""MLflow runs of real Dagster runs, opened by the real dagster-mlflow: how they end, and the links between the two."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dagster as dg
import mlflow
import pytest
from mlflow.entities import Run

from mlops_assets.foundation import names
from mlops_assets.foundation.home import Environment, read_environment
from mlops_assets.graph.kernel.mlflow_run import link_of, tracked_run
from mlops_assets.resources import RegistryResource, build_resources
from mlops_assets.training.model_registry import ModelRegistry
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.training.mlflow_runs import new_run

EXPERIMENT = names.experiment(USE_CASE.name)
PAGES = {"MLOPS_DAGSTER_URL": "http://dagster:3001/", "MLOPS_MLFLOW_URL": "http://mlflow:5000"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return read_environment({"MLOPS_HOME": str(tmp_path_factory.mktemp("home")), **PAGES})


@pytest.fixture(scope="module")
def registry(environment: Environment) -> ModelRegistry:
    return ModelRegistry(environment.home.mlflow)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def trained(
    registry: ModelRegistry, environment: Environment, instance: dg.DagsterInstance, *problems: BaseException
) -> tuple[dg.ExecuteInProcessResult, Run]:
    """One Dagster run of an asset that logs a metric, fails once with each problem and is retried."""
    ahead = [*problems]

    @dg.asset(key=names.stage(USE_CASE.name, "candidate"), retry_policy=dg.RetryPolicy(max_retries=1))
    def candidate(context: dg.AssetExecutionContext, registry: RegistryResource) -> None:
        with tracked_run(context, USE_CASE, registry) as run:
            context.add_output_metadata({"mlflow_run": link_of(run, registry)})
            run.log_metrics({"loss": 0.5})
            if ahead:
                raise ahead.pop(0)

    resources: dict[str, Any] = {"registry": build_resources(environment)["registry"]}
    result = dg.materialize([candidate], instance=instance, resources=resources, raise_on_error=False)
    (run,) = registry.client.search_runs([registry.experiment(EXPERIMENT)], f"tags.dagster_run_id = '{result.run_id}'")
    assert mlflow.active_run() is None
    return result, run


def test_a_run_finishes_with_its_step_and_links_to_dagster(
    registry: ModelRegistry, environment: Environment, instance: dg.DagsterInstance
):
    result, run = trained(registry, environment, instance)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 0.5})
    assert run.info.artifact_uri.startswith(registry.artifacts(EXPERIMENT).as_uri())
    page, tags = f"http://dagster:3001/runs/{result.run_id}", run.data.tags
    assert (tags["dagster_asset"], tags["dagster_url"]) == ("flight_delay/candidate", page)
    assert f"]({page})" in tags["mlflow.note.content"]
    (event,) = result.get_asset_materialization_events()
    link = event.step_materialization_data.materialization.metadata["mlflow_run"]
    assert link == dg.MetadataValue.url(f"http://mlflow:5000/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")


def test_a_retried_step_resumes_its_run(registry: ModelRegistry, environment: Environment, instance: dg.DagsterInstance):
    result, run = trained(registry, environment, instance, ValueError("no rows"))
    assert (result.success, run.info.status) == (True, "FINISHED")


def test_a_step_that_fails_leaves_a_failed_run(registry: ModelRegistry, environment: Environment, instance: dg.DagsterInstance):
    result, run = trained(registry, environment, instance, ValueError("no rows"), ValueError("still none"))
    assert (result.success, run.info.status) == (False, "FAILED")


def test_runs_of_killed_processes_are_closed_by_the_next_training(
    registry: ModelRegistry, environment: Environment, instance: dg.DagsterInstance
):
    lost = new_run(registry, EXPERIMENT, dagster_run_id="of another time").run_id
    lasting = new_run(registry, EXPERIMENT, dagster_run_id=instance.create_run_for_job(empty()).run_id).run_id
    trained(registry, environment, instance)
    assert [registry.client.get_run(run_id).info.status for run_id in (lost, lasting)] == ["KILLED", "RUNNING"]


def empty() -> dg.JobDefinition:
    @dg.job
    def nothing() -> None: ...

    return nothing


def test_without_addresses_the_id_replaces_the_link(
    registry: ModelRegistry, environment: Environment, instance: dg.DagsterInstance
):
    alone = replace(environment, dagster_url=None, mlflow_url=None)
    _result, run = trained(registry, alone, instance)
    assert "dagster_url" not in run.data.tags
    assert link_of(registry.tracked(run.info.run_id), alone) == dg.MetadataValue.text(run.info.run_id)
