"""The import contracts of pyproject.toml break when a module imports upward, and when a folder has no layer."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_assets.foundation.home import PROJECT

LINT = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's sources, free to change."""
    for package in ("mlops_assets", "feature_repo", "deploy"):
        shutil.copytree(PROJECT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(LINT, cwd=project, capture_output=True, text=True, check=False)


def test_an_upward_import_breaks_the_contract(copy: Path) -> None:
    assert lint(copy).returncode == 0
    module = copy / "mlops_assets" / "statistics" / "metrics.py"
    module.write_text(module.read_text() + "\nimport mlops_assets.serving.client\n")
    result = lint(copy)
    assert result.returncode == 1
    assert "mlops_assets.statistics is not allowed to import mlops_assets.serving" in result.stdout


@pytest.mark.parametrize(("folder", "library"), [("evaluation", "dagster"), ("monitoring", "mlflow"), ("graph", "feast")])
def test_a_library_is_imported_only_in_its_folder(copy: Path, folder: str, library: str) -> None:
    (copy / "mlops_assets" / folder / "stray.py").write_text(f"import {library}\n")
    result = lint(copy)
    assert result.returncode == 1
    assert f"mlops_assets.{folder}.stray -> {library}" in result.stdout


def test_a_folder_without_a_layer_breaks_the_contract(copy: Path) -> None:
    folder = copy / "mlops_assets" / "billing"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    result = lint(copy)
    assert result.returncode == 1
    assert "mlops_assets.billing" in result.stdout
