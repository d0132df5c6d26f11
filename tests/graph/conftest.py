"""The line of flight_delay on an empty home, and what the airlines delivered."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.use_cases.flight_delay import USE_CASE
from mlops_assets.use_cases.flight_delay.airline import deliveries, package_folder
from tests.graph.line import Line, running_line

FIRST, LAST = dt.date(2013, 1, 2), dt.date(2013, 1, 6)  # the schedule of a day lands the day before


@pytest.fixture(scope="session")
def january() -> list[Any]:
    """What the airlines delivered in the first days of the year."""
    return [*deliveries(package_folder(), FIRST - dt.timedelta(days=1), LAST)]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Line]:
    with running_line(tmp_path, USE_CASE) as line:
        yield line


def land(line: Line, delivered: list[Any]) -> None:
    for file in delivered:
        line.landing.put(line.use_case.name, file.table, day=file.partition, rows=file.rows)
