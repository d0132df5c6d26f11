"""`mlops observability` writes for the servers and use cases of this environment."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mlops_assets.cli.app import app


def test_targets_are_the_servers_of_the_environment_and_its_use_cases_have_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = "flight_delay=http://a:3000/flights,http://b:3000;tumor=http://b:3000"
    for name, value in {"HOME": tmp_path / "home", "USE_CASE": "tumor", "SERVICE_URL": urls, "STATUS_URL": "http://c:80"}.items():
        monkeypatch.setenv(f"MLOPS_{name}", str(value))
    folder = tmp_path / "new" / "folder"
    result = CliRunner().invoke(app, ["observability", str(folder), "--docs", "https://example.org/docs/"])
    assert result.exit_code == 0 and [*map(Path, result.stdout.split())] == [
        *(folder / f"{name}.yml" for name in ("prometheus", "rules", "alertmanager", "otel-collector", "prometheus-rule")),
        *(
            folder / "dashboards" / f"mlops-{name}.json"
            for name in ("service", "model-quality", "data-freshness", "runs", "cost")
        ),
    ]
    services, platform = yaml.safe_load((folder / "prometheus.yml").read_text())["scrape_configs"]
    assert services["static_configs"] == [{"targets": ["a:3000", "b:3000"]}]
    assert platform["static_configs"] == [{"targets": ["c:80"]}]
    rules = yaml.safe_load((folder / "rules.yml").read_text())["groups"][0]["rules"]
    assert {rule["labels"]["use_case"] for rule in rules if rule.get("record") == "mlops:owner"} == {"tumor"}
    links = {rule["annotations"]["runbook_url"] for rule in rules if "alert" in rule}
    assert "https://example.org/docs/monitors.md" in links
    assert not (tmp_path / "home").exists(), "it needs no home"
