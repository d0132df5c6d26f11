"""Which failed tables are made again by themselves, and when: a real event log, real runs, the shipped condition."""

import datetime as dt
import errno
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.test_utils import freeze_time

from mlops_assets.foundation.names import LANDING
from mlops_assets.graph.kernel.asset_metadata import STAGE
from mlops_assets.graph.kernel.assets import asset
from mlops_assets.graph.kernel.conditions import EVERY_PARENT, LONGEST_RETRY, RETRY, build_cascade
from mlops_assets.graph.kernel.lasting_failures import FailingByRule, lasts
from mlops_assets.ingestion.landing import BrokenDelivery, MissingDelivery

DAYS = dg.DailyPartitionsDefinition("2013-01-01", end_date="2013-01-03")
DAY, OTHER = "2013-01-01", "2013-01-02"
FILES, TABLE = dg.AssetKey(["tiny", "files"]), dg.AssetKey(["tiny", "table"])
SECOND, MINUTE = dt.timedelta(seconds=1), dt.timedelta(minutes=1)


def no_permission() -> pl.DataFrame:
    raise OSError(errno.EACCES, "Permission denied", "/a/folder")


def missing_column() -> pl.DataFrame:
    return pl.DataFrame({"a": [1]}).select("b")


def broken_delivery() -> pl.DataFrame:
    raise BrokenDelivery("tiny · files · 2013-01-01: the file has no header. Deliver it again.")


def sound() -> pl.DataFrame:
    return pl.DataFrame({"a": [1]})


class Storing(dg.InMemoryIOManager):
    """Refuses tables without rows, as a store does whose columns have another type."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        if obj.is_empty():
            raise ValueError("the table has other columns")
        super().handle_output(context, obj)


class Table:
    """Made of files by day; `at` is the time at which its condition is evaluated."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.make, self.code = instance, sound, "a-1"

    def land(self, *days: str) -> None:
        for day in days:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(FILES, partition=day))

    def definitions(self) -> dg.Definitions:
        @asset(
            key=TABLE, deps=[["tiny", "files"]], description="", code_version=self.code, partitions_def=DAYS,
            automation_condition=build_cascade(EVERY_PARENT, dt.timedelta(0)), io_manager_key="tables",
        )  # fmt: skip
        def table() -> pl.DataFrame:
            return self.make()

        files = dg.AssetSpec(FILES, partitions_def=DAYS, tags={STAGE: LANDING})
        return dg.Definitions([files, table], resources={"tables": FailingByRule(Storing())}, executor=dg.in_process_executor)

    def run(self) -> bool:
        job = self.definitions().resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(asset_selection=[TABLE], instance=self.instance, partition_key=DAY, raise_on_error=False)
        return result.success

    def is_requested(self, after: dt.timedelta = SECOND, now: dt.datetime | None = None) -> bool:
        """Whether its condition requests the day, this long after now."""
        at, everything = (now or dt.datetime.now(dt.UTC)) + after, dg.AssetSelection.all()
        result = dg.evaluate_automation_conditions(self.definitions(), self.instance, everything, evaluation_time=at)
        return DAY in result.get_requested_partitions(TABLE)


@pytest.fixture
def table() -> Iterator[Table]:
    with dg.DagsterInstance.ephemeral() as instance:
        table = Table(instance)
        table.land(DAY)
        assert table.is_requested()
        yield table


def test_a_fault_outside_of_the_platform_is_tried_again_after_growing_pauses(table: Table) -> None:
    table.make = no_permission
    assert not table.run()
    assert not table.is_requested(RETRY - 5 * SECOND)
    assert table.is_requested(RETRY + 5 * SECOND)


MISTAKES: dict[str, Callable[[], pl.DataFrame]] = {
    "a column is missing": missing_column,
    "a delivery is broken": broken_delivery,
    "the store refuses the rows": pl.DataFrame,
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_tried_again_only_when_its_input_or_its_code_has_changed(table: Table, name: str) -> None:
    table.make = MISTAKES[name]
    assert not table.run()
    assert not table.is_requested()
    assert not table.is_requested(LONGEST_RETRY * 30)
    table.land(OTHER)
    assert not table.is_requested(), "another day is no correction"
    table.code = "a-2"
    assert table.is_requested(), "the code is corrected"
    assert not table.run()
    assert not table.is_requested(LONGEST_RETRY)
    table.land(DAY)
    assert table.is_requested(), "the file is corrected"
    table.make = sound
    assert table.run()
    assert not table.is_requested(LONGEST_RETRY)


def test_a_fault_that_goes_on_is_tried_as_long_after_as_it_has_lasted_and_at_least_daily() -> None:
    now, pauses = dt.datetime(2013, 2, 1, tzinfo=dt.UTC), list[float]()
    with dg.DagsterInstance.ephemeral() as instance:
        table = Table(instance)
        table.make = no_permission
        with freeze_time(now):
            table.land(DAY)
        for hours in (0, 0.5, 0.5, 1, 2, 4, 8, 16, 24, 24):
            pause = dt.timedelta(hours=hours)
            assert not pause or not table.is_requested(pause - MINUTE, now), pauses
            now += pause
            assert table.is_requested(SECOND, now), pauses
            with freeze_time(now):
                assert not table.run()
            pauses.append(hours)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (pl.exceptions.ColumnNotFoundError("a"), True),
        (MissingDelivery("no file has landed"), True),
        (KeyError("a"), True),
        (dg.Failure("illegal", allow_retries=False), True),
        (dg.Failure("unknown"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), False),
        (ConnectionResetError(), False),
        (MemoryError(), False),
        (sqlite3.OperationalError("attempt to write a readonly database"), False),
    ],
    ids=repr,
)
def test_only_what_the_data_the_code_or_the_declaration_causes_lasts(error: Exception, expected: bool) -> None:
    assert lasts(error) is expected
