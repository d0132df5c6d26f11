"""The file forms of a feature table: only the needed days are read, and writes are atomic."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.features.offline.feature_table import FeatureTable, MissingFeatureTable

START = datetime(2013, 3, 10, 6, tzinfo=UTC)
DAY = timedelta(days=1)
FORMS = [".parquet", "-folder", "-by-day", ".delta"]


def write(root: Path, form: str) -> FeatureTable:
    """Five days, one row each, with the number of the day as its value."""
    at = pl.Series([START + number * DAY for number in range(5)])
    rows = pl.DataFrame({"carrier": "AA", "at": at, "value": pl.Series(range(5), dtype=pl.Float64), "day": at.dt.date()})
    path = root / f"late{form}"
    if form == ".delta":
        rows.write_delta(path, delta_write_options={"partition_by": ["day"]})
    elif form == ".parquet":
        rows.drop("day").write_parquet(path)
    else:
        for number, part in enumerate(rows.partition_by("day")):
            folder = path / f"day={part['day'][0]}" if form == "-by-day" else path
            folder.mkdir(parents=True, exist_ok=True)
            part.drop("day").write_parquet(folder / f"{number}.parquet")
    return FeatureTable(owner="feature view 'late'", path=path, delta=form == ".delta", timestamp="at")


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


def test_only_the_days_of_the_range_are_opened_in_a_folder_of_days(tmp_path: Path) -> None:
    table = write(tmp_path, "-by-day")
    (table.path / "day=2013-03-14" / "4.parquet").write_bytes(b"not a Parquet file")
    assert values(table, START + DAY, START + 3 * DAY) == [1.0, 2.0, 3.0]
    with pytest.raises(pl.exceptions.ComputeError, match="out of specification"):
        values(table, START + 4 * DAY)


@pytest.mark.parametrize("form", FORMS)
def test_appended_rows_land_on_their_day(tmp_path: Path, form: str) -> None:
    table = write(tmp_path, form)
    table.append(pl.DataFrame({"value": [7], "carrier": ["UA"], "at": [START + DAY]}))
    assert values(table) == [0.0, 1.0, 2.0, 3.0, 4.0, 7.0]
    assert values(table, START + DAY, START + DAY) == [1.0, 7.0]
    assert table.schema() == {"carrier": pl.String, "at": pl.Datetime("us", "UTC"), "value": pl.Float64}


@pytest.mark.parametrize("name", ["late.delta", "late.parquet"])
def test_rows_replace_all_others_whatever_their_columns(tmp_path: Path, name: str) -> None:
    table = FeatureTable(owner="dataset 'late'", path=tmp_path / name, delta=name.endswith(".delta"), timestamp="at")
    for rows in (pl.DataFrame({"at": [START, START], "old": [1, 2]}), pl.DataFrame({"at": [START], "new": ["a"]})):
        table.replace(rows)
        assert table.scan().collect().equals(rows)


def test_a_folder_of_files_is_not_replaced(tmp_path: Path) -> None:
    table = write(tmp_path, "-folder")
    with pytest.raises(IsADirectoryError, match="'late' · .*late-folder is a folder; legal: .* Name a file"):
        table.replace(pl.DataFrame({"at": [START]}))
    assert len(values(table)) == 5


@pytest.mark.parametrize("name", ["late.delta", "late.parquet", "empty-folder"])
def test_a_table_that_is_not_filled_yet_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty-folder").mkdir()
    table = FeatureTable(owner="feature view 'late'", path=tmp_path / name, delta=name.endswith(".delta"), timestamp="at")
    with pytest.raises(MissingFeatureTable, match=f"'late' · no table at {tmp_path / name}; legal: .* Materialize"):
        table.scan()


def test_appended_files_are_as_readable_as_the_umask_allows(tmp_path: Path) -> None:
    """A server under another user id reads them; also a single file that an earlier version wrote for its owner alone."""
    rows = pl.DataFrame({"value": [7.0], "carrier": ["UA"], "at": [START + DAY]})
    tables = [write(tmp_path, form) for form in (".parquet", "-folder", "-by-day")]
    tables[0].path.chmod(0o600)
    before = {*tmp_path.rglob("*.parquet")} - {tables[0].path}
    previous = os.umask(0o027)
    try:
        for table in tables:
            table.append(rows)
    finally:
        os.umask(previous)
    written = {*tmp_path.rglob("*.parquet")} - before
    assert {file.stat().st_mode & 0o777 for file in written if file.is_file()} == {0o640} and len(written) == 3


def test_a_table_without_its_timestamp_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"seen": [START], "value": [1.0]}).write_parquet(tmp_path / "late.parquet")
    table = FeatureTable(owner="feature view 'late'", path=tmp_path / "late.parquet", delta=False, timestamp="at")
    with pytest.raises(ValueError, match="'late' · no column 'at'; found: seen, value"):
        table.scan()
