"""The figures of a monitor over time, in a workspace of Evidently, whose web UI `mlops up` serves."""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from mlops_assets.monitoring.monitor_result import MonitorResult


def record(workspace: Path, name: str, result: MonitorResult, *, at: datetime) -> str:
    """Adds the figures and lines of one window, as they are in `result`, to the project `name`. Returns the project's id."""
    from evidently.ui.workspace import Workspace

    opened = Workspace.create(str(workspace))
    projects = opened.search_project(name)
    project = projects[0] if projects else opened.create_project(name)
    title, lines = result.lines
    figures = {f"{figure} (window)": value for figure, value in _numbers(result.figures)}
    _add_panels(project, [*figures], title)
    opened.add_run(project.id, _snapshot(figures, dict(_numbers(lines)), at))
    return str(project.id)


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    yield from ((name, float(value)) for name, value in values.items() if isinstance(value, int | float) and math.isfinite(value))


def _snapshot(figures: Mapping[str, float], lines: Mapping[str, float], at: datetime) -> Any:
    """Of a data set of one row, so that what Evidently computes are these very numbers: its own PSI has other bins."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import MeanValue, MinValue

    row = {**figures, **lines}
    rows = Dataset.from_pandas(pl.DataFrame([row]).to_pandas(), data_definition=DataDefinition(numerical_columns=[*row]))
    # A panel selects by metric: of one row the least is the mean, which distinguishes lines from figures.
    metrics: list[Any] = [*(MinValue(column=name) for name in figures), *(MeanValue(column=name) for name in lines)]
    return Report(metrics).run(rows, None, timestamp=at)


def _add_panels(project: Any, figures: list[str], title: str) -> None:
    """Those that are missing: people may add their own, and remove ours."""
    from evidently.sdk.models import DashboardPanelPlot, PanelMetric

    there = {panel.title for panel in project.dashboard.model().panels}
    wanted = {title: PanelMetric(legend="{{column}}", metric="MeanValue")} if title else {}
    wanted |= {name: PanelMetric(legend=name, metric="MinValue", metric_labels={"column": name}) for name in figures}
    for name, values in wanted.items():
        if name not in there:
            size = "full" if name == title else "half"
            plot = {"plot_type": "line", "is_stacked": False}
            project.dashboard.add_panel(DashboardPanelPlot(title=name, subtitle="", size=size, values=[values], plot_params=plot))
