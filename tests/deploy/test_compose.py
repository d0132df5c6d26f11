"""deploy/compose.yaml starts what deploy/k8s starts, with the same settings, and names nothing that is not there. No Docker runs it."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from mlops_assets.foundation.home import PROJECT, read_environment
from mlops_assets.graph.kernel.one_daemon import OneDaemon
from mlops_assets.graph.kernel.server_launcher import ServerRunLauncher
from tests.deploy.test_kubernetes import of_kind, pods, rendered
from tests.servers.postgres_server import running_postgres

FOLDER = PROJECT / "deploy"
FILE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
OURS = ("code", "dagster-daemon", "dagster-ui", "status", "mlflow", "predictions")
STORES = ("postgres", "redis")
OTHERS = re.compile(r"DAGSTER_|POSTGRES_|MLFLOW_|BENTOML_|POLARS_|HOME$|DO_NOT_TRACK$")  # variables of the libraries themselves
PAGES = ("docs/operating.md", "docs/kubernetes.md")


def settings(name: str) -> dict[str, str]:
    return SERVICES[name]["environment"]


def test_the_services_are_those_of_the_cluster_and_the_stores() -> None:
    assert {*SERVICES} == {*OURS, *STORES} == {*pods(rendered("production"))} - {"sign-in", "backup"} | {*STORES}


@pytest.mark.parametrize("name", OURS)
def test_a_service_has_the_command_the_port_and_the_user_that_it_has_in_the_cluster(name: str) -> None:
    pod = pods(rendered("production"))[name]["spec"]
    (container,) = pod["containers"]
    assert SERVICES[name].get("command") == container.get("args")
    inside = [int(one.rpartition(":")[2]) for one in SERVICES[name].get("ports", ())]
    assert inside in ([], [port["containerPort"] for port in container.get("ports", ())])
    assert SERVICES[name]["user"] == f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"


@pytest.mark.parametrize("name", ["platform", "predictions"])
def test_the_settings_are_legal_and_those_of_the_cluster(name: str) -> None:
    environment = settings({"platform": "code"}.get(name, name))
    (theirs,) = (one["data"] for one in of_kind(rendered("dev"), "ConfigMap") if one["metadata"]["name"] == name)
    assert theirs.items() <= environment.items()
    assert read_environment(environment, PROJECT).redis_url == "redis://redis:6379/0"


def test_every_variable_is_documented_or_of_a_library() -> None:
    documented = {name for page in PAGES for name in re.findall(r"`([A-Z_]+)`", (PROJECT / page).read_text())}
    named = {name for service in SERVICES for name in SERVICES[service].get("environment", ())}
    assert {name for name in named if not OTHERS.match(name)} <= documented


def test_an_image_has_a_dockerfile_or_a_tag_and_a_variable_for_its_digest() -> None:
    for name, service in SERVICES.items():
        match = re.fullmatch(r"\$\{[A-Z]+_IMAGE:-([\w/]+)(:\d+)?\}", service["image"])
        assert match and bool(match[2]) == (name in STORES) == ("build" not in service), name
        if build := service.get("build"):
            assert (FOLDER / build["context"] / build["dockerfile"]).is_file()


def test_containers_are_unprivileged_and_read_only_start_again_and_report_their_health() -> None:
    for name, service in SERVICES.items():
        assert service["user"] not in ("root", "0") and service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service, name
        assert service["restart"] == "unless-stopped" and service["healthcheck"]["test"][0] == "CMD", name


def test_ports_do_not_clash_and_only_this_machine_reaches_them() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert sorted(int(port.split(":")[1]) for port in published) == [3000, 3001, 3002, 5000]
    assert FILE["networks"]["stores"] == {"internal": True}
    assert all(SERVICES[name]["networks"] == ["stores"] and "ports" not in SERVICES[name] for name in STORES)


def test_every_reference_has_its_target_and_secrets_come_from_files_outside_of_the_project() -> None:
    for kind in ("configs", "secrets"):
        named = [one if isinstance(one, str) else one["source"] for service in SERVICES.values() for one in service.get(kind, ())]
        assert {*named} == {*FILE[kind]}
    volumes = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert volumes == {*FILE["volumes"]}
    assert {name for service in SERVICES.values() for name in service.get("depends_on", ())} <= {*SERVICES}
    assert {name for service in SERVICES.values() for name in service["networks"]} == {*FILE["networks"]}
    assert all((FOLDER / one["file"]).is_file() for one in FILE["configs"].values())
    files = [one["file"] for one in FILE["secrets"].values()]
    files += [file for service in SERVICES.values() for file in service.get("env_file", ())]
    assert all(file.startswith("/etc/mlops/") for file in files)


def test_one_process_makes_the_tables_of_dagster_before_another_reads_them() -> None:
    readers = [name for name, service in SERVICES.items() if any("dagster" in str(one) for one in service.get("configs", ()))]
    waiting = [name for name in readers if name in OURS and name != "code"]
    assert {*waiting} == {"dagster-daemon", "dagster-ui", "status"}
    assert all(SERVICES[name]["depends_on"]["code"] == {"condition": "service_healthy"} for name in waiting)


def test_the_key_that_signs_models_is_in_the_code_location_alone() -> None:
    assert [name for name, service in SERVICES.items() if "signing" in str(service.get("secrets"))] == ["code"]


def test_its_instance_of_dagster_opens_and_is_that_of_a_laptop_but_for_what_containers_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (FOLDER / FILE["configs"]["dagster"]["file"]).read_text()
    shared = ("storage", "compute_logs", "local_artifact_storage", "run_launcher")
    ours, laptop = yaml.safe_load(text), yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    assert all(name in ours for name in shared)
    assert {name: ours[name] for name in ours if name not in shared} == {
        name: laptop[name] for name in laptop if name not in shared
    }
    (tmp_path / "dagster.yaml").write_text(text.replace("/mlops/", f"{tmp_path}/"))
    with running_postgres() as server:
        (scheme,) = {*re.findall(r"MLOPS_DAGSTER_STORAGE=([\w+]+)://", (PROJECT / "docs" / "kubernetes.md").read_text())}
        monkeypatch.setenv("MLOPS_DAGSTER_STORAGE", server.new_database().replace("postgresql", scheme, 1))
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            instance.report_runless_asset_event(dg.AssetMaterialization("landed"))
            assert instance.get_latest_materialization_event(dg.AssetKey("landed"))
            assert isinstance(instance.run_launcher, ServerRunLauncher) and isinstance(instance.run_coordinator, OneDaemon)


def test_the_databases_are_those_of_the_documented_addresses() -> None:
    made = re.findall(r"CREATE DATABASE (\w+);", (FOLDER / "compose" / "databases.sql").read_text())
    page = (PROJECT / "docs" / "kubernetes.md").read_text()
    assert (
        {settings("postgres")["POSTGRES_DB"], *made} == {*re.findall(r"@postgres/(\w+)", page)} == {"dagster", "ledger", "mlflow"}
    )
