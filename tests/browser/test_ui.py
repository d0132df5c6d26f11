"""What an analyst sees: the lineage and one asset page of a real web server, in headless Chromium."""

import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.definitions import defs
from mlops_assets.foundation import names
from mlops_assets.foundation.home import PROJECT, Home
from mlops_assets.ingestion.landing import Landing
from mlops_assets.use_cases.flight_delay.airline import deliveries, package_folder
from tests.browser.web import CHROMIUM, NO_CHROMIUM, chromium_page, web_server

FIRST, LAST = dt.date(2013, 1, 1), dt.date(2013, 1, 4)
DRAWN = """() => [...document.querySelectorAll('canvas')].some(canvas =>
    canvas.width > 0 && canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(value => value > 0))"""

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home in which four days of weather went from landing to the validated table, one run a day."""
    home = Home(tmp_path_factory.mktemp("home"))
    landing = Landing(home.landing)
    for delivery in deliveries(package_folder(), FIRST, LAST):
        landing.put("flight_delay", delivery.table, day=delivery.partition, rows=delivery.rows)
    home.dagster.mkdir()
    shutil.copy(PROJECT / "dagster.yaml", home.dagster)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLOPS_HOME", str(home.root))
        _carry_weather(home)
    yield home


def _carry_weather(home: Home) -> None:
    job = defs().resolve_implicit_global_asset_job_def()
    paths = [name("flight_delay", "weather") for name in (names.raw, names.validated, names.quarantine)]
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        for offset in range((LAST - FIRST).days + 1):
            day = (FIRST + dt.timedelta(days=offset)).isoformat()
            keys = [dg.AssetKey(path) for path in paths]
            assert job.execute_in_process(asset_selection=keys, instance=instance, partition_key=day).success


@pytest.fixture(scope="module")
def url(home: Home) -> Iterator[str]:
    with web_server(home) as url:
        yield url


@pytest.fixture(scope="module")
def page(url: str) -> Iterator[Any]:
    with chromium_page(1500, 950) as page:
        yield page


def test_the_lineage_shows_the_stages_by_name(page: Any, url: str, tmp_path: Path) -> None:
    page.goto(f"{url}/asset-groups")
    for group in names.GROUPS:
        page.get_by_text(f"flight_delay_{group}").first.wait_for()
    page.screenshot(path=tmp_path / "lineage.png")
    page.get_by_text("flight_delay_training").first.click()
    page.keyboard.press("Alt+KeyE")  # unfolds all groups
    page.wait_for_url("**expanded=**")
    assert "flight_delay_training" in page.url


def test_an_asset_page_shows_owner_checks_and_columns(page: Any, url: str, tmp_path: Path) -> None:
    page.goto(f"{url}/assets/flight_delay/validated_weather?view=checks")
    page.get_by_text("bad_rows_within_bound").first.wait_for()
    page.get_by_text("rows_as_expected").first.wait_for()
    page.locator("canvas").first.wait_for()  # the share of bad rows, plotted over the runs
    page.screenshot(path=tmp_path / "checks.png")
    page.goto(f"{url}/assets/flight_delay/validated_weather?view=overview")
    page.get_by_text("network-operations").first.wait_for()
    page.get_by_text("observed_at").first.wait_for()
    page.screenshot(path=tmp_path / "asset.png")
    assert page.get_by_text("flight_delay_validated").first.is_visible()


def test_every_day_is_shown_as_landed(page: Any, url: str, tmp_path: Path) -> None:
    page.goto(f"{url}/assets/flight_delay/validated_weather?view=events")
    page.get_by_text("2013-01-03").first.wait_for()
    page.screenshot(path=tmp_path / "events.png")
    assert page.get_by_text("2013-01-04").count() > 0


def test_row_counts_are_plotted_over_the_days(page: Any, url: str, tmp_path: Path) -> None:
    page.goto(f"{url}/assets/flight_delay/validated_weather?view=overview")
    page.get_by_text("Plots", exact=True).first.click()
    # By default the plot is over the newest partitions, and this home holds the first days of the year.
    page.get_by_text("Events", exact=True).last.click()
    page.locator("canvas").first.wait_for()
    page.get_by_text("partition_row_count").first.wait_for()
    # An empty canvas is a canvas too: something must be drawn on one of them.
    page.wait_for_function(DRAWN)
    page.screenshot(path=tmp_path / "plots.png")
    assert page.locator("canvas").count() > 0
