"""The dashboards over time show the monitors' own numbers, read through Evidently's web service."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlops_assets.foundation.verdict import Verdict
from mlops_assets.local.processes import free_port
from mlops_assets.monitoring.dashboard import record
from mlops_assets.monitoring.monitor_result import MonitorResult, too_few

FIRST = datetime(2024, 3, 1, tzinfo=UTC)
PSI = {"amount": 0.31, "age": 1.7}


def drift(factor: float) -> MonitorResult:
    figures = {"rows": 1200, "drifted_share": factor / 10, "since": "yesterday", "undefined": float("nan")}
    lines = "PSI of each input", {name: value * factor for name, value in PSI.items()}
    return MonitorResult(Verdict.HEALTHY, "All is well.", figures, lines=lines)


@contextmanager
def served(workspace: Path) -> Iterator[httpx.Client]:
    port, script = free_port(0), Path(sys.executable).with_name("evidently")
    command = [str(script), "ui", "--workspace", str(workspace), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, "DO_NOT_TRACK": "1"}, stdout=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                try:
                    if client.get("/api/version").is_success:
                        break
                except httpx.TransportError:
                    time.sleep(0.2)
            yield client
    finally:
        process.terminate()
        process.wait()


def drawn(client: httpx.Client, project: str) -> dict[str, list[tuple[str, list[Any]]]]:
    """Of each panel its series, each with its column and values."""
    dashboard = client.get(f"/api/v2/dashboards/{project}").raise_for_status().json()
    series_by_panel = dict[str, list[tuple[str, list[Any]]]]()
    for panel in dashboard["panels"]:
        filters = [{key: one[key] for key in ("tags", "metadata", "metric", "metric_labels")} for one in panel["values"]]
        url = f"/api/v2/snapshots/{project}/data_series_batch"
        answer = client.post(url, json={"series_filter": filters}).raise_for_status().json()["series"]
        series_by_panel[panel["title"]] = [(one["params"]["column"], one["values"]) for one in answer]
    return series_by_panel


@pytest.mark.slow
def test_every_window_is_a_point_of_the_lines_with_the_numbers_of_the_decision(tmp_path: Path) -> None:
    projects = {record(tmp_path, "loans · drift", drift(n), at=FIRST + n * timedelta(days=1)) for n in (1, 2, 3)}
    few = record(tmp_path, "loans · drift", too_few(7, 100, "requests"), at=FIRST + 4 * timedelta(days=1))
    other = record(tmp_path, "loans · skew", drift(9), at=FIRST)
    assert projects == {few} and other != few
    with served(tmp_path) as client:
        assert {one["name"] for one in client.get("/api/projects").json()} == {"loans · drift", "loans · skew"}
        panels = drawn(client, few)
    assert panels.keys() == {"PSI of each input", "rows (window)", "drifted_share (window)"}
    lines = dict(panels["PSI of each input"])
    for name, psi in PSI.items():
        assert [value for value in lines[name] if value is not None] == pytest.approx([psi, psi * 2, psi * 3])
    ((column, rows),) = panels["rows (window)"]
    assert column == "rows (window)" and rows == [1200, 1200, 1200, 7]
