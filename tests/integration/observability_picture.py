"""Draws a dashboard as Grafana would, from its own queries over a recorded run: `python -m tests.integration.observability_picture
docs/observability.png`. A rollout begins, then the disk is full for a while.
"""

import re
import sys
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure

from mlops_assets.foundation.home import Home
from mlops_assets.observability.dashboards import Panel, build_boards
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.integration.test_observability import PACE, Watched, watching
from tests.integration.test_service_faults import empty_disk, fill_disk
from tests.promotion.model_line import ModelLine
from tests.serving.flights import FLIGHT

CALM_S, BURST_S, PAUSE_S = 30, 15, 0.05
NUMBERS = count(1)


def send_for(watched: Watched, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        # A canary assigns equal requests to the same version.
        watched.server.predict({"rows": [FLIGHT | {"flight": next(NUMBERS)}]}, f"/{USE_CASE.name}/predict")
        time.sleep(PAUSE_S)


def draw(axes: Axes, panel: Panel, watched: Watched, since: float, until: float) -> None:
    for legend, expression in panel.expressions.items():
        query = expression.replace("$use_case", ".*").replace("$__rate_interval", PACE.window)
        for one in watched.prometheus.query_range(query, since=since, until=until, step_s=1):
            labels = one["metric"]
            name = re.sub(r"\{\{(\w+)\}\}", lambda match, labels=labels: labels.get(match[1], ""), legend)
            times = [datetime.fromtimestamp(at, UTC) for at, _ in one["values"]]
            axes.plot(times, [float(value) for _, value in one["values"]], label=name, linewidth=1.4)
    axes.set_title(f"{panel.title} [{panel.unit}]", fontsize=9, loc="left")
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S"))
    axes.tick_params(labelsize=7)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, frameon=False)


def made(*parts: str) -> Path:
    folder = Path(*parts)
    folder.mkdir()
    return folder


def main(path: Path) -> None:
    with TemporaryDirectory() as folder, watching(Home(made(folder, "home")), made(folder, "configuration")) as watched:
        since = time.time()
        send_for(watched, CALM_S)
        line = ModelLine(watched.server.home.root)
        line.bless(2)
        line.promotions.route(challenger=2, share=0.2, reason="a canary", by="ana", at=datetime.now(UTC))
        send_for(watched, CALM_S)
        fill_disk(watched.server)
        send_for(watched, BURST_S)
        empty_disk(watched.server)
        send_for(watched, CALM_S)
        (board, *_) = build_boards([USE_CASE])
        figure = Figure(figsize=(11, 11), layout="constrained")
        for axes, panel in zip(figure.subplots(4, 2).flat, board.panels, strict=True):
            draw(axes, panel, watched, since, time.time())
        figure.suptitle(f"Dashboard “{board.title}”", fontsize=11)
        figure.savefig(path, dpi=75)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
