"""A use case that does not load or compile is named where people look, and takes down no other."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import mlops_assets.use_cases
from mlops_assets.definitions import defs
from mlops_assets.spec.gate import Gate
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases.flight_delay import USE_CASE

BROKEN = (
    "team.churn · churn · UseCase · slices · 'city' is not an input of the model; inputs: age. Use one of these or declare it."
)


class Misnamed(Gate):
    """Its name needs a field that it does not have, which is legal until its check gets the name."""

    NAME = "above_{bound}"


UNCOMPILED = USE_CASE.but(name="other_line", gates=(Misnamed(),))


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
