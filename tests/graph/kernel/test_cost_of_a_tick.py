"""What a full evaluation of the conditions costs does not grow with the assets, and not with the square of the partitions."""

import datetime as dt
import sys
import uuid
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy
from dagster._core.events import AssetMaterializationPlannedData, StepMaterializationData

from mlops_assets.foundation.calendars import UTC_DAYS
from mlops_assets.graph.kernel.conditions import EVERY_PARENT, build_cascade
from mlops_assets.graph.kernel.dagster_internals import MADE, PLANNED
from mlops_assets.graph.kernel.tables import looking_back

NOW = dt.timedelta(0)


def failing(number: int) -> dg.AssetsDefinition:
    @dg.asset(name=f"asset_{number}", deps=["files"], automation_condition=build_cascade(EVERY_PARENT, NOW))
    def asset() -> None:
        raise ValueError("the delivery is broken")

    return asset


def queries_of_a_tick(assets: int, *, failed: bool, folder: Path) -> int:
    folder.mkdir()
    definitions = dg.Definitions([dg.AssetSpec("files"), *map(failing, range(assets))], executor=dg.in_process_executor)
    queries: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_arguments: Any) -> None:
        queries.append(statement)

    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("files"))
        if failed:
            definitions.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance, raise_on_error=False)
        everything = dg.AssetSelection.all()
        first = dg.evaluate_automation_conditions(definitions, instance, everything)
        assert first.total_requested == (0 if failed else assets)
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", count)
        try:
            dg.evaluate_automation_conditions(definitions, instance, everything, cursor=first.cursor)
        finally:
            sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", count)
    return len([query for query in queries if "PRAGMA" not in query])


@pytest.mark.parametrize("failed", [False, True])
def test_the_number_of_queries_does_not_depend_on_the_number_of_assets(failed: bool, tmp_path: Path) -> None:
    few, many = (queries_of_a_tick(number, failed=failed, folder=tmp_path / str(number)) for number in (2, 12))
    assert few == many <= 20


def record(instance: dg.DagsterInstance, kind: dg.DagsterEventType, data: Any, run: str) -> None:
    event = dg.DagsterEvent(kind.value, job_name="by_hand", event_specific_data=data)
    instance.report_dagster_event(event, run_id=run)


def calls_of_a_tick(days: int) -> int:
    """Python calls where each day was landed and made by a run of its own."""
    first = dt.date(2013, 1, 1)
    partitions = dg.DailyPartitionsDefinition(first.isoformat(), end_date=(first + dt.timedelta(days=days)).isoformat())
    dep = dg.AssetDep("files", partition_mapping=looking_back(dt.timedelta(days=2), UTC_DAYS, UTC_DAYS))

    @dg.asset(deps=[dep], partitions_def=partitions, automation_condition=build_cascade(EVERY_PARENT, NOW))
    def rows() -> None: ...

    definitions, calls = dg.Definitions([dg.AssetSpec("files", partitions_def=partitions), rows]), 0
    with dg.DagsterInstance.ephemeral() as instance:
        for day in partitions.get_partition_keys():
            instance.report_runless_asset_event(dg.AssetMaterialization("files", partition=day))
            run = str(uuid.uuid4())
            record(instance, PLANNED, AssetMaterializationPlannedData(rows.key, partition=day), run)
            record(instance, MADE, StepMaterializationData(dg.AssetMaterialization(rows.key, partition=day)), run)

        def count(_frame: Any, event: str, _argument: Any) -> None:
            nonlocal calls
            calls += event == "call"

        first_tick = dg.evaluate_automation_conditions(definitions, instance, dg.AssetSelection.all())
        assert first_tick.total_requested == 0
        sys.setprofile(count)
        try:
            dg.evaluate_automation_conditions(definitions, instance, dg.AssetSelection.all(), cursor=first_tick.cursor)
        finally:
            sys.setprofile(None)
    return calls


def test_the_time_of_a_tick_is_linear_in_the_partitions() -> None:
    assert calls_of_a_tick(120) < 2.5 * calls_of_a_tick(60)
