"""Storms, heat and holidays of a real year are changes of the population: none looks like another unit."""

from datetime import date, timedelta

import polars as pl
import pytest

from mlops_assets.monitoring.investigation.changes import find_change
from mlops_assets.monitoring.investigation.columns import Column, _finding
from mlops_assets.use_cases.flight_delay.airline import deliveries, package_folder

pytestmark = pytest.mark.slow
FIRST, LAST, MONTH = date(2013, 1, 1), date(2013, 12, 30), timedelta(days=30)
COLUMNS = {"outcomes": ("arr_delay",), "weather": ("temp", "dewp", "wind_speed")}
ENDS = [FIRST + 2 * MONTH + timedelta(days=days) for days in range(0, 300, 9)]


@pytest.fixture(scope="module")
def delivered() -> dict[str, pl.DataFrame]:
    files = [file for file in deliveries(package_folder(), FIRST, LAST) if file.table in COLUMNS]
    return {
        table: pl.concat([file.rows.with_columns(day=pl.lit(file.partition)) for file in files if file.table == table])
        for table in COLUMNS
    }


@pytest.mark.parametrize(("table", "name"), [(table, name) for table, names in COLUMNS.items() for name in names])
def test_no_month_of_a_real_year_is_in_another_unit(delivered: dict[str, pl.DataFrame], table: str, name: str):
    rows, claims = delivered[table].with_columns(pl.col(name).cast(pl.Float64)), []
    for end in ENDS:
        before, since = (rows.filter(pl.col("day").is_between(*days)) for days in ((FIRST, end - MONTH), (end - MONTH, end)))
        moments = since["day"].cast(pl.Datetime("us", "UTC"))
        change = find_change(before[name], since[name], moments)
        finding = change and _finding(Column(name, before[name], since[name], moments), change)
        claims += [(end, finding.evidence)] if finding else []
    assert claims == []
