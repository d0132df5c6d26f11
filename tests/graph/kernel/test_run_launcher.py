"""Every run on Kubernetes gets the pod that its steps are declared to get, in an object that is valid."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import kubernetes.client
import kubernetes_validate
import pytest
from dagster_k8s.job import construct_dagster_k8s_job, get_user_defined_k8s_config

from mlops_assets.foundation import names
from mlops_assets.graph.kernel.pods import KUBERNETES, pod_tags
from mlops_assets.graph.kernel.run_launcher import DeclaredPods
from mlops_assets.spec.compute import Compute, Pod
from mlops_assets.spec.spec import IllegalDeclaration
from tests.cli.loans import LOANS
from tests.graph.line import Line, running_line
from tests.servers.kubernetes_server import VERSION, running_kubernetes

RAW, VALIDATED = Pod(cpu=2, memory_gib=1), Pod(cpu=0.25, memory_gib=2.5)
TRAINING = Pod(cpu=4, memory_gib=16, gpus=1, node_selector={"pool": "gpu"})
USE_CASE = LOANS.but(compute=Compute(raw=RAW, validated=VALIDATED, training=TRAINING))
DEPLOYED = {"requests": {"cpu": "100m"}}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with running_line(tmp_path_factory.mktemp("home"), USE_CASE) as line:
        yield line


@pytest.fixture(scope="module")
def launcher(line: Line, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeclaredPods]:
    with running_kubernetes(tmp_path_factory.mktemp("kubernetes")) as server:
        launcher = DeclaredPods(
            service_account_name="platform",
            instance_config_map="dagster",
            dagster_home="/home",
            job_image="platform:1",
            load_incluster_config=False,
            kubeconfig_file=str(server.kubeconfig),
            resources=DEPLOYED,
        )
        launcher.register_instance(line.instance)
        yield launcher


def pod_of(job: kubernetes.client.V1Job) -> tuple[Any, Any]:
    """Resources and node selector of a valid job."""
    body: dict[str, Any] = kubernetes.client.ApiClient().sanitize_for_serialization(job)
    kubernetes_validate.validate(body, VERSION, strict=True)
    spec = body["spec"]["template"]["spec"]
    return spec["containers"][0]["resources"], spec.get("nodeSelector")


def launched(line: Line, launcher: DeclaredPods, *keys: names.AssetPath, job: str = "", **tags: str) -> tuple[Any, Any]:
    definition = line.definitions.resolve_job_def(job) if job else line.job
    selection = frozenset(map(dg.AssetKey, keys)) or None
    run = line.instance.create_run_for_job(definition, asset_selection=selection, tags=tags)
    context = launcher.get_container_context_for_run(run)
    config = context.get_k8s_job_config("platform:1", launcher)
    return pod_of(construct_dagster_k8s_job(config, ["dagster"], f"run-{run.run_id}", context.run_k8s_config))


def test_a_run_is_as_large_as_its_largest_step(line: Line, launcher: DeclaredPods) -> None:
    stages = line.stages("payments")
    resources, selector = launched(line, launcher, *stages)
    assert resources == {"requests": {"cpu": "2000m", "memory": "2560Mi"}, "limits": {"memory": "2560Mi"}}
    assert selector is None
    assert launched(line, launcher, stages[0])[0]["limits"] == {"memory": "1024Mi"}


def test_a_training_gets_what_is_declared_for_it(line: Line, launcher: DeclaredPods) -> None:
    resources, selector = launched(line, launcher, job="loans_training")
    assert resources == {
        "requests": {"cpu": "4000m", "memory": "16384Mi"},
        "limits": {"memory": "16384Mi", "nvidia.com/gpu": "1"},
    }
    assert selector == {"pool": "gpu"}


def test_a_part_of_which_nothing_is_declared_gets_what_the_deployment_has(line: Line, launcher: DeclaredPods) -> None:
    assert launched(line, launcher, names.stage("loans", "outcomes"))[0] == DEPLOYED


def test_the_tag_of_a_run_is_in_force_instead(line: Line, launcher: DeclaredPods) -> None:
    own = {KUBERNETES: '{"container_config": {"resources": {"limits": {"memory": "3Gi"}}}}'}
    resources, _ = launched(line, launcher, line.stages("payments")[0], **own)
    assert resources == {**DEPLOYED, "limits": {"memory": "3Gi"}}


def test_a_step_that_is_a_pod_of_its_own_gets_the_same(line: Line) -> None:
    candidate = line.definitions.get_assets_def(names.stage("loans", "candidate"))
    config = get_user_defined_k8s_config(candidate.op.tags)
    resources = config.container_config["resources"]
    assert resources["limits"] == {"memory": "16384Mi", "nvidia.com/gpu": "1"} and config.pod_spec_config["node_selector"]


def test_a_pod_declares_nothing_by_default() -> None:
    assert pod_tags(LOANS, "candidate") == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cpu": 0, "memory_gib": 1}, "Pod · cpu"),
        ({"cpu": 1, "memory_gib": 1, "gpus": -1}, "Pod · gpus"),
        ({"cpu": 1, "memory_gib": 1, "node_selector": {"pool of mine": "x"}}, "Pod · node_selector"),
        ({"cpu": 1, "memory_gib": 1, "node_selector": {"pool": "a b"}}, "Pod · node_selector"),
        ({"cpu": 1, "memory_gib": 1e-9}, "Pod · memory_gib"),
        ({"cpu": 1e-9, "memory_gib": 1}, "Pod · cpu"),
    ],
)
def test_an_illegal_pod_is_refused_when_it_is_declared(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(IllegalDeclaration, match=message):
        Pod(**fields)


def test_one_label_of_a_node_has_one_value() -> None:
    with pytest.raises(IllegalDeclaration, match="node_selector pool of training is 'gpu', and of monitoring 'small'"):
        Compute(training=TRAINING, monitoring=Pod(cpu=1, memory_gib=1, node_selector={"pool": "small"}))
