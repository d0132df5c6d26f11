"""`mlops init` outside the checkout, with the package as its wheel installs it: the project's own use cases are checked, landed,
served and loaded by Dagster.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_assets.foundation.home import PROJECT
from mlops_assets.local.new_project import CannotInit, write_project

Run = Callable[..., str]


def clean_environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLOPS_", "DAGSTER_"))}
    return kept | {"PYTHONPATH": str(folder / "site"), "PYTHONWARNINGS": "ignore"}


def installed(folder: Path) -> Run:
    """Builds the wheel and unpacks it; runs a module in a folder by that alone, and returns both its outputs."""
    build = (sys.executable, "-m", "uv", "build", "--wheel", "--offline")  # `make install` has cached what it needs
    command = [*build, "--python", sys.executable, "--out-dir", str(folder / "wheel"), str(PROJECT)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    (wheel,) = (folder / "wheel").glob("*.whl")
    shutil.unpack_archive(wheel, folder / "site", "zip")

    def run_(place: Path, *arguments: str, module: str = "mlops_assets", **variables: str) -> str:
        environment, command = clean_environment(folder) | variables, [sys.executable, "-m", module, *arguments]
        done = subprocess.run(
            command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return done.stdout

    return run_


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return installed(tmp_path)


@pytest.mark.slow  # commands, 3 s of CPU each
def test_a_new_project_has_its_own_home_and_a_use_case_that_a_broken_one_does_not_take_down(run: Run, tmp_path: Path) -> None:
    project = tmp_path / "churn"
    write_project(project)
    shutil.copytree(project / "churn" / "use_cases" / "diabetes", project / "churn" / "use_cases" / "broken")
    file = project / "churn" / "use_cases" / "broken" / "__init__.py"
    file.write_text(file.read_text().replace("bound=0.1", 'bound="high"'))
    checked = run(project, "check")
    assert checked.startswith("churn.use_cases.broken · Floor · bound = 'high' · "), checked
    check, environment = [str(Path(sys.executable).with_name("dg")), "check", "defs"], clean_environment(tmp_path)
    refused = subprocess.run(check, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode, "the platform itself goes on without a broken use case"
    assert "churn.use_cases.broken · Floor · bound = 'high' · " in refused.stdout + refused.stderr
    landed = run(project / "churn" / "use_cases", "land", "diabetes")
    assert landed.startswith("1 file, 1 new or changed."), landed
    assert (project / ".mlops" / "landing" / "diabetes" / "patients" / "snapshot.csv").exists()


@pytest.mark.slow  # four commands, 3 s of CPU each
def test_an_installed_package_without_a_project_says_how_to_make_one(run: Run, tmp_path: Path) -> None:
    assert run(tmp_path, "status").startswith("no project · here or above is no pyproject.toml with [tool.mlops].")
    assert run(tmp_path, "init", "churn").endswith("A project of its own in churn: its README has the next commands.\n")
    assert "diabetes is legal." in run(tmp_path / "churn", "check")
    refused = " ".join(run(tmp_path / "churn", "land", "tumor", COLUMNS="1000").split())
    assert "use case 'tumor' is not declared; declared: diabetes." in refused


@pytest.mark.slow  # three code servers, 5 s of CPU each
def test_the_projects_of_two_teams_are_two_code_locations_of_one_workspace(run: Run, tmp_path: Path) -> None:
    for team in ("credit", "retail"):
        write_project(tmp_path / team)
        for file in (tmp_path / team / team / "use_cases" / "diabetes").glob("*.py"):
            file.write_text(file.read_text().replace('name="diabetes"', f'name="{team}_patients"'))
    write_project(tmp_path / "platform", "both")
    (tmp_path / "platform" / "workspace.yaml").write_text(
        "load_from:\n"
        + "".join(
            f"  - python_module: {{module_name: {team}.definitions, location_name: {team}, working_directory: ../{team}}}\n"
            for team in ("credit", "retail")
        )
    )
    validated = run(
        tmp_path / "platform",
        "definitions",
        "validate",
        "--workspace",
        "workspace.yaml",
        module="dagster",
        DAGSTER_HOME=str(tmp_path),
    )
    assert all(f"Validation successful for code location {team}." in validated for team in ("credit", "retail")), validated
    listed = "import importlib, sys; sys.path.append(sys.argv[1]); print(sorted({key.path[0] for key in importlib.import_module(sys.argv[2]).defs.resolve_asset_graph().get_all_asset_keys()}))"
    for team in ("credit", "retail"):
        code = tmp_path / "listed.py"
        code.write_text(listed)
        done = subprocess.run(
            [sys.executable, str(code), str(tmp_path / team), f"{team}.definitions"],
            cwd=tmp_path / "platform",
            env=os.environ | {"PYTHONPATH": str(tmp_path / "site"), "MLOPS_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"{team}_patients" in done.stdout and "flight_delay" not in done.stdout


def test_no_file_is_replaced_and_a_name_that_cannot_be_imported_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    written = {path.relative_to(tmp_path / "mine").as_posix() for path in write_project(tmp_path / "mine")}
    assert written >= {
        "pyproject.toml",
        "dagster.yaml",
        "workspace.yaml",
        ".gitignore",
        "mine/definitions.py",
        "mine/use_cases/diabetes/__init__.py",
    }
    with pytest.raises(CannotInit, match=r"it has .*pyproject.toml.* already. Name another folder, or remove them."):
        write_project(tmp_path / "mine")
    assert not [text for path in (tmp_path / "mine").rglob("*") if path.is_file() and "$" in (text := path.read_text())]
    cases = {
        "2024": "'2024' is no name of a package",
        "class": "'class' is no name of a package",
        "polars": "'polars' is the name of an installed package",
        "mlops-assets": "'mlops_assets' is the name",
    }
    for name, message in cases.items():
        with pytest.raises(CannotInit, match=message):
            write_project(tmp_path / name)
        assert not (tmp_path / name).exists()
    with pytest.raises(CannotInit, match="it is a file; legal: a folder"):
        write_project(tmp_path / "mine" / "notes.txt", "good")
