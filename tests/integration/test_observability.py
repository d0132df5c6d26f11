"""A real Prometheus reads a real service and the platform's page: errors alert people, and every dashboard has data."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from deltalake import write_deltalake

from mlops_assets.foundation import names
from mlops_assets.foundation.grains import calendar_of
from mlops_assets.foundation.home import PROJECT, Home
from mlops_assets.graph.landing import ALL_DELIVERED, ALL_READABLE
from mlops_assets.local.processes import free_port
from mlops_assets.observability.configuration import Places, write_configuration
from mlops_assets.observability.dashboards import build_boards
from mlops_assets.observability.rules import Pace
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.integration.running_service import Server, started, wait_until
from tests.integration.test_service_faults import empty_disk, fill_disk
from tests.promotion.model_line import ModelLine
from tests.servers.inbox import Inbox, open_inbox
from tests.servers.prometheus_server import Prometheus, needs_prometheus, running_prometheus
from tests.serving.flights import FLIGHT

pytestmark = [pytest.mark.integration, needs_prometheus]

PACE = Pace(scrape="1s", window="6s", long="10s", hold="1s", group_wait="1s")
FIRES_S = 60  # 5 to 10 on an idle machine
# What the last looks of the monitors have measured, as their assets store it.
FIGURES = {
    "drift": {"drifted_share": 0.3, "max_psi": 0.4}, "performance": {"window_auc": 0.71}, "skew": {"mismatch_rate": 0.0},
    "operations": {"cost_per_1000": 0.002},
}  # fmt: skip


@dataclass
class Watched:
    server: Server
    prometheus: Prometheus
    inbox: Inbox
    folder: Path

    def send(self, requests: int, status: int = 200) -> None:
        for _ in range(requests):
            assert self.server.predict({"rows": [FLIGHT]}, f"/{USE_CASE.name}/predict").status == status

    def messages(self) -> dict[str, dict[str, Any]]:
        """What Alertmanager has posted, the newest by the name of the alert."""
        return {alert["labels"]["alertname"]: alert for post in [*self.inbox.posts] for alert in post["alerts"]}


def record_events(home: Home) -> None:
    """One look of each monitor, of which that of drift is an alarm; a table with a file that is late; no daemon."""
    home.dagster.mkdir()
    (home.dagster / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (source, *_) = (one for one in USE_CASE.sources if calendar_of(one.grain).cron)
    calendar, table = calendar_of(source.grain), names.validated(USE_CASE.name, source.table)
    day = pl.DataFrame({"row": [1], calendar.column: [datetime.now(UTC).date() - timedelta(days=2)]})
    write_deltalake(home.tables / names.table_path(table), day.to_arrow(), partition_by=[calendar.column])
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        for stage, figures in FIGURES.items():
            key, check = dg.AssetKey(names.stage(USE_CASE.name, stage)), USE_CASE.monitor_stages[stage].CHECK
            instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=figures))
            instance.report_runless_asset_event(dg.AssetCheckEvaluation(key, check, passed=stage != "drift"))
        instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(table)))
        landing = dg.AssetKey(names.landing(USE_CASE.name, source.table))
        for check in (ALL_DELIVERED, ALL_READABLE):
            instance.report_runless_asset_event(dg.AssetCheckEvaluation(landing, check, passed=check == ALL_READABLE))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Generator[Watched]:
    with watching(Home(tmp_path_factory.mktemp("home")), tmp_path_factory.mktemp("observability")) as watched:
        yield watched


@contextmanager
def watching(home: Home, folder: Path) -> Generator[Watched]:
    """Service, status page, Prometheus and Alertmanager, of a version that serves."""
    line = ModelLine(home.root)
    line.bless(1)
    line.promote(1)
    record_events(home)
    server, status, alertmanager = Server(home, "tests.integration.several_services:Several"), free_port(), free_port()
    variables = {
        **os.environ, "MLOPS_ENV": "test", "MLOPS_HOME": str(home.root), "MLOPS_USE_CASE": USE_CASE.name,
        "MLOPS_SERVICE_URL": f"http://127.0.0.1:{server.port}",
    }  # fmt: skip
    command = [sys.executable, "-m", "mlops_assets", "status", "--serve", f"127.0.0.1:{status}"]
    with open_inbox() as inbox, (home.root / "status.log").open("wb") as log:
        platform = subprocess.Popen(command, cwd=PROJECT, env=variables, stdout=log, stderr=subprocess.STDOUT)
        try:
            places = Places(
                (f"127.0.0.1:{server.port}",), f"127.0.0.1:{status}", f"127.0.0.1:{alertmanager}",
                webhook=f"http://127.0.0.1:{inbox.web_port}/", docs="https://example.org/docs",
            )  # fmt: skip
            write_configuration(folder, [USE_CASE], places, PACE)
            with started(server), running_prometheus(folder, alertmanager) as prometheus:
                yield Watched(server, prometheus, inbox, folder)
        finally:
            platform.kill()
            platform.wait()


def test_an_error_burst_alerts_the_owner_and_ends_and_every_dashboard_has_data(watched: Watched) -> None:
    began = time.time()
    wait_until(lambda: [*watched.prometheus.targets().values()] == ["up", "up"], FIRES_S, watched.prometheus.targets)

    def is_counted() -> bool:
        watched.send(5)
        return bool(watched.prometheus.query("mlops:requests:per_second > 0"))

    wait_until(is_counted, FIRES_S, lambda: watched.prometheus.query("mlops_requests_total"))
    assert "ErrorRate" not in watched.prometheus.firing()
    fill_disk(watched.server)
    wait_until(lambda: watched.send(5, status=503) or "ErrorRate" in watched.messages(), FIRES_S, watched.prometheus.firing)
    error = watched.messages()["ErrorRate"]
    assert error["labels"] == {
        "alertname": "ErrorRate",
        "owner": USE_CASE.owner,
        "severity": "critical",
        "use_case": USE_CASE.name,
    }
    assert error["annotations"]["summary"].endswith(f"of the requests of {USE_CASE.name} fail, more than is declared.")
    assert error["annotations"]["runbook_url"] == "https://example.org/docs/operating.md#incidents"
    empty_disk(watched.server)
    wait_until(lambda: watched.send(5) or "ErrorRate" not in watched.prometheus.firing(), FIRES_S, watched.prometheus.firing)
    expected = {"MonitorAlarm", "TableLate", "DaemonDead"}
    wait_until(lambda: watched.messages().keys() >= expected, FIRES_S, watched.messages)
    assert watched.messages()["MonitorAlarm"]["annotations"]["summary"] == f"The monitor drift of {USE_CASE.name} is in alarm."
    assert watched.prometheus.firing().keys().isdisjoint({"NobodyServes", "PlanDiffers", "TargetDown", "MonitorSilent"})

    for board in build_boards([USE_CASE]):
        dashboard = json.loads((watched.folder / "dashboards" / f"{board.uid}.json").read_text())
        queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        assert queries == [query for panel in board.panels for query in panel.expressions.values()] != []
        for query in queries:
            resolved = query.replace("$use_case", ".*").replace("$__rate_interval", PACE.window)
            series = watched.prometheus.query_range(resolved, since=began, until=time.time(), step_s=1)
            assert any(value != "NaN" for one in series for _, value in one["values"]), f"{board.title}: {query}"


def test_a_dead_server_alerts_that_no_server_serves(watched: Watched) -> None:
    watched.server.kill()
    wait_until(lambda: watched.messages().keys() >= {"NobodyServes", "TargetDown"}, FIRES_S, watched.prometheus.firing)
    assert watched.messages()["NobodyServes"]["labels"]["owner"] == USE_CASE.owner
    assert f"127.0.0.1:{watched.server.port}" in watched.messages()["TargetDown"]["annotations"]["summary"]
