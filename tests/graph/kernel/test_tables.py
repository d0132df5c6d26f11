"""Tables between assets: lazy on the way in, checked for their type, and a clear message when one is missing."""

import sys
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from mlops_assets.graph.kernel.dagster_internals import RANGE_END, RANGE_START
from mlops_assets.graph.kernel.tables import ONE_RUN, PARTITION_COLUMN, RENAMED, DataFrame, LazyFrame, build_io_managers

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
def counted(written: LazyFrame) -> dg.MaterializeResult:
    assert isinstance(written, pl.LazyFrame)
    return dg.MaterializeResult(metadata={"flights": written.collect()["flights"].sum()})


@pytest.fixture
def managers(tmp_path: Path) -> dict[str, object]:
    return build_io_managers(str(tmp_path / "tables"), str(tmp_path / "values"))


def test_a_table_reaches_the_next_asset_lazily(managers: dict[str, object]) -> None:
    result = dg.materialize([written, counted], resources=managers)
    assert result.asset_materializations_for_node("counted")[0].metadata["flights"].value == 3


def test_an_output_that_is_no_frame_fails_the_type_check(managers: dict[str, object]) -> None:
    with pytest.raises(dg.DagsterTypeCheckDidNotPass, match='expected type "DataFrame"'):
        dg.materialize([forgotten], resources=managers)


def test_a_missing_table_is_named(managers: dict[str, object]) -> None:
    with pytest.raises(dg.Failure, match=r"written\.delta · the table does not exist. Materialize written first"):
        dg.materialize([written, counted], selection=[counted], resources=managers)


def engines_made(managers: dict[str, object], days: int, folder: Path) -> int:
    """By a run over so many days, for its events."""

    @dg.asset(io_manager_key="tables", partitions_def=DAYS, metadata=BY_DAY, backfill_policy=ONE_RUN)
    def daily() -> DataFrame:
        return ROWS.with_columns(day=date(2013, 7, 1))

    made = 0

    def count(frame: Any, event: str, _argument: Any) -> None:
        nonlocal made
        made += event == "call" and frame.f_code.co_name == "create_engine"

    tags = {RANGE_START: "2013-07-01", RANGE_END: f"2013-07-{days:02}"}
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        dg.materialize([daily], resources=managers, instance=instance, tags=tags)  # opens the tables
        sys.setprofile(count)
        try:
            assert dg.materialize([daily], resources=managers, instance=instance, tags=tags).success
        finally:
            sys.setprofile(None)
    return made


def test_an_event_of_a_run_makes_no_engine(managers: dict[str, object], tmp_path: Path) -> None:
    assert engines_made(managers, 2, tmp_path) == engines_made(managers, 12, tmp_path)


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
    with pytest.raises(dg.Failure, match=r"daily.delta · the table still has delay \(now late\). Run `mlops migrate`"):
        deliver("2013-07-02", "late")
    assert pl.read_delta(str(tmp_path / "tables" / "daily.delta")).columns == ["delay", "day"]
