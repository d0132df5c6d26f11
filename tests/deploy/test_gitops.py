"""deploy/gitops applies each overlay to its own namespace. The fields are those of Argo CD 3, checked here by name alone."""

from typing import Any

import pytest
import yaml

from mlops_assets.foundation.home import PROJECT
from tests.deploy.test_kubernetes import OVERLAYS, of_kind, rendered

PROJECT_OF_ARGO, *APPLICATIONS = yaml.safe_load_all((PROJECT / "deploy" / "gitops" / "applications.yaml").read_text())
FIELDS = {
    "project": str,
    "source": {"repoURL": str, "targetRevision": str, "path": str},
    "destination": {"server": str, "namespace": str},
    "syncPolicy": {
        "automated": {"prune": bool, "selfHeal": bool},
        "syncOptions": list,
        "retry": {"limit": int, "backoff": {"duration": str, "factor": int, "maxDuration": str}},
    },
    "ignoreDifferences": list,
}


def form(value: Any) -> Any:
    return {name: form(one) for name, one in value.items()} if isinstance(value, dict) else type(value)


def test_there_is_one_application_for_each_overlay() -> None:
    paths = [one["spec"]["source"]["path"] for one in APPLICATIONS]
    assert paths == [f"deploy/k8s/overlays/{overlay}" for overlay in OVERLAYS]
    assert all((PROJECT / path / "kustomization.yaml").is_file() for path in paths)


@pytest.mark.parametrize(("overlay", "application"), zip(OVERLAYS, APPLICATIONS, strict=True))
def test_an_application_is_well_formed_and_its_project_lets_it_make_what_its_overlay_has(
    overlay: str, application: dict[str, Any]
) -> None:
    spec, limits = application["spec"], PROJECT_OF_ARGO["spec"]
    assert (application["apiVersion"], application["kind"]) == ("argoproj.io/v1alpha1", "Application")
    assert form(spec) == FIELDS and spec["project"] == PROJECT_OF_ARGO["metadata"]["name"]
    assert spec["destination"] in limits["destinations"] and [spec["source"]["repoURL"]] == limits["sourceRepos"]
    (namespace,) = of_kind(rendered(overlay), "Namespace")
    assert spec["destination"]["namespace"] == namespace["metadata"]["name"]
    cluster_wide = {one["kind"] for one in rendered(overlay) if "namespace" not in one["metadata"]}
    assert limits["clusterResourceWhitelist"] == [{"group": "", "kind": kind} for kind in cluster_wide]


@pytest.mark.parametrize(("overlay", "application"), zip(OVERLAYS, APPLICATIONS, strict=True))
def test_an_application_leaves_replicas_to_the_autoscaler_and_keeps_volumes(overlay: str, application: dict[str, Any]) -> None:
    scaled = [one["spec"]["scaleTargetRef"] for one in of_kind(rendered(overlay), "HorizontalPodAutoscaler")]
    ignored = application["spec"]["ignoreDifferences"]
    assert [(one["kind"], one["name"], one["jsonPointers"]) for one in ignored] == [
        (one["kind"], one["name"], ["/spec/replicas"]) for one in scaled
    ]
    assert "RespectIgnoreDifferences=true" in application["spec"]["syncPolicy"]["syncOptions"]
    options = [one["metadata"].get("annotations", {}) for one in of_kind(rendered(overlay), "PersistentVolumeClaim")]
    assert {one.get("argocd.argoproj.io/sync-options") for one in options} == {"Prune=false,Delete=false"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_reads_the_tables_of_dagster_starts_after_the_code_location_which_makes_them(overlay: str) -> None:
    waves = {one["metadata"]["name"]: one["metadata"].get("annotations", {}) for one in of_kind(rendered(overlay), "Deployment")}
    later = {name for name, annotations in waves.items() if annotations.get("argocd.argoproj.io/sync-wave") == "1"}
    readers = {"dagster-ui", "dagster-daemon", "status"} & waves.keys()
    assert later == readers and not waves["code"]
