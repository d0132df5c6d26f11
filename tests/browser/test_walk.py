"""The walk of an analyst and of a data scientist on a home with one trained model, in a real web server and Chromium."""

import datetime as dt
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from mlops_assets.cli.status import status_pages
from mlops_assets.definitions import defs
from mlops_assets.foundation import names
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.foundation.home import PROJECT, Home, read_environment
from mlops_assets.ingestion.landing import Landing
from mlops_assets.local.platform import serve_command, serve_environment
from mlops_assets.local.processes import Child, free_port, running
from mlops_assets.local.web_page import served_page
from mlops_assets.use_cases.tumor import USE_CASE
from mlops_assets.use_cases.tumor.sample import example
from tests.browser.pictures import take_pictures
from tests.browser.web import CHROMIUM, NO_CHROMIUM, chromium_page, web_server

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM), pytest.mark.timeout(900)]
TUMOR = "tumor"
STAGES = ("training_set", "candidate", "evaluation", "blessing", "rollout", "service")


@dataclass(frozen=True)
class Walk:
    page: Any
    dagster: str
    status: str

    def open(self, address: str, *texts: str) -> None:
        """Goes there, and waits until the page shows each of the texts."""
        self.page.goto(address)
        self.read(*texts)

    def read(self, *texts: str) -> None:
        for text in texts:
            self.page.get_by_text(text).first.wait_for()

    def launch(self, job: str, **config: Any) -> None:
        """Fills in the launchpad of a job, which has one step, and launches it."""
        self.open(f"{self.dagster}/locations/mlops_assets/jobs/{job}/playground", "New Run")
        editor = "document.querySelector('.CodeMirror').CodeMirror"
        self.page.wait_for_function(f"() => {editor}.getValue().includes('use_case:')")
        (default,) = yaml.safe_load(self.page.evaluate(f"() => {editor}.getValue()"))["ops"].items()
        step, empty = default
        assert {*config} <= {*empty["config"]}, "the launchpad shows what to fill in"
        filled = {"ops": {step: {"config": empty["config"] | config}}}
        self.page.evaluate(f"text => {editor}.setValue(text)", yaml.safe_dump(filled))
        self.page.get_by_role("button", name="Launch Run").click()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """The example data of a use case of high risk, from landing to a version that waits for its approval."""
    home = Home(tmp_path_factory.mktemp("home"))
    calendar = table_calendar(USE_CASE, "samples")
    for delivery in example(dt.date.min, dt.date.max):
        Landing(home.landing).put(TUMOR, delivery.table, day=delivery.partition, rows=delivery.rows, calendar=calendar)
    home.dagster.mkdir()
    settings = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    # Without a daemon nothing takes a run from a queue.
    settings["run_coordinator"] = {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}
    del settings["concurrency"]
    (home.dagster / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLOPS_HOME", str(home.root))
        patch.setenv("MLOPS_USE_CASE", TUMOR)
        patch.setenv("MLOPS_SERVICE_URL", "http://127.0.0.1:9")
        paths = [stage(TUMOR, "samples") for stage in (names.raw, names.validated, names.quarantine)]
        keys = [dg.AssetKey(path) for path in (*paths, *(names.stage(TUMOR, stage) for stage in STAGES))]
        with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
            assert (
                defs().resolve_implicit_global_asset_job_def().execute_in_process(asset_selection=keys, instance=instance).success
            )
        yield home


@pytest.fixture(scope="module")
def walk(home: Home) -> Iterator[Walk]:
    settings, status = read_environment(os.environ, PROJECT), f"http://127.0.0.1:{free_port()}"
    with web_server(home) as url, chromium_page() as page:
        render, _metrics = status_pages(settings, {"service": settings.service_url, "dagster": url, "status": status})
        with served_page(status, render):
            yield Walk(page, url, status)


def test_an_analyst_reads_what_waits_how_good_it_is_and_where_an_input_comes_from(walk: Walk, tmp_path: Path) -> None:
    walk.open(walk.status, "version 1 waits", f"mlops approve {TUMOR} 1", "The last 24 hours", "blessing of version 1 by run")
    walk.page.get_by_role("link", name="version 1 waits").click()
    walk.read("waits for an approval, as its risk is high", "Which version serves which share", "ledger", "blessing")
    walk.open(f"{walk.dagster}/assets/{TUMOR}/evaluation", "7 of 7 gates passed, 1 of them without enough data (beats_champion_auc); test auc",
              "model_version", "oncology")  # fmt: skip
    walk.open(f"{walk.dagster}/assets/{TUMOR}/evaluation?view=checks", "floor_auc", "no_leak", "calibrated")
    walk.open(f"{walk.dagster}/assets/{TUMOR}/training_set", "From validated_samples.mean_radius.", "timestamp (UTC)")
    take_pictures(walk.page, walk.dagster, walk.status, TUMOR, tmp_path)
    assert {file.name for file in tmp_path.glob("*.png")} == {"status.png", "lineage.png", "evaluation.png"}


def test_a_data_scientist_reads_how_to_send_a_request_and_what_the_servers_serve(walk: Walk, home: Home, tmp_path: Path) -> None:
    port = free_port()
    url, environment = f"http://127.0.0.1:{port}", serve_environment(home, TUMOR, environment="test", inherited=os.environ)
    bento = Child("service", serve_command(port), environment, home.logs / "service.log", PROJECT, f"{url}/livez")
    with running([bento]):
        walk.open(url, "/tumor/predict", "Is this tumour malignant?", "PredictRequest_tumor")
        walk.page.screenshot(path=tmp_path / "bento.png")
    walk.open(f"{walk.dagster}/assets/{TUMOR}/service?view=checks", "serves_the_plan")
    walk.open(f"{walk.dagster}/assets/{TUMOR}/service", "oncology")
    walk.page.screenshot(path=tmp_path / "service.png")
    assert {file.name for file in tmp_path.glob("*.png")} == {"bento.png", "service.png"}


def test_a_data_scientist_decides_from_the_launchpad_and_reads_what_is_not_possible(walk: Walk) -> None:
    walk.open(f"{walk.dagster}/jobs", "approve", "hand_over", "pause", "promote", "resume", "rollback", "train_now", "waive",
              f"{TUMOR}_training")  # fmt: skip
    walk.launch("approve", version=9, by="ana", why="I read its evaluation")
    walk.read("version 9")
    walk.launch("approve", version=1, by="ana", why="I read its evaluation")
    walk.read("Version 1 is approved by ana.")
    walk.open(walk.status, "approval of version 1 by ana", "I read its evaluation")


def test_a_data_scientist_who_materializes_too_early_is_referred_to_the_missing_step(walk: Walk) -> None:
    walk.open(f"{walk.dagster}/assets/{TUMOR}/drift", "Never materialized")
    walk.page.get_by_role("button", name="Materialize").first.click()
    walk.page.get_by_role("button", name="Confirm").click()  # Dagster itself warns of what is not materialized yet
    walk.page.get_by_text("View", exact=True).first.click()
    walk.read("the table does not exist. Materialize predictions first.")
