"""Pictures of what changes over time, as PNG bytes in the style of plots.py."""
# pyright: reportUnknownMemberType=false

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlops_assets.statistics.metrics import Interval
from mlops_assets.statistics.plots import ALARM, CANDIDATE, CHAMPION, DASHED, FAINT, REFERENCE, WIDE, new_figure, png


def loss_curve(history: Sequence[Mapping[str, float]]) -> bytes:
    """Every loss of `history`, one record per epoch; a loss that is not finite leaves a gap."""
    figure, axes = new_figure(WIDE, "Loss", x="epoch", y="loss")
    for name in [name for name in history[0] if name.endswith("_loss")]:
        losses = [record.get(name, np.nan) for record in history]
        colour = CANDIDATE if name == "train_loss" else CHAMPION
        axes.plot(range(1, len(losses) + 1), losses, color=colour, marker="o", markersize=3.5, label=name.replace("_", " "))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper right", frameon=False, fontsize=9)
    return png(figure)


def metric_over_time(
    metric: str, periods: Sequence[date], values: Sequence[float], *, bound: float | None = None, since: datetime | None = None
) -> bytes:
    """One point per period, and where something began; an undefined value leaves a gap."""
    figure, axes = new_figure(WIDE, f"{metric} over time", y=metric)
    days = np.array(periods, dtype="datetime64[D]")
    axes.plot(days, values, color=CHAMPION, marker="o", markersize=3.5, linewidth=1.6, label=metric)
    if bound is not None:
        axes.axhline(bound, color=ALARM, label=f"bound {bound:g}", **DASHED)
    if since is not None:
        axes.axvline(np.datetime64(since.replace(tzinfo=None)), color=ALARM, label=f"since {since:%d %b %H:%M}", **DASHED)  # pyright: ignore
    return _over_time(figure, axes)


def latency_over_time(moments: Sequence[datetime], milliseconds: Mapping[str, Sequence[float]]) -> bytes:
    """Of each percentile one point per moment; an undefined value leaves a gap."""
    figure, axes = new_figure(WIDE, "Latency", y="milliseconds")
    times = np.array([moment.replace(tzinfo=None) for moment in moments], dtype="datetime64[us]")
    for (name, values), colour in zip(milliseconds.items(), (REFERENCE, CANDIDATE, CHAMPION), strict=False):
        axes.plot(times, values, color=colour, marker="o", markersize=2.5, linewidth=1.4, label=name)
    axes.set_ylim(bottom=0)
    return _over_time(figure, axes)


def _over_time(figure: Figure, axes: Axes) -> bytes:
    locator = AutoDateLocator(maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    figure.legend(frameon=False, ncols=3, loc="outside lower left", fontsize=9)
    return png(figure)


def estimated_and_realised(metric: str, record: Sequence[Mapping[str, Any]], newest: Interval) -> bytes:
    """Of each past period its estimate with the interval, and what the labels say since; the newest estimate as a band."""
    figure, axes = new_figure(WIDE, f"{metric}: estimated, and realised since", y=metric)
    days = np.array([row["period"] for row in record], dtype="datetime64[D]")
    values = {
        name: np.array([row[name] for row in record], dtype=np.float64) for name in ("estimated", "low", "high", "realised")
    }
    axes.axhspan(newest.low, newest.high, color=FAINT, alpha=0.45, linewidth=0, label="now")
    axes.vlines(days, values["low"], values["high"], color=REFERENCE, linewidth=1.2)
    axes.plot(days, values["estimated"], color=REFERENCE, marker="_", linestyle="none", label="estimated")
    axes.plot(days, values["realised"], color=CHAMPION, marker="o", markersize=3.5, linestyle="none", label="realised")
    return _over_time(figure, axes)
