"""Tables between assets: lazy on the way in, checked for their type, and a clear word when one is missing."""

from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from mlops_assets.foundation.stored_schema import IncompatibleRows
from mlops_assets.graph.kernel.tables import PARTITION_COLUMN, RENAMED, DataFrame, LazyFrame, build_io_managers

BY_DAY = {PARTITION_COLUMN: "day"}
DAYS = dg.DailyPartitionsDefinition("2013-07-01")
ROWS = pl.DataFrame({"carrier": ["AA", "UA"], "flights": [1, 2]})


@dg.asset(io_manager_key="tables")
def written() -> DataFrame:
    return ROWS


@dg.asset(io_manager_key="tables")
def forgotten() -> DataFrame:
    return "no frame"  # pyright: ignore[reportReturnType]


@dg.asset
def seen(written: LazyFrame) -> dg.MaterializeResult:
    assert isinstance(written, pl.LazyFrame)
    return dg.MaterializeResult(metadata={"flights": written.collect()["flights"].sum()})


@pytest.fixture
def managers(tmp_path: Path) -> dict[str, object]:
    return build_io_managers(str(tmp_path / "tables"), str(tmp_path / "values"))


def test_a_table_reaches_the_next_asset_lazily(managers: dict[str, object]) -> None:
    result = dg.materialize([written, seen], resources=managers)
    assert result.asset_materializations_for_node("seen")[0].metadata["flights"].value == 3


def test_what_is_no_frame_fails_the_type_check(managers: dict[str, object]) -> None:
    with pytest.raises(dg.DagsterTypeCheckDidNotPass, match='expected type "DataFrame"'):
        dg.materialize([forgotten], resources=managers)


def test_a_missing_table_is_named(managers: dict[str, object]) -> None:
    with pytest.raises(FileNotFoundError, match=r"written\.delta · the table does not exist. Materialize written first"):
        dg.materialize([written, seen], selection=[seen], resources=managers)


@pytest.mark.parametrize(("old", "new", "kept"), [([12], [12.5], [12.0, 12.5]), ([1.5], [None], [1.5, None])])
def test_a_day_of_another_type_changes_no_value_of_the_table(
    managers: dict[str, object], tmp_path: Path, old: list[int], new: list[float], kept: list[float]
) -> None:
    def deliver(day: str, values: list[float]) -> None:
        @dg.asset(io_manager_key="tables", partitions_def=DAYS, metadata=BY_DAY)
        def daily() -> DataFrame:
            return pl.DataFrame({"delay": values, "day": [date.fromisoformat(day)] * len(values)})

        dg.materialize([daily], partition_key=day, resources=managers)

    deliver("2013-07-01", old)
    deliver("2013-07-02", new)
    assert pl.read_delta(str(tmp_path / "tables" / "daily.delta")).sort("day")["delay"].to_list() == kept


def test_rows_by_a_new_name_wait_until_the_table_is_migrated(managers: dict[str, object], tmp_path: Path) -> None:
    def deliver(day: str, column: str) -> None:
        @dg.asset(io_manager_key="tables", partitions_def=DAYS, metadata={**BY_DAY, RENAMED: {"delay": "late"}})
        def daily() -> DataFrame:
            return pl.DataFrame({column: [1], "day": [date.fromisoformat(day)]})

        dg.materialize([daily], partition_key=day, resources=managers)

    deliver("2013-07-01", "delay")
    with pytest.raises(IncompatibleRows, match=r"daily.delta · the table still has delay \(now late\). Run `mlops migrate`"):
        deliver("2013-07-02", "late")
    assert pl.read_delta(str(tmp_path / "tables" / "daily.delta")).columns == ["delay", "day"]
