"""A feature table as a Parquet file and as a Delta table: only the needed days are read, and rows are appended to their day."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.features.offline.point_in_time import MissingFeatureTable
from mlops_assets.features.offline.polars_offline_store import FeatureTable
from mlops_assets.foundation.stored_schema import IncompatibleRows

START = datetime(2013, 3, 10, 6, tzinfo=UTC)
DAY = timedelta(days=1)
FORMS = [".parquet", ".delta"]


def write(root: Path, form: str) -> FeatureTable:
    """Five days, one row each, with the number of the day as its value."""
    at = pl.Series([START + number * DAY for number in range(5)])
    rows = pl.DataFrame({"carrier": "AA", "at": at, "value": pl.Series(range(5), dtype=pl.Float64), "day": at.dt.date()})
    path = root / f"late{form}"
    if form == ".delta":
        rows.write_delta(path, delta_write_options={"partition_by": ["day"]})
    else:
        rows.drop("day").write_parquet(path)
    return FeatureTable("feature view 'late'", path, "at")


def values(table: FeatureTable, since: datetime | None = None, until: datetime | None = None) -> list[float]:
    return table.scan(since, until).collect()["value"].sort().to_list()


@pytest.mark.parametrize("form", FORMS)
def test_both_ends_of_a_range_are_included_and_either_may_be_open(tmp_path: Path, form: str) -> None:
    table = write(tmp_path, form)
    assert values(table) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert values(table, START + DAY, START + 3 * DAY) == [1.0, 2.0, 3.0]
    assert values(table, until=START + DAY - timedelta(microseconds=1)) == [0.0]
    assert values(table, since=START + 4 * DAY) == [4.0]


def test_only_the_days_of_the_range_are_opened_in_a_delta_table(tmp_path: Path) -> None:
    table = write(tmp_path, ".delta")
    for far in (START, START + 4 * DAY):
        next((table.path / f"day={far.date()}").iterdir()).unlink()
    assert values(table, START + DAY, START + 3 * DAY) == [1.0, 2.0, 3.0]
    with pytest.raises((pl.exceptions.ComputeError, OSError), match="day=2013-03-10"):
        values(table, START, START)


def test_appended_rows_land_on_their_day(tmp_path: Path) -> None:
    table = write(tmp_path, ".delta")
    table.append(pl.DataFrame({"value": [7], "carrier": ["UA"], "at": [START + DAY]}))
    assert values(table) == [0.0, 1.0, 2.0, 3.0, 4.0, 7.0]
    assert values(table, START + DAY, START + DAY) == [1.0, 7.0]
    assert table.schema() == {"carrier": pl.String, "at": pl.Datetime("us", "UTC"), "value": pl.Float64}


def test_appended_rows_are_never_cut_to_the_type_of_the_table(tmp_path: Path) -> None:
    table = FeatureTable("feature view 'late'", tmp_path / "late.delta", "at")
    pl.DataFrame({"at": [START], "value": [1], "gone": ["x"]}).write_delta(table.path)
    table.append(pl.DataFrame({"at": [START, START], "value": [2.0, None]}))  # as pandas has whole numbers with gaps
    assert table.scan().collect()["value"].to_list().count(None) == 1
    assert table.schema()["value"] == pl.Int64
    table.append(pl.DataFrame({"at": [START], "value": [2.5]}))
    assert table.scan().collect()["value"].drop_nulls().sort().to_list() == [1.0, 2.0, 2.5], "the table is widened"
    with pytest.raises(IncompatibleRows, match=r"late.delta · value is String in new rows and Float64 in the table"):
        table.append(pl.DataFrame({"at": [START], "value": ["3"]}))
    assert table.scan().collect().height == 4


def test_a_delta_table_without_days_takes_rows_too(tmp_path: Path) -> None:
    table = FeatureTable("feature view 'late'", tmp_path / "late.delta", "at")
    rows = pl.DataFrame({"at": [START], "value": [1.0]})
    rows.write_delta(table.path)
    table.append(rows)
    assert values(table, START, START) == [1.0, 1.0]


@pytest.mark.parametrize("name", ["late.delta", "late.parquet", "empty-folder"])
def test_a_table_that_is_not_filled_yet_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty-folder").mkdir()
    table = FeatureTable("feature view 'late'", tmp_path / name, "at")
    with pytest.raises(MissingFeatureTable, match=f"'late' · no table at {tmp_path / name}; legal: .* Materialize"):
        table.scan()


def test_a_table_without_its_timestamp_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"seen": [START], "value": [1.0]}).write_parquet(tmp_path / "late.parquet")
    table = FeatureTable("feature view 'late'", tmp_path / "late.parquet", "at")
    with pytest.raises(ValueError, match="'late' · no column 'at'; found: seen, value"):
        table.scan()
