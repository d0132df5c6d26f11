"""The feature catalogue on a real home: the page, its metadata, and the same in a terminal."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mlops_assets import names
from mlops_assets.cli import app
from tests.graph.conftest import FIRST, LAST, Platform, failure

CATALOG = names.stage("flight_delay", "feature_catalog")


def carry_weather(platform: Platform, january: list[Any]) -> None:
    platform.land([each for each in january if each.table == "weather"])
    assert platform.carry("weather", FIRST, LAST).success
    filled = platform.materialize(names.feature("flight_delay", "origin_weather"), first=FIRST + dt.timedelta(days=1), last=LAST)
    assert filled.success, failure(filled)


def materialized(platform: Platform) -> dict[str, Any]:
    result = platform.materialize(CATALOG)
    assert result.success, failure(result)
    (event,) = result.asset_materializations_for_node("flight_delay__feature_catalog")
    return {name: value.value for name, value in event.metadata.items()}


def told(home: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setenv("MLOPS_ENV", "test")
    monkeypatch.setenv("MLOPS_HOME", str(home))
    result = CliRunner().invoke(app, ["features", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_page_and_the_terminal_tell_the_same(platform: Platform, january: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    carry_weather(platform, january)
    found = materialized(platform)
    page = Path(found["page"])
    assert page == platform.home / "reports" / "flight_delay" / "features.html"
    rows = {record.data["feature"]: record.data for record in found["catalog"].records}
    assert (found["views"], found["features"], found["read_by_no_model"]) == (7, len(rows), 0)
    assert rows["temp"]["newest"].startswith("2013-01-06 23:00")
    assert (rows["temp"]["rows"], rows["seats"]["rows"]) == (
        len(platform.rows(names.feature("flight_delay", "origin_weather"))),
        0,
    )
    text = told(platform.home, monkeypatch, "flight_delay")
    for said in (
        *rows,
        "team:network-operations",
        "newest row 2013-01-06 23:00 UTC",
        "newest row none yet",
        "nobody answers yet",
    ):
        assert said in text
        assert said in page.read_text()
    assert told(platform.home, monkeypatch) == text, "there is one use case"


def test_an_unknown_use_case_is_named_beside_the_legal_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(app, ["features", "flights"])
    assert result.exit_code == 2
    assert "'flights' is not declared" in result.output
