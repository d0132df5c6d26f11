"""Where the chart of a backtest draws what."""

import datetime as dt
import math

from mlops_assets.backtest.chart import BOTTOM, LEFT, RIGHT, TOP, Chart
from mlops_assets.backtest.results import CONTENDERS, Part
from mlops_assets.backtest.timeline import Decision

START, WEEK = dt.datetime(2024, 3, 4, tzinfo=dt.UTC), dt.timedelta(days=7)


def part(week: int, *values: float) -> Part:
    metrics = {name: {"auc": value} for name, value in zip(CONTENDERS, values, strict=True)}
    return Part((START + week * WEEK).date(), 100, metrics)


def chart(*parts: Part, decisions: tuple[Decision, ...] = (), served: tuple[tuple[dt.datetime, int], ...] = ()) -> Chart:
    return Chart("auc", parts, START, START + len(parts) * WEEK, decisions, served)


def test_an_undefined_value_breaks_a_line_and_has_no_dot() -> None:
    drawn = chart(part(0, 0.7, 0.7, 0.7), part(1, math.nan, 0.6, 0.7), part(2, 0.8, 0.5, 0.7))
    lines = {line.name: line for line in drawn.lines}
    assert [len(lines[name].stretches) for name in CONTENDERS] == [2, 1, 1]
    assert [len(lines[name].dots) for name in CONTENDERS] == [2, 3, 3]
    assert drawn.lines[-1].name == "served", "on top"


def test_every_point_is_in_the_drawing_and_a_higher_value_is_higher() -> None:
    drawn = chart(part(0, 0.9, 0.2, 0.5), part(1, 0.8, 0.3, 0.5))
    for line in drawn.lines:
        assert all(LEFT < x < RIGHT and TOP < y < BOTTOM for x, y in line.dots)
    served, frozen = (next(line for line in drawn.lines if line.name == name) for name in ("served", "frozen"))
    assert all(ours[1] < theirs[1] for ours, theirs in zip(served.dots, frozen.dots, strict=True))


def test_undefined_and_constant_metrics_are_drawn_without_error() -> None:
    assert [line.stretches for line in chart(part(0, math.nan, math.nan, math.nan)).lines] == [(), (), ()]
    assert all(math.isfinite(y) for line in chart(part(0, 0.5, 0.5, 0.5)).lines for _x, y in line.dots)


def test_a_version_serves_until_the_next_one_does() -> None:
    parts = [part(week, 0.7, 0.7, 0.7) for week in range(4)]
    drawn = chart(*parts, served=((START, 1), (START + WEEK, 3)))
    middle = LEFT + (RIGHT - LEFT) / 4
    assert [(band.start, band.end, band.version) for band in drawn.bands] == [(LEFT, middle, 1), (middle, RIGHT, 3)]


def test_a_mark_is_at_the_moment_of_its_decision() -> None:
    decision = Decision(START + WEEK, "training-2024-03-11", "good", "trained", "why")
    (mark,) = chart(part(0, 0.7, 0.7, 0.7), part(1, 0.7, 0.7, 0.7), decisions=(decision,)).marks
    assert mark.x == (LEFT + RIGHT) / 2


def test_the_axis_names_the_months_or_of_a_short_time_the_steps() -> None:
    short = chart(part(0, 0.7, 0.7, 0.7), part(1, 0.7, 0.7, 0.7))
    assert [tick.label for tick in short.months] == ["04 Mar", "11 Mar"]
    long = chart(*(part(week, 0.7, 0.7, 0.7) for week in range(52)))
    assert [tick.label for tick in long.months][:3] == ["Apr 2024", "May", "Jun"]
    assert [tick.label for tick in long.months][-3:] == ["Jan 2025", "Feb", "Mar"]
