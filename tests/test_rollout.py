"""Rollouts by hand, with the real deployment folder, real keys and the real command line."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mlops_assets.cli import app
from mlops_assets.ports.deployment import Deployment, IllegalRoute, Plan, UnknownVersion
from mlops_assets.ports.home import Home
from mlops_assets.ports.signing_keys import SigningKeys
from mlops_assets.rollout import roll_out
from mlops_assets.stages.bless import UnblessedModel
from tests.serving.flights import blessed, flip_a_bit, place_blessed, tiny_model

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
USE_CASE = "flight_delay"
NOTHING: dict[str, Any] = {"challenger": None, "share": 0.0, "split": "canary", "shadow": None}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Version 1 answers; 2 and 3 are blessed and placed."""
    home = Home(tmp_path)
    for version in (1, 2, 3):
        place_blessed(home, version, bias=version)
    Deployment(home.deployments, USE_CASE).point(1, NOW.isoformat(), "first")
    return home


@pytest.fixture
def told(home: Home, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLOPS_ENV", "test")
    monkeypatch.setenv("MLOPS_HOME", str(home.root))
    monkeypatch.setenv("MLOPS_SERVICE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("COLUMNS", "1000")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments])

    return run


def plan_in_force(home: Home) -> Plan:
    plan = Deployment(home.deployments, USE_CASE).plan()
    assert plan is not None
    return plan


def test_blessed_versions_run_beside_the_champion_and_nothing_named_ends_it(home: Home):
    plan = roll_out(home, USE_CASE, challenger=2, share=0.05, split="ab", shadow=3, at=NOW, reason="is it better?")
    said = (NOW.isoformat(), "route: is it better?")
    assert plan == plan_in_force(home) == Plan(2, 1, None, *said, challenger=2, share=0.05, split="ab", shadow=3)
    ended = roll_out(home, USE_CASE, **NOTHING, at=NOW, reason="enough")
    assert ended == plan_in_force(home) == Plan(3, 1, None, NOW.isoformat(), "route: enough")


@pytest.mark.parametrize("slot", ["challenger", "shadow"])
def test_a_version_that_is_not_blessed_or_not_placed_receives_no_traffic(home: Home, slot: str):
    model, deployment = tiny_model(4), Deployment(home.deployments, USE_CASE)
    deployment.place(4, model, blessed(model, SigningKeys(home.keys), use_case="other").to_json())
    deployment.place(5, model, "no blessing at all")
    flip_a_bit(home.deployments / USE_CASE / "models" / "2" / "model.onnx")
    before = plan_in_force(home)
    for version, refusal in ((2, UnblessedModel), (4, UnblessedModel), (5, UnblessedModel), (9, UnknownVersion)):
        with pytest.raises(refusal):
            roll_out(home, USE_CASE, **(NOTHING | {slot: version}), at=NOW, reason="")
    assert plan_in_force(home) == before


def test_before_the_first_champion_nothing_runs_beside(tmp_path: Path):
    home = Home(tmp_path)
    place_blessed(home, 1, bias=1)
    with pytest.raises(IllegalRoute, match="nobody answers yet"):
        roll_out(home, USE_CASE, **(NOTHING | {"shadow": 1}), at=NOW, reason="")


def test_the_command_line_routes_and_ends_a_rollout(home: Home, told: Any):
    result = told("route", USE_CASE, "--challenger", "2", "--share", "0.05", "--split", "ab", "--shadow", "3", "--reason", "try")
    assert result.output == "flight_delay: version 1 answers; ab: 5% to version 2, shadow: version 3 (plan 2).\n"
    plan = plan_in_force(home)
    assert (plan.challenger, plan.share, plan.split, plan.shadow, plan.reason) == (2, 0.05, "ab", 3, "route: try")
    assert told("route", USE_CASE).output == "flight_delay: version 1 answers; nothing runs beside it (plan 3).\n"
    assert plan_in_force(home).rollout == ""


def test_status_tells_the_rollout(told: Any):
    told("route", USE_CASE, "--challenger", "2", "--share", "0.05", "--reason", "try")
    lines = told("status", USE_CASE).output.splitlines()
    assert lines[1].startswith("  plan 2: version 1 (canary: 5% to version 2) since ")
    assert lines[1].endswith("· route: try")
    assert lines[2] == "  plan 1: version 1 since 2026-01-01 00:00:00 UTC · first"


@pytest.mark.parametrize(
    ("options", "because"),
    [
        (("--challenger", "9", "--share", "0.1"), "version 9 is not placed; placed: 1, 2, 3"),
        (("--challenger", "2", "--share", "5"), "share is 5.0; legal: 0 to 1"),
        (("--challenger", "1", "--share", "0.1"), "the challenger is the champion"),
        (("--share", "0.1"), "there is no challenger"),
        (("--challenger", "2", "--split", "half"), "is not one of 'canary', 'ab'"),
        (("--shadow", "4"), "Bless the model again"),
    ],
)
def test_a_refused_route_is_told_plainly_and_changes_nothing(home: Home, told: Any, options: tuple[str, ...], because: str):
    Deployment(home.deployments, USE_CASE).place(4, b"", "no blessing")
    before = plan_in_force(home)
    result = told("route", USE_CASE, *options)
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert because in result.output or (because == "no blessing" and "Bless the model again" in result.output)
    assert plan_in_force(home) == before
