"""A project whose runs are Kubernetes jobs: from a landed table to a served champion, on an API server that refuses what a real one
refuses and runs the containers' commands as processes.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import yaml

from mlops_assets.foundation.home import PROJECT, read_environment
from mlops_assets.local.new_project import write_project
from mlops_assets.local.platform import running_platform
from tests.graph.line import ON_ANY_PORT, variables
from tests.servers.kubernetes_server import Job, KubernetesServer, running_kubernetes

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
STARTED = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
GOOD = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.QUEUED}
COMPUTE = """    compute=Compute(
        raw=Pod(cpu=0.5, memory_gib=1), validated=Pod(cpu=1, memory_gib=2),
        training=Pod(cpu=2, memory_gib=4, node_selector={"pool": "training"}), pod_per_step=PER_STEP,
    ),
"""
MATERIALIZE = """mutation($selector: JobOrPipelineSelector!) {
  launchPipelineExecution(executionParams: {selector: $selector}) { __typename ... on PythonError { message } }
}"""


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[KubernetesServer]:
    with running_kubernetes(tmp_path / "kubernetes") as server:
        yield server


@contextmanager
def platform(root: Path, kubernetes: KubernetesServer, *, per_step: bool = False) -> Iterator[tuple[dg.DagsterInstance, str]]:
    """Of a project of its own, whose example has landed: its instance, and the address of its web UI."""
    project = root / "clinic"
    write_project(project)
    declaration = project / "clinic" / "use_cases" / "diabetes" / "__init__.py"
    text = declaration.read_text().replace("    example=", COMPUTE.replace("PER_STEP", str(per_step)) + "    example=")
    first = "from mlops_assets.spec.contract"
    declaration.write_text(text.replace(first, f"from mlops_assets import Compute, Pod\n{first}", 1))
    settings = yaml.safe_load((project / "dagster.yaml").read_text())
    settings["run_launcher"] = {
        "module": "mlops_assets.graph.kernel.run_launcher",
        "class": "DeclaredPods",
        "config": {
            "service_account_name": "platform",
            "instance_config_map": "dagster",
            "dagster_home": str(root / "home" / "dagster"),
            "job_image": "platform:1",
            "load_incluster_config": False,
            "kubeconfig_file": str(kubernetes.kubeconfig),
            "env_vars": ["MLOPS_ENV", "MLOPS_HOME", "MLOPS_PROJECT", "MLOPS_SERVICE_URL", "PYTHONPATH"],
        },
    }
    (project / "dagster.yaml").write_text(yaml.safe_dump(settings))
    own = {**variables(root / "home"), **ON_ANY_PORT, "MLOPS_PROJECT": str(project), "PYTHONPATH": f"{project}:{PROJECT}"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        with running_platform(read_environment(own, project), everything=True) as addresses:
            subprocess.run([sys.executable, "-m", "mlops_assets", "land", "diabetes"], cwd=project, check=True)
            with dg.DagsterInstance.from_config(str(root / "home" / "dagster")) as instance:
                yield instance, addresses["dagster"]


def wait_for(what: str, is_reached: Callable[[], Any], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not is_reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def ended(instance: dg.DagsterInstance, job: str) -> list[dg.DagsterRun]:
    statuses = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    return instance.get_runs(dg.RunsFilter(job_name=job, statuses=statuses))


def resources(job: Job) -> dict[str, Any]:
    return job.container.get("resources", {})


def launch(url: str, *assets: str) -> None:
    """Materializes assets as a person does in the web UI."""
    selector = {"repositoryLocationName": "clinic", "repositoryName": "__repository__", "pipelineName": "__ASSET_JOB"}
    selector |= {"assetSelection": [{"path": ["diabetes", name]} for name in assets]}
    query = {"query": MATERIALIZE, "variables": {"selector": selector}}
    answer = httpx.post(f"{url}/graphql", json=query, trust_env=False, timeout=60).json()
    assert answer["data"]["launchPipelineExecution"]["__typename"] == "LaunchRunSuccess", answer


def test_every_run_is_a_valid_job_with_its_declared_pod_however_it_was_started(
    tmp_path: Path, kubernetes: KubernetesServer
) -> None:
    with platform(tmp_path, kubernetes) as (instance, url):
        wait_for("the first training", lambda: ended(instance, "diabetes_training"))
        (training,) = ended(instance, "diabetes_training")
        assert training.status is dg.DagsterRunStatus.SUCCESS
        before = len(kubernetes.jobs)
        launch(url, "raw_patients")
        wait_for("the run of a person", lambda: len(kubernetes.jobs) > before)
        runs = {f"dagster-run-{run.run_id}": run for run in instance.get_runs()}
    assert not kubernetes.refused
    for name, job in kubernetes.jobs.items():
        memory = "4096Mi" if runs[name].job_name == "diabetes_training" else "2048Mi"
        if runs[name].asset_selection == {dg.AssetKey(["diabetes", "raw_patients"])}:
            memory = "1024Mi"
        assert resources(job)["limits"] == {"memory": memory}, name
    by_person = [*kubernetes.jobs.values()][-1]
    assert resources(by_person)["requests"] == {"cpu": "500m", "memory": "1024Mi"}


def fail_newest(instance: dg.DagsterInstance, kubernetes: KubernetesServer, fault: str) -> dg.DagsterRun:
    """Ends the pod of the only run that has started; the run, once the platform has noticed that."""
    wait_for("a started run", lambda: instance.get_runs(STARTED))
    (run,) = instance.get_runs(STARTED)
    kubernetes.jobs[f"dagster-run-{run.run_id}"].fail(fault)
    wait_for("the end of the run", lambda: instance.get_runs(dg.RunsFilter([run.run_id], statuses=[dg.DagsterRunStatus.FAILURE])))
    return run


def why_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    (record,) = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records
    return record.event_log_entry.message + str(record.event_log_entry.dagster_event)


def test_a_lost_pod_is_named_and_tried_again_where_that_helps_and_steps_are_pods_where_declared(
    tmp_path: Path, kubernetes: KubernetesServer
) -> None:
    with platform(tmp_path, kubernetes, per_step=True) as (instance, url):
        evicted = fail_newest(instance, kubernetes, "Evicted")
        assert "its node needed the space: The node was low on resource: memory." in why_failed(instance, evicted)
        killed = fail_newest(instance, kubernetes, "OOMKilled")
        assert killed.parent_run_id == evicted.run_id
        assert "more than its memory limit of 2048Mi. Raise memory_gib in `compute` of the use case" in why_failed(
            instance, killed
        )
        launch(url, "raw_patients", "validated_patients", "quarantined_patients")
        wait_for("a started run", lambda: instance.get_runs(STARTED))
        kubernetes.is_out = True
        time.sleep(12)  # two looks at the health of each run
        kubernetes.is_out = False
        wait_for(
            "the step of the candidate", lambda: "diabetes__candidate" in steps(kubernetes)
        )  # the later ones run in the same way
        (training,) = instance.get_runs(dg.RunsFilter(job_name="diabetes_training"))
        assert {run.status for run in instance.get_runs() if run.run_id not in (evicted.run_id, killed.run_id)} <= GOOD
        assert not [run for run in instance.get_runs() if run.parent_run_id == killed.run_id]
    assert not kubernetes.refused
    for step in ("diabetes__training_set", "diabetes__candidate"):
        pod = steps(kubernetes)[step].body["spec"]["template"]["spec"]
        assert pod["nodeSelector"] == {"pool": "training"} and pod["containers"][0]["resources"]["limits"] == {"memory": "4096Mi"}
    assert not resources(kubernetes.jobs[f"dagster-run-{training.run_id}"])


def steps(kubernetes: KubernetesServer) -> dict[str, Job]:
    """The pods of single steps, by the steps' keys."""
    pods = {name: job for name, job in [*kubernetes.jobs.items()] if name.startswith("dagster-step-")}
    variables_of = {name: {one["name"]: one.get("value") for one in job.container["env"]} for name, job in pods.items()}
    return {variables_of[name]["DAGSTER_RUN_STEP_KEY"]: job for name, job in pods.items()}
