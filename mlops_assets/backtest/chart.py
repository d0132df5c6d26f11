"""The chart of a backtest: one line for each contender, what served when, and a mark for each decision."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from functools import cached_property
from typing import NamedTuple

from mlops_assets.backtest.results import CONTENDERS, Part
from mlops_assets.backtest.timeline import Decision

WIDTH, TOP, BOTTOM, LEFT, RIGHT = 1000, 34, 300, 64, 988
LANES: Mapping[str, int] = {"alarm": 330, "training": 352, "record": 374}  # by the first word of an anchor
TICKS, MAX_MONTHS = 4, 240


class Line(NamedTuple):
    """The points of unbroken stretches, as SVG writes them; an undefined value breaks a line."""

    name: str
    stretches: tuple[str, ...]
    dots: tuple[tuple[float, float], ...]


class Mark(NamedTuple):
    x: float
    y: int
    decision: Decision


class Tick(NamedTuple):
    at: float
    label: str


class Band(NamedTuple):
    """A version that served, from one place to another."""

    start: float
    end: float
    version: int


@dataclass(frozen=True)
class Chart:
    """`served` are the moments at which a version became the champion."""

    metric: str
    steps: Sequence[Part]
    start: datetime
    end: datetime
    decisions: Sequence[Decision]
    served: Sequence[tuple[datetime, int]]

    def x(self, at: datetime) -> float:
        return round(LEFT + (RIGHT - LEFT) * ((at - self.start) / (self.end - self.start)), 1)

    def y(self, value: float) -> float:
        low, high = self._range
        return round(BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low), 1)

    @cached_property
    def _range(self) -> tuple[float, float]:
        values = [part.metrics[name][self.metric] for part in self.steps for name in CONTENDERS]
        known = [value for value in values if math.isfinite(value)] or [0.0]
        margin = 0.08 * (max(known) - min(known)) or 0.01
        return min(known) - margin, max(known) + margin

    @property
    def lines(self) -> list[Line]:
        """What was served is drawn last, on top."""
        return [self._line(name) for name in reversed(CONTENDERS)]

    def _line(self, name: str) -> Line:
        bounds = [*(datetime.combine(part.start, time(), UTC) for part in self.steps), self.end]
        stretches: list[list[tuple[float, float]]] = [[]]
        for part, begin, end in zip(self.steps, bounds, bounds[1:], strict=False):
            value = part.metrics[name][self.metric]
            if math.isfinite(value):
                stretches[-1].append((self.x(begin + (end - begin) / 2), self.y(value)))
            else:
                stretches.append([])
        points = tuple(" ".join(f"{x},{y}" for x, y in stretch) for stretch in stretches if stretch)
        return Line(name, points, tuple(dot for stretch in stretches for dot in stretch))

    @property
    def marks(self) -> list[Mark]:
        return [Mark(self.x(one.at), LANES[one.anchor.partition("-")[0]], one) for one in self.decisions]

    @property
    def bands(self) -> list[Band]:
        ends = [*(at for at, _version in self.served[1:]), self.end]
        return [Band(self.x(at), self.x(end), version) for (at, version), end in zip(self.served, ends, strict=True) if end > at]

    @property
    def levels(self) -> list[Tick]:
        low, high = self._range
        values = [low + (high - low) * number / TICKS for number in range(TICKS + 1)]
        return [Tick(self.y(value), f"{value:.3f}") for value in values]

    @property
    def months(self) -> list[Tick]:
        """The first of each month, or of a short time the start of each step."""
        months = range(self.start.month - 1, self.start.month + MAX_MONTHS)
        firsts = [datetime(self.start.year + month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in months]
        shown = [at for at in firsts if self.start <= at < self.end]
        if len(shown) < 2:
            return [Tick(self.x(at), f"{at:%d %b}") for at in (datetime.combine(part.start, time(), UTC) for part in self.steps)]
        return [Tick(self.x(at), f"{at:%b %Y}" if at.month == 1 or at == shown[0] else f"{at:%b}") for at in shown]
