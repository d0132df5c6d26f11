"""Every stored version of a table is read as it was; a removed one is reported."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.foundation.delta_tables import DeltaTables, VersionGone

ASSET = ["line", "training_set"]


def written(root: Path, *contents: list[int]) -> DeltaTables:
    tables = DeltaTables(root)
    for rows in contents:
        pl.DataFrame({"a": rows}, schema={"a": pl.Int64}).write_delta(str(tables.path(ASSET)), mode="overwrite")
    return tables


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(st.integers(-9, 9)), min_size=1, max_size=5))
def test_every_version_is_read_as_it_was(tmp_path_factory: pytest.TempPathFactory, contents: list[list[int]]):
    tables = written(tmp_path_factory.mktemp("tables"), *contents)
    assert [tables.read_version(ASSET, version)["a"].to_list() for version in range(len(contents))] == contents
    assert tables.version(ASSET) == len(contents) - 1


@pytest.mark.parametrize("version", [2, 99, -1])
def test_a_version_that_never_existed_is_reported(tmp_path: Path, version: int):
    tables = written(tmp_path, [1], [2])
    with pytest.raises(
        VersionGone, match=rf"line\.training_set · version {version} cannot be read any more .* the newest is 1\. "
    ):
        tables.read_version(ASSET, version)


def test_vacuumed_files_and_a_cleaned_log_are_reported(tmp_path: Path):
    tables = written(tmp_path, [1], [2], [3])
    table = DeltaTable(str(tables.path(ASSET)))
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(VersionGone, match="version 0 cannot be read any more"):
        tables.read_version(ASSET, 0)
    assert tables.read_version(ASSET, 2)["a"].to_list() == [3]
    DeltaTable(str(tables.path(ASSET))).create_checkpoint()
    for early in range(2):
        (tables.path(ASSET) / "_delta_log" / f"{early:020}.json").unlink()
    with pytest.raises(VersionGone, match="version 1 cannot be read any more"):
        tables.read_version(ASSET, 1)
    assert tables.read_version(ASSET, tables.version(ASSET))["a"].to_list() == [3]
