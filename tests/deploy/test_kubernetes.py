"""Every overlay renders, breaks no published schema, and names nothing that is not there."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from mlops_assets.foundation.home import PROJECT, read_environment
from mlops_assets.observability.alerts import PLATFORM_JOB, SERVICE_JOB
from tests.servers.kubernetes_server import VERSION

OVERLAYS = ("dev", "staging", "production")
CUSTOM = {"HTTPRoute", "PodMonitor"}  # of the Gateway API and of Prometheus' operator: Kubernetes has no schema of them
SECRETS = {"platform", "predictions", "signing", "sign-in"}  # which people create by docs/kubernetes.md
Objects = list[dict[str, Any]]


@cache
def rendered(overlay: str) -> Objects:
    return rendered_from(PROJECT / "deploy" / "k8s" / "overlays" / overlay)


def rendered_from(folder: Path) -> Objects:
    command = [Path(sys.executable).parent / "kubectl", "kustomize", folder]
    return [*yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout)]


def of_kind(objects: Objects, *kinds: str) -> Objects:
    return [one for one in objects if one["kind"] in kinds]


def pods(objects: Objects) -> dict[str, dict[str, Any]]:
    """The templates of all pods, by the name of what makes them."""
    jobs = {one["metadata"]["name"]: one["spec"]["jobTemplate"]["spec"]["template"] for one in of_kind(objects, "CronJob")}
    return jobs | {one["metadata"]["name"]: one["spec"]["template"] for one in of_kind(objects, "Deployment")}


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> Objects:
    return rendered(request.param)


def test_every_object_is_valid_and_none_has_an_unknown_field(objects: Objects) -> None:
    checked = [kubernetes_validate.validate(one, VERSION, strict=True) for one in objects if one["kind"] not in CUSTOM]
    assert len(checked) == len(objects) - len(of_kind(objects, *CUSTOM)) > 20


def test_all_objects_are_in_one_namespace_which_restricts_pods(objects: Objects) -> None:
    (namespace,) = of_kind(objects, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    others = [one for one in objects if one is not namespace]
    assert {one["metadata"]["namespace"] for one in others} == {namespace["metadata"]["name"]}


def test_containers_are_unprivileged_bounded_and_read_only(objects: Objects) -> None:
    for name, pod in pods(objects).items():
        (container,) = pod["spec"]["containers"]
        security = container["securityContext"]
        assert pod["spec"]["securityContext"]["runAsNonRoot"] and pod["spec"]["securityContext"]["runAsUser"] > 0, name
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"], name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"], name
        assert pod["spec"]["automountServiceAccountToken"] == ("serviceAccountName" in pod["spec"]), name


def test_every_volume_and_variable_of_a_pod_has_its_source(objects: Objects) -> None:
    names = {kind: {one["metadata"]["name"] for one in of_kind(objects, kind)} for kind in ("ConfigMap", "PersistentVolumeClaim")}
    for pod in pods(objects).values():
        (container,) = pod["spec"]["containers"]
        volumes = {one["name"]: one for one in pod["spec"].get("volumes", ())}
        assert {mount["name"] for mount in container.get("volumeMounts", ())} == volumes.keys()
        assert {one["configMap"]["name"] for one in volumes.values() if "configMap" in one} <= names["ConfigMap"]
        claims = {one["persistentVolumeClaim"]["claimName"] for one in volumes.values() if "persistentVolumeClaim" in one}
        assert claims <= names["PersistentVolumeClaim"]
        assert {one["secret"]["secretName"] for one in volumes.values() if "secret" in one} <= SECRETS
        sources = container.get("envFrom", ())
        assert {one["configMapRef"]["name"] for one in sources if "configMapRef" in one} <= names["ConfigMap"]
        assert {one["secretRef"]["name"] for one in sources if "secretRef" in one} <= SECRETS


def test_services_budgets_and_routes_reach_a_pod_at_a_port_that_it_opens(objects: Objects) -> None:
    labels = [pod["metadata"]["labels"] for pod in pods(objects).values()]
    ports = {
        name: {port["containerPort"] for port in pod["spec"]["containers"][0].get("ports", ())}
        for name, pod in pods(objects).items()
    }
    for service in of_kind(objects, "Service"):
        assert any(service["spec"]["selector"].items() <= one.items() for one in labels)
        assert {port["port"] for port in service["spec"]["ports"]} <= ports[service["spec"]["selector"]["app"]]
    for budget in of_kind(objects, "PodDisruptionBudget"):
        assert any(budget["spec"]["selector"]["matchLabels"].items() <= one.items() for one in labels)
    services = {one["metadata"]["name"] for one in of_kind(objects, "Service")}
    for route in of_kind(objects, "HTTPRoute"):
        assert {end["name"] for rule in route["spec"]["rules"] for end in rule["backendRefs"]} <= services


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_prometheus_reads_the_pods_that_have_metrics_under_the_jobs_that_the_rules_name(overlay: str) -> None:
    objects = rendered(overlay)
    jobs = dict[str, str]()
    for monitor in of_kind(objects, "PodMonitor"):
        pod = pods(objects)[monitor["spec"]["selector"]["matchLabels"]["app"]]
        assert monitor["spec"].keys() == {"selector", "podMetricsEndpoints"}
        (end,) = monitor["spec"]["podMetricsEndpoints"]
        assert end.keys() == {"targetPort", "path", "interval", "relabelings"}
        assert {"containerPort": end["targetPort"]} in pod["spec"]["containers"][0]["ports"] and end["path"] == "/metrics"
        jobs |= {
            one["replacement"]: pod["metadata"]["labels"]["app"] for one in end["relabelings"] if one["targetLabel"] == "job"
        }
        (policy,) = (
            one for one in of_kind(objects, "NetworkPolicy") if one["metadata"]["name"] == pod["metadata"]["labels"]["app"]
        )
        (rule,) = policy["spec"]["ingress"]
        assert {"namespaceSelector": {"matchLabels": {"role": "monitoring"}}} in rule["from"]
        assert rule["ports"] == [{"port": end["targetPort"]}]
    assert jobs == {SERVICE_JOB: "predictions", PLATFORM_JOB: "status"}


def test_runs_get_the_image_and_the_settings_of_the_daemon(objects: Objects) -> None:
    daemon = pods(objects)["dagster-daemon"]["spec"]["containers"][0]
    variables = {one["name"]: one.get("value") for one in daemon["env"]}
    assert variables["DAGSTER_CURRENT_IMAGE"] == daemon["image"] == pods(objects)["code"]["spec"]["containers"][0]["image"]
    (instance,) = (one for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"] == "dagster")
    launcher = yaml.safe_load(instance["data"]["dagster.yaml"])["run_launcher"]["config"]
    assert launcher["env_config_maps"] == ["platform"] and launcher["env_secrets"] == ["platform"]
    assert {mount["mountPath"] for mount in launcher["volume_mounts"]} == {"/mlops", "/signing", "/tmp"}


def test_the_key_that_signs_models_is_in_no_server(objects: Objects) -> None:
    signing = {
        name for name, pod in pods(objects).items() if "signing" in {one["name"] for one in pod["spec"].get("volumes", ())}
    }
    assert signing == {"code"}  # and runs, which sign


def test_the_settings_are_a_legal_environment(objects: Objects) -> None:
    for one in of_kind(objects, "ConfigMap"):
        if one["metadata"]["name"] in ("platform", "predictions"):
            environment = read_environment(one["data"], PROJECT)
            assert environment.name == "production" and str(environment.home.root) == "/mlops"


@pytest.mark.parametrize("overlay", ["staging", "production"])
def test_images_of_shared_environments_are_named_by_digest(overlay: str) -> None:
    own = [
        pod["spec"]["containers"][0]["image"]
        for name, pod in pods(rendered(overlay)).items()
        if name not in ("sign-in", "backup")
    ]
    assert all("@sha256:" in image for image in own)
