"""A home that an earlier release has made and served from is served, judged and trained on by this one.

home_of_earlier_release.tar.xz is the home of commit 013a9fd8 after `mlops run tumor`, `mlops approve` and `mlops predict --sample 3`,
at /srv/platform, without event log and reports. To replace it, do the same with a later commit.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import WHOLE_TABLE
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.foundation.home import PROJECT, Home, read_environment
from mlops_assets.use_cases.tumor import USE_CASE
from tests.graph.line import Line, variables
from tests.integration.running_service import Server, started

pytestmark = pytest.mark.integration
ARCHIVE = Path(__file__).with_name("home_of_earlier_release.tar.xz")
ROWS, FIRST_ID = 569, "3efb3159b1a22b9f569bb8338f073d8b"
Run = Callable[..., str]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """At another place than it was made."""
    shutil.unpack_archive(ARCHIVE, tmp_path / "home", filter="data")
    return Home(tmp_path / "home")


@pytest.fixture
def run(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    for name, value in {**variables(home.root), "COLUMNS": "500"}.items():
        monkeypatch.setenv(name, value)

    def run_(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    yield run_


def logged(home: Home) -> list[dict[str, object]]:
    return [json.loads(line) for path in home.prediction_log.rglob("*.jsonl") for line in path.read_text().splitlines()]


def test_the_champion_answers_as_it_did(home: Home) -> None:
    before = logged(home)
    row = {name: before[0][name] for name in USE_CASE.features.request}
    with started(server := Server(home, variables={"MLOPS_USE_CASE": USE_CASE.name})):
        (answer,) = server.predict({"rows": [row]}, f"/{USE_CASE.name}/predict").content["predictions"]
    assert answer["probability"] == pytest.approx(before[0]["probability"], abs=1e-6) and answer["model_version"] == 1
    assert len(logged(home)) == len(before) + 1 == 4


def test_its_records_hold_and_an_answer_is_explained_and_computed_again(run: Run) -> None:
    assert run("ledger", "verify", USE_CASE.name) == "tumor · intact: 3 records.\n"
    status = run("status", USE_CASE.name)
    assert "serving: version 1 since 2026-12-01 03:03:12 UTC" in status and "The evaluation was read." in status
    assert "signature and digest verified" in run("why", FIRST_ID, "--use-case", USE_CASE.name)
    assert run("replay", FIRST_ID, "--use-case", USE_CASE.name).startswith(f"answer {FIRST_ID}: same answer: ")


def land_twice_the_samples(home: Home) -> None:
    """And reads them by the graph of this release."""
    home.dagster.mkdir()
    (home.dagster / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        line = Line(read_environment(variables(home.root), PROJECT), USE_CASE, instance)
        landed = line.rows(names.validated(USE_CASE.name, "samples")).select(USE_CASE.contract("samples").names)
        assert len(landed) == ROWS
        again = landed.with_columns(sample=pl.col("sample") + ROWS)
        calendar = table_calendar(USE_CASE, "samples")
        line.landing.put(USE_CASE.name, "samples", day=WHOLE_TABLE, rows=pl.concat([landed, again]), calendar=calendar)
        keys = [dg.AssetKey(path) for path in line.stages("samples")]
        assert line.job.execute_in_process(asset_selection=keys, instance=instance).success
        assert len(line.rows(names.validated(USE_CASE.name, "samples"))) == 2 * ROWS


def test_the_next_model_is_trained_from_its_tables_promoted_and_taken_back(
    home: Home, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    land_twice_the_samples(home)
    assert "Version 2" in run("train", USE_CASE.name, "--because", "twice the samples")
    with started(server := Server(home, variables={"MLOPS_USE_CASE": USE_CASE.name})):
        monkeypatch.setenv("MLOPS_SERVICE_URL", f"http://127.0.0.1:{server.port}")
        run("approve", USE_CASE.name, "2", "--why", "Read, too.")
        assert "version 2 serves all requests" in run("promote", USE_CASE.name, "2", "--why", "Trained on more.")
        run("rollback", USE_CASE.name, "--why", "It was a trial.")
        assert "live: version 1 serves" in run("status", USE_CASE.name)
    assert run("ledger", "verify", USE_CASE.name) == "tumor · intact: 7 records.\n"
