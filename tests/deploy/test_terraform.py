"""deploy/terraform as far as it goes without AWS: its form, how modules are wired, its variables, and what it gives the overlays."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mlops_assets.foundation.home import PROJECT
from tests.deploy.test_kubernetes import SECRETS, of_kind, rendered

FOLDER = PROJECT / "deploy" / "terraform"
LEGAL = {
    "region": "eu-central-1",
    "zones": '["eu-central-1a","eu-central-1b"]',
    "admin_cidrs": '["203.0.113.0/24"]',
    "redis_password": "a1" * 16,
    "github_repository": "acme/mlops",
}
ILLEGAL = {
    "name": "MLOps",
    "region": "Frankfurt",
    "zones": '["eu-central-1a","eu-central-1a"]',
    "cidr": "10.0.0.0/24",
    "admin_cidrs": '["0.0.0.0/0"]',
    "kubernetes_version": "1.29",
    "namespace": "default",
    "database_class": "m7g.large",
    "cache_type": "m7g.large",
    "redis_password": "short",
    "github_repository": "acme",
}
terraform = pytest.mark.skipif(not shutil.which("terraform"), reason="there is no terraform on the PATH")


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["terraform", *arguments], capture_output=True, text=True, check=False)


def text(*path: str) -> str:
    return FOLDER.joinpath(*path).read_text()


def declared(kind: str, content: str) -> list[str]:
    return re.findall(rf'^{kind} "(\w+)"', content, re.MULTILINE)


@terraform
def test_every_file_is_parsed_and_formatted() -> None:
    done = run(f"-chdir={FOLDER}", "fmt", "-check", "-recursive")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The variables alone, which need no provider."""
    folder = tmp_path_factory.mktemp("variables")
    shutil.copy(FOLDER / "variables.tf", folder)
    assert run(f"-chdir={folder}", "init").returncode == 0
    return folder


def plan(folder: Path, **values: str) -> "subprocess.CompletedProcess[str]":
    return run(
        f"-chdir={folder}", "plan", "-input=false", "-no-color", *(f"-var={name}={value}" for name, value in values.items())
    )


@terraform
def test_legal_values_are_taken_and_each_illegal_one_is_refused_by_its_name(variables: Path) -> None:
    assert plan(variables, **LEGAL).returncode == 0
    refused = plan(variables, **LEGAL | ILLEGAL)
    messages = re.findall(r"^([a-z_]+): ", refused.stderr, re.MULTILINE)
    assert refused.returncode and sorted(messages) == sorted(ILLEGAL) == sorted(declared("variable", text("variables.tf")))


def test_a_module_gets_the_variables_that_it_declares_and_uses_and_gives_what_is_read_of_it() -> None:
    whole = text("main.tf") + text("outputs.tf")
    blocks = re.findall(r'^module "(\w+)" \{\n(.*?)^\}', whole, re.DOTALL | re.MULTILINE)
    assert {name for name, _ in blocks} == {path.name for path in (FOLDER / "modules").iterdir()}
    for name, block in blocks:
        module = text("modules", name, "main.tf")
        passed = {*re.findall(r"^  (\w+) +=", block, re.MULTILINE)} - {"source"}
        assert passed == {*declared("variable", module)} == {*re.findall(r"\bvar\.(\w+)", module)}, name
        assert {*re.findall(rf"\bmodule\.{name}\.(\w+)", whole)} == {*declared("output", module)}, name


def test_every_variable_is_used() -> None:
    used = {*re.findall(r"\bvar\.(\w+)", text("main.tf") + text("versions.tf"))}
    assert used == {*declared("variable", text("variables.tf"))}


def test_its_outputs_are_what_overlays_and_the_platform_read() -> None:
    outputs, page = text("outputs.tf"), (PROJECT / "docs" / "kubernetes.md").read_text()
    assert all(f"`{name}`" in page for name in declared("output", outputs))
    entries = {*re.findall(r"^    (\w+) +=", outputs, re.MULTILINE)}
    (row,) = re.findall(r"^\| `platform` \|(.*)\|$", page, re.MULTILINE)
    assert "platform" in SECRETS and entries == {*re.findall(r"`(MLOPS_\w+)`", row)} - {"MLOPS_API_KEY", "MLOPS_ALERTS"}
    images = re.findall(r'"(\w+)"', re.findall(r"toset\((.*)\)", text("modules", "registry", "main.tf"))[0])
    overlay = (PROJECT / "deploy" / "k8s" / "overlays" / "production" / "kustomization.yaml").read_text()
    assert images == re.findall(r"- \{name: (\w+), newName", overlay)


def test_the_identity_is_that_of_the_service_account_of_runs() -> None:
    (account,) = re.findall(r'service_account += "(\w+)"', text("modules", "identity", "main.tf"))
    assert account in {one["metadata"]["name"] for one in of_kind(rendered("production"), "ServiceAccount")}
