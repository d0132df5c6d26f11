"""`mlops train` on a real home: in this process, and through the queue of a platform, whose daemon the test simulates."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from click.testing import Result
from dagster._daemon.types import DaemonHeartbeat  # what the daemon writes
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.foundation.calendars import WHOLE_TABLE
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.foundation.home import PROJECT, Home
from mlops_assets.graph.trainings import ONE_AT_A_TIME, REQUEST, read_trainings
from mlops_assets.home_claim import event_log_id
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.promotion_state import PromotionState, promotion_state_of
from mlops_assets.spec.gate import Floor
from mlops_assets.spec.grain import Snapshot
from mlops_assets.spec.source import Files
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.spec.use_case import UseCase
from tests.graph.line import Line, environment_of
from tests.graph.test_first_model import Trigger
from tests.spec.samples import TUMOR

SMALL = TUMOR.but(
    first_day=None,
    sources=(Files(table="samples", grain=Snapshot()),),
    trainer=HistGradientBoosting(max_iter=5),
    gates=(Floor(metric="auc", bound=0.6),),
)
Run = Callable[..., Result]
CLAIM = """
import sys
from pathlib import Path
from mlops_assets.foundation.home_lock import claim_home
claim_home(Path(sys.argv[1]), sys.argv[2])
print("claimed", flush=True)
sys.stdin.read()
"""


def samples(rows: int) -> pl.DataFrame:
    """Large cells are malignant."""
    numbers = pl.Series(range(1, rows + 1))
    return pl.DataFrame({
        "sample": numbers, "patient": [f"p{number}" for number in numbers], "radius": (numbers * 7 % 20 + 5).cast(pl.Float64),
        "cells": numbers * 3 % 80 + 10, "stained": numbers % 2 == 0, "laboratory": ["east"] * rows,
        "taken_at": [datetime(2020, 1, 1, tzinfo=UTC)] * rows,
        "diagnosis": ["M" if number * 7 % 20 + number % 5 > 12 else "B" for number in numbers],
    }, schema_overrides={"taken_at": pl.Datetime("us", "UTC")})  # fmt: skip


@pytest.fixture(scope="module")
def template_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a platform that has read 300 samples and has stopped."""
    root = tmp_path_factory.mktemp("template_home")
    environment = environment_of(root, {})
    environment.home.dagster.mkdir(parents=True)
    (environment.home.dagster / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(environment.home.dagster)) as instance:
        line = Line(environment, SMALL, instance)
        calendar = table_calendar(SMALL, "samples")
        line.landing.put(SMALL.name, "samples", day=WHOLE_TABLE, rows=samples(300), calendar=calendar)
        keys = [dg.AssetKey(path) for path in line.stages("samples")]
        assert line.job.execute_in_process(asset_selection=keys, instance=instance, raise_on_error=False).success
    return environment.home.root


@pytest.fixture
def home(template_home: Path, tmp_path: Path) -> Home:
    return Home(Path(shutil.copytree(template_home, tmp_path / "home")))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    declare(SMALL, monkeypatch)
    for name, value in {
        "MLOPS_ENV": "test",
        "MLOPS_HOME": str(tmp_path / "home"),
        "MLOPS_SERVICE_URL": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(app, ["train", SMALL.name, *arguments])


def declare(use_case: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", (use_case,))


def state_of(home: Home) -> PromotionState:
    return promotion_state_of(SMALL.name, Ledger(f"sqlite:///{home.ledger}").records(SMALL.name))


@contextmanager
def event_log(home: Home) -> Generator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        yield instance


def failing_job(problem: str) -> dg.JobDefinition:
    @dg.op
    def fit() -> None:
        raise ValueError(problem)

    @dg.job
    def training() -> None:
        fit()

    return training


@contextmanager
def daemon(home: Home, instance: dg.DagsterInstance, problem: str) -> Generator[None]:
    """Evaluates the sensor until it starts what was requested, which fails."""

    def work() -> None:
        trigger = Trigger(home, instance, SMALL)
        while not (requests := [one for one in trigger.tick().run_requests if REQUEST in one.tags]):
            time.sleep(0.2)
        failing_job(problem).execute_in_process(instance=instance, raise_on_error=False, tags=requests[0].tags)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


@contextmanager
def platform_of(home: Home, instance: dg.DagsterInstance) -> Generator[None]:
    """Another process of the platform holds the home; its daemon has a heartbeat."""
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "the daemon", []))
    command = [sys.executable, "-c", CLAIM, str(home.root), event_log_id(instance)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as other:
        assert other.stdout and other.stdout.readline() == "claimed\n"
        yield
        other.communicate()


def test_without_a_platform_a_training_runs_in_this_process_with_its_stages_until_its_version_serves(run: Run, home: Home):
    result = run("--because", "new scanner", "--by", "ana")
    assert result.exit_code == 0, result.output
    unread = "samples · 1 landed file has not been read yet. "  # the tables of this home are written by the test
    assert result.stderr.startswith(f"tumor: not part of this training: {unread}") and "Warning" not in result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "tumor: no platform runs on this home; the training runs in this process."
    assert [" ".join(line.split()[:2]).rstrip("0123456789 ") for line in lines[1:-1]] == [
        "training set", "candidate", "gates", "blessing", "rollout",
    ]  # fmt: skip
    assert lines[-1] == "tumor: Version 1 is blessed and serves."
    with event_log(home) as instance:
        (record,) = read_trainings(SMALL, instance, state_of(home)).records
    assert record.dagster_run.tags["mlops/reason"] == "new scanner (requested by ana)"


def test_a_candidate_that_a_gate_refuses_is_named_with_the_gate_and_an_exit_code_of_its_own(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
):
    declare(SMALL.but(gates=(Floor(metric="log_loss", bound=0.001),)), monkeypatch)
    result = run("--because", "new scanner")
    assert result.exit_code == 3, result.output
    assert result.output.splitlines()[-1].startswith("tumor: Version 1 is refused by floor_log_loss: ")


def test_the_newest_evaluation_is_written_as_markdown_with_its_pictures(run: Run, home: Home, tmp_path: Path):
    folder = tmp_path / "review"
    before = CliRunner().invoke(app, ["status", SMALL.name, "--evaluation", str(folder)])
    assert before.exit_code == 1 and "tumor · no candidate has been evaluated. Train one: `mlops train tumor" in before.output
    assert not folder.exists() and run("--because", "new scanner").exit_code == 0
    result = CliRunner().invoke(app, ["status", SMALL.name, "--evaluation", str(folder)])
    page = folder / "evaluation.md"
    assert (result.exit_code, result.output) == (0, f"{page}\n")
    lines = page.read_text().splitlines()
    assert lines[0] == "### tumor: version 1" and lines[2].startswith("1 of 1 gate passed")
    assert lines[4:6] == ["| gate | result | message | measured | low | high | bound |", f"|{' --- |' * 7}"]
    assert lines[6].startswith("| floor_auc | passed | floor_auc · ") and lines[6].endswith(" | 0.6 |")
    pictures = [line[2:].partition("](")[2].rstrip(")") for line in lines if line.startswith("![")]
    assert pictures and all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    assert {path.name for path in folder.iterdir()} == {"evaluation.md", *pictures}


def test_a_candidate_that_has_learned_nothing_is_named_by_the_command_the_page_and_the_status(
    run: Run, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    inputs = SMALL.features.but(numeric=("stained",), categorical=("laboratory",))
    declare(SMALL.but(features=inputs, gates=(Floor(metric="auc", bound=0.1),)), monkeypatch)
    warning = "The model is not certainly better than one answer for all rows: auc "
    trained = run("--because", "new scanner")
    assert trained.exit_code == 0, trained.output
    (gates,) = (line for line in trained.stdout.splitlines() if line.startswith("  gates"))
    assert f" Warning: {warning}" in gates
    folder = tmp_path / "review"
    assert CliRunner().invoke(app, ["status", SMALL.name, "--evaluation", str(folder)]).exit_code == 0
    assert f"\n\nWarning: {warning}" in (folder / "evaluation.md").read_text()
    status = CliRunner().invoke(app, ["status", SMALL.name]).stdout
    assert f"\nwarning: version 1 · {warning}" in status


@pytest.mark.slow  # a whole platform
def test_a_running_platform_starts_the_training_whose_failure_is_one_sentence_and_can_be_started_again(run: Run, home: Home):
    with event_log(home) as instance, platform_of(home, instance):
        for reason in ("new scanner", "the cause is removed"):
            with daemon(home, instance, "the disk is full"):
                result = run("--because", reason, "--by", "ana")
            assert result.exit_code == 1
            _, first, *_, last = result.output.splitlines()  # what is between is Dagster's log of the run, in this process
            assert first == "tumor: a training is requested; the running platform starts it within seconds."
            failed, newest = (
                "failed: ValueError: the disk is full. Remove the cause;",
                instance.get_run_records(limit=1)[0].dagster_run,
            )
            assert last == f'tumor: Run {newest.run_id[:8]} {failed} `mlops train tumor --because "…"` tries again.'
            assert newest.tags["mlops/reason"] == f"{reason} (requested by ana)"
        assert len(instance.get_run_records(dg.RunsFilter(tags={ONE_AT_A_TIME: SMALL.name}))) == 2


def test_a_training_in_progress_is_not_doubled(run: Run, home: Home):
    with event_log(home) as instance, platform_of(home, instance):
        assert run("--because", "new scanner", "--by", "ana", "--no-wait").exit_code == 0
        twice = run("--because", "once more")
        assert twice.exit_code == 1 and "requested already: new scanner (requested by ana)" in twice.output
        tags = {ONE_AT_A_TIME: SMALL.name, "mlops/reason": "a schedule"}
        instance.create_run_for_job(failing_job("x"), tags=tags, status=dg.DagsterRunStatus.STARTED)
        result = run("--because", "once more")
        assert (
            result.exit_code == 1
            and "a training is in progress: run " in result.output
            and "(a schedule) is started." in result.output
        )


def test_an_impossible_training_is_reported_in_one_sentence(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch):
    blank = run("--because", " ")
    assert blank.exit_code == 1 and "legal: the reason for the training" in blank.output
    alone = run("--because", "x", "--no-wait")
    assert alone.exit_code == 1 and "Start it with `mlops up`" in alone.output
    declare(SMALL.but(name="another"), monkeypatch)
    missing = CliRunner().invoke(app, ["train", "another", "--because", "x"])
    assert missing.exit_code == 1 and "not enough data: No row has been accepted yet" in missing.output
    (home.dagster / "dagster.yaml").unlink()
    elsewhere = CliRunner().invoke(app, ["train", "another", "--because", "x"])
    assert elsewhere.exit_code == 1 and "no platform of its own has run on this home" in elsewhere.output
