"""The feature catalogue and column metadata on a real home: page, asset metadata and terminal."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.foundation import names
from tests.graph.conftest import FIRST, LAST, land
from tests.graph.line import Line, failure

CATALOG = names.stage("flight_delay", "feature_catalog")


def carry_weather(platform: Line, january: list[Any]) -> None:
    land(platform, [delivery for delivery in january if delivery.table == "weather"])
    assert platform.ingest("weather", FIRST, LAST).success
    filled = platform.run(names.feature("flight_delay", "origin_weather"), first=FIRST + dt.timedelta(days=1), last=LAST)
    assert filled.success, failure(filled)


def materialized(platform: Line) -> dict[str, Any]:
    result = platform.run(CATALOG)
    assert result.success, failure(result)
    (event,) = result.asset_materializations_for_node("flight_delay__feature_catalog")
    return {name: value.value for name, value in event.metadata.items()}


def printed(home: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setenv("MLOPS_ENV", "test")
    monkeypatch.setenv("MLOPS_HOME", str(home))
    result = CliRunner().invoke(app, ["features", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_page_and_the_terminal_show_the_same(platform: Line, january: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    carry_weather(platform, january)
    metadata = materialized(platform)
    page = Path(metadata["page"])
    assert page == platform.home / "reports" / "flight_delay" / "features.html"
    rows = {record.data["name"]: record.data for record in metadata["catalog"].records}
    assert metadata["summary"].startswith(f"{len(rows)} features in 7 views, 0 read by no model. No version serves yet")
    assert rows["temp"]["newest"].startswith("2013-01-06 23:00")
    assert (rows["temp"]["rows"], rows["seats"]["rows"]) == (
        len(platform.rows(names.feature("flight_delay", "origin_weather"))),
        0,
    )
    assert rows["temp"]["sources"] == "weather.observed_at, weather.origin, weather.temp"
    text = printed(platform.home, monkeypatch, "flight_delay")
    for word in (*rows, "team:network-operations", "newest row 2013-01-06 23:00 UTC", "no rows yet", "No version serves yet"):
        assert word in text
        assert word in page.read_text()
    of_all = printed(platform.home, monkeypatch)
    assert text in of_all and "tumor: no feature views; everything that the model reads is in the request." in of_all


def test_a_feature_table_shows_its_schema_and_the_columns_it_is_computed_from(platform: Line, january: list[Any]) -> None:
    land(platform, [delivery for delivery in january if delivery.table == "weather"])
    assert platform.ingest("weather", FIRST, LAST).success
    path = names.feature("flight_delay", "origin_weather")
    result = platform.run(path, first=FIRST + dt.timedelta(days=1), last=LAST)
    event = result.asset_materializations_for_node("__".join(path))[-1]
    schema, lineage = (event.metadata[f"dagster/column_{name}"].value for name in ("schema", "lineage"))
    assert {column.name: column.type for column in schema.columns}["temp"] == "double"
    assert {(dep.asset_key.path[-1], dep.column_name) for dep in lineage.deps_by_column["temp"]} >= {
        (names.validated("flight_delay", "weather")[-1], "temp")
    }
    assert not [dep for dep in lineage.deps_by_column["temp"] if dep.column_name == "pressure"]


def test_an_unknown_use_case_is_an_error_with_the_declared_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(app, ["features", "flights"])
    assert result.exit_code == 2
    assert "'flights' is not declared" in result.output
