"""A use case that does not load or compile is named where people look, and takes down no other."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import mlops_assets.use_cases
from mlops_assets.definitions import defs
from mlops_assets.foundation.home import PROJECT, Home
from mlops_assets.spec.gate import Gate
from mlops_assets.spec.monitor import OwnMonitor
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.cli.loans import LOANS
from tests.graph.line import variables

BROKEN = (
    "team.churn · churn · UseCase · slices · 'city' is not an input of the model; inputs: age. Use one of these or declare it."
)


class Misnamed(Gate):
    """Its name needs a field that it does not have, which is legal until its check gets the name."""

    NAME = "above_{bound}"


class MisnamedMonitor(OwnMonitor):
    """Its check has a name that Dagster refuses."""

    CHECK = "no check"


UNCOMPILED = USE_CASE.but(name="other_line", gates=(Misnamed(),))
UNNAMEABLE = LOANS.but(name="unnameable", features=LOANS.features.but(service="unnameable"), monitors=(MisnamedMonitor(),))


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads the code location with these use cases."""
    monkeypatch.setenv("MLOPS_ENV", "test")
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.delenv("MLOPS_USE_CASE", raising=False)
    monkeypatch.delenv("DAGSTER_IS_DEFS_VALIDATION_CLI", raising=False)

    def build(use_cases: tuple[UseCase, ...], not_loaded: tuple[str, ...]) -> dg.Definitions:
        monkeypatch.setattr(mlops_assets.use_cases, "USE_CASES", use_cases)
        monkeypatch.setattr(mlops_assets.use_cases, "NOT_LOADED", not_loaded)
        return defs()

    return build


def test_the_other_use_cases_keep_their_graph_and_a_sensor_fails_with_the_reason(load: Any) -> None:
    definitions = load((UNCOMPILED, USE_CASE), (BROKEN,))
    keys = definitions.resolve_asset_graph().get_all_asset_keys()
    assert {key.path[0] for key in keys} == {"flight_delay"}
    assert dg.AssetKey(["flight_delay", "candidate"]) in keys
    with pytest.raises(IllegalDeclaration) as raised, dg.build_sensor_context() as context:
        definitions.resolve_sensor_def("illegal_declarations").evaluate_tick(context)
    broken, uncompiled, advice = str(raised.value).splitlines()
    assert broken == BROKEN
    assert uncompiled.startswith("other_line · does not compile: ") and "'bound'" in uncompiled
    assert advice == "Run `mlops check`, correct them, and reload the code location."


def test_without_a_problem_there_is_no_such_sensor(load: Any) -> None:
    sensors = load((USE_CASE,), ()).sensors
    assert "illegal_declarations" not in {sensor.name for sensor in sensors}


def test_a_code_location_has_the_use_cases_that_the_environment_names(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    other = USE_CASE.but(name="other_line")
    for named, built in (("other_line", {"other_line"}), ("", {"other_line", "flight_delay"}), ("flight_dely", set[str]())):
        monkeypatch.setenv("MLOPS_USE_CASE", named)
        definitions = load((USE_CASE, other), ())
        assert {key.path[0] for key in definitions.resolve_asset_graph().get_all_asset_keys()} == built
    message = r"MLOPS_USE_CASE · found 'flight_dely'; legal: flight_delay, other_line\. Name one of these\."
    with pytest.raises(IllegalDeclaration, match=message), dg.build_sensor_context() as context:
        definitions.resolve_sensor_def("illegal_declarations").evaluate_tick(context)


def test_dagsters_validation_fails_with_every_problem(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    features = USE_CASE.features.but(numeric=("distanse",))
    illegal = USE_CASE.but(features=features, slices=(), gates=USE_CASE.gates[:2])
    load((), ())
    monkeypatch.setenv("DAGSTER_IS_DEFS_VALIDATION_CLI", "1")
    with pytest.raises(IllegalDeclaration) as raised:
        load((illegal,), (BROKEN,))
    broken, unknown_input = str(raised.value).splitlines()
    assert broken == BROKEN
    assert unknown_input.startswith(
        "flight_delay · UseCase · features.inputs · 'distanse' comes from no view and not from the request"
    )


def test_dagsters_validation_passes_what_is_legal(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_IS_DEFS_VALIDATION_CLI", "1")
    assert load((USE_CASE,), ()).sensors


OWN_PROJECT = {
    "first": "from tests.cli.loans import LOANS\nUSE_CASE = LOANS.but(name='first')",
    "import_error": "import no_such_library",
    "second": "from mlops_assets.use_cases.tumor import USE_CASE",
    "uncompiled": "from tests.graph.test_compile import UNCOMPILED as USE_CASE",
    "unnameable": "from tests.graph.test_compile import UNNAMEABLE as USE_CASE",
}
READ = """
import json, os
from typer.testing import CliRunner
from mlops_assets.cli.app import app
from mlops_assets.cli.status import status_pages
from mlops_assets.definitions import build
from mlops_assets.foundation.home import PROJECT, read_environment
graph = sorted({key.path[0] for key in build().resolve_asset_graph().get_all_asset_keys()})
page, metrics = status_pages(read_environment(os.environ, PROJECT), {"service": "http://127.0.0.1:9"})
status = CliRunner().invoke(app, ["status", "--json"], catch_exceptions=False).output
print(json.dumps({"graph": graph, "status": json.loads(status), "page": page(), "metrics": metrics()}))
"""


def test_a_project_s_other_use_cases_have_a_graph_a_status_a_page_and_metrics(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.mlops]\nuse_cases = 'own_cases'\n")
    for name, text in OWN_PROJECT.items():
        folder = tmp_path / "own_cases" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(f"{text}\n")
    Home(tmp_path / "home").landing.mkdir(parents=True)
    own = variables(tmp_path / "home") | {"MLOPS_PROJECT": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    process = subprocess.run([sys.executable, "-c", READ], env=os.environ | own, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    read = json.loads(process.stdout.splitlines()[-1])
    assert read["graph"] == ["first", "tumor"]
    assert {one["use_case"] for one in read["status"]["use_cases"]} > {"first", "tumor"}
    for problem in (
        "own_cases.import_error · does not load: ModuleNotFoundError: No module named",
        "other_line · does not compile: KeyError:",
        "unnameable · does not compile: Dagster",
    ):
        assert [one for one in read["status"]["problems"] if one.startswith(f"not loaded: {problem}")], problem
        assert problem in read["page"]
    assert "mlops_declarations_not_loaded 3.0" in read["metrics"]
    assert 'mlops_servers_configured{use_case="first"}' in read["metrics"]
