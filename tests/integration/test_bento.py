"""What `bentoml build` packs: the server's source, and exactly the requirements that it needs."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from mlops_assets.foundation.home import Home
from tests.integration.bento_trial import PROJECT, build, prepare_home, send_requests, served

pytestmark = pytest.mark.integration

REQUIREMENTS = PROJECT / "deploy/requirements.txt"
NOT_NEEDED = {"torch", "pytorch-lightning", "dagster", "mlflow", "evidently", "scikit-learn", "optuna", "onnx", "matplotlib"}
# Hides this project and every package that is not required.
REFUSE = """
import sys
sys.path[:] = [folder for folder in sys.path if folder != {project!r}]
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused!r}:
            raise ModuleNotFoundError(f"{{name}} is not among the requirements of the bento", name=name)
sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a bento, unpacked."""
    folder = tmp_path_factory.mktemp("bento")
    build(folder / "store", folder / "predictions.bento")
    (folder / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", folder / "predictions.bento", "-C", folder / "unpacked"], check=True)
    return folder / "unpacked"


def normal(requirement: str) -> str:
    """The name alone, as PEP 503 compares names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[=<>;!~ ]", requirement)[0]).lower()


def required() -> set[str]:
    return {normal(line) for line in REQUIREMENTS.read_text().splitlines()}


def test_the_requirements_are_what_the_server_group_names_in_the_locked_versions():
    group = tomllib.loads((PROJECT / "pyproject.toml").read_text())["dependency-groups"]["server"]
    assert {normal(name) for name in group} <= required()
    locked = set((PROJECT / "requirements.lock").read_text().split())
    assert [line for line in REQUIREMENTS.read_text().split() if line not in locked] == []
    assert required() & NOT_NEEDED == set()


def test_a_bento_holds_the_server_s_source_and_nothing_secret(bento: Path):
    names = {str(path.relative_to(bento)) for path in bento.rglob("*") if path.is_file()}
    source = {name for name in names if name.startswith("src/")}
    assert "src/deploy/service.py" in source and "src/mlops_assets/serving/http/app.py" in source
    assert {name for name in source if not name.endswith((".py", ".html.jinja"))} == {"src/bentofile.yaml"}
    assert {name.partition("/")[0] for name in names - source} == {"README.md", "bento.yaml", "env", "apis"}


def test_an_unpacked_bento_serves_with_its_own_source_and_requirements(bento: Path, tmp_path: Path):
    refused = {name for name, owners in packages_distributions().items() if not {normal(owner) for owner in owners} & required()}
    assert {"torch", "dagster", "mlflow"} <= refused
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "sitecustomize.py").write_text(REFUSE.format(project=str(PROJECT), refused=refused))
    home = Home(tmp_path / "home")
    token = prepare_home(home)
    with served(bento, Path(sys.executable), home, {"PYTHONPATH": str(tmp_path / "clean"), "PATH": "/usr/bin:/bin"}) as url:
        send_requests(url, token, home)
