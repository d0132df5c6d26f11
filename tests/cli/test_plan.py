"""`mlops plan` on a real home: what is stale and why, what triggers found, what delays them, and what it costs."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import UTC_DAYS
from mlops_assets.foundation.home import Home
from mlops_assets.ingestion.landing import Landing
from mlops_assets.spec.monitor import Drift
from mlops_assets.spec.trigger import OnDrift, OnSchedule
from tests.graph.line import variables
from tests.graph.test_first_model import PLAIN, applications
from tests.graph.training_line import TrainingLine

WATCHED = PLAIN.but(monitors=(Drift(),), triggers=(OnSchedule(cron="0 6 * * 1"), OnDrift()))
LANDED = dg.AssetKey(names.landing(PLAIN.name, "applications"))
Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.dagster.mkdir(parents=True)
    (home.dagster / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return home


@pytest.fixture
def instance(home: Home) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        yield instance


@pytest.fixture
def run(home: Home, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", (WATCHED,))
    for name, value in (variables(home.root) | {"COLUMNS": "1000"}).items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(app, ["plan", WATCHED.name, *arguments])


def report(instance: dg.DagsterInstance, *days: int) -> None:
    """Files that have landed."""
    for day in days:
        tags = {"dagster/data_version": str(day)}
        instance.report_runless_asset_event(dg.AssetMaterialization(LANDED, partition=f"2024-03-0{day}", tags=tags))


def test_a_home_on_which_nothing_has_run_is_refused_in_one_sentence(home: Home, run: Run) -> None:
    (home.dagster / "dagster.yaml").unlink()
    result = run()
    assert result.exit_code == 1 and "no platform of its own has run on this home. Start one: `mlops up`, or" in result.stderr


def test_without_a_model_it_says_what_the_first_one_waits_for(instance: dg.DagsterInstance, run: Run) -> None:
    lines = run().stdout.splitlines()
    assert lines[0] == "tables: every one is up to date, waits for a parent, or is being made"
    assert lines[1] == "training: The first training waits: No row has been accepted yet: validated_applications."
    assert lines[2] == "training: what it takes is not known yet: no such run has succeeded"


def test_landed_files_make_the_tables_that_read_them_and_what_follows(instance: dg.DagsterInstance, run: Run) -> None:
    report(instance, 1, 2, 3)
    settled = {one["table"]: one for one in json.loads(run("--json").stdout)["tables"]}
    raw, validated = settled["raw_applications"], settled["validated_applications"]
    assert raw["partitions"] == "3 from 2024-03-01 to 2024-03-03" and raw["why"].startswith("not made yet; newer: landed_app")
    assert validated["why"] == "not made yet; follows raw_applications"


def test_triggers_have_their_cause_and_what_holds_them_up_and_trainings_their_cost(
    home: Home, instance: dg.DagsterInstance, run: Run
) -> None:
    line = TrainingLine(home, instance, WATCHED)
    line.train(refused=True)
    line.judge("drift", "3 of 9 inputs have drifted.")
    text = run().stdout
    assert re.search(r"on_schedule +the next time is 20\d\d-\d\d-\d\d 06:00 UTC\.", text)
    assert "training: due now: drift: 3 of 9 inputs have drifted" in text
    line.train()
    line.judge("drift", "3 of 9 inputs have drifted.")
    text = run().stdout
    assert "A training since 20" in text and "training: none is due now" in text
    assert re.search(r"training: about \d+ s, as the last such run took", text)


def test_without_a_name_it_shows_every_use_case(instance: dg.DagsterInstance, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    both = (WATCHED, WATCHED.but(name="other"))
    for module in ("mlops_assets.cli.arguments", "mlops_assets.use_cases"):
        monkeypatch.setattr(f"{module}.USE_CASES", both)
    lines = CliRunner().invoke(app, ["plan"]).stdout.splitlines()
    assert [line for line in lines if line.endswith(":") and " " not in line] == ["loans:", "other:"]
    plans = json.loads(CliRunner().invoke(app, ["plan", "--json"]).stdout)
    assert [one["use_case"] for one in plans] == ["loans", "other"]


def test_a_pause_is_named_first(home: Home, instance: dg.DagsterInstance, run: Run) -> None:
    TrainingLine(home, instance, WATCHED)
    CliRunner().invoke(app, ["pause", WATCHED.name, "--until", "2099-01-01", "--why", "a move", "--by", "ana"])
    assert run().stdout.startswith("Paused by ana until 2099-01-01 00:00 UTC: a move. Nothing runs by itself")


def test_unreported_files_are_named_by_plan_and_status(home: Home, instance: dg.DagsterInstance, run: Run) -> None:
    landing = Landing(home.landing)
    for day in (1, 2):
        landing.put(PLAIN.name, "applications", day=date(2024, 3, day), rows=applications(day))
    unread = "applications · 2 landed files (2024-03-01, 2024-03-02) have not been read yet. "
    assert run().stdout.startswith(f"data: {unread}")
    assert f"data: {unread}" in CliRunner().invoke(app, ["status", WATCHED.name]).stdout
    for key, digest in landing.scan(PLAIN.name, "applications", calendar=UTC_DAYS, max_bytes=10**6).digests.items():
        tags = {"dagster/data_version": digest}
        instance.report_runless_asset_event(dg.AssetMaterialization(LANDED, partition=key, tags=tags))
    assert "read yet" not in run().stdout + CliRunner().invoke(app, ["status", WATCHED.name]).stdout
