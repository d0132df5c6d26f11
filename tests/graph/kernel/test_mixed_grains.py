"""Assets of several grains in one graph: what a tick requests, and which partitions of a table another grain reads."""

import datetime as dt
from collections.abc import Iterator
from itertools import combinations_with_replacement, pairwise
from typing import Any

import dagster as dg
import pytest

from mlops_assets.foundation.calendars import Calendar, Days, Hours, Months, Weeks, WholeTable
from mlops_assets.foundation.names import LANDING
from mlops_assets.graph.kernel.asset_metadata import STAGE
from mlops_assets.graph.kernel.automation import build_automation
from mlops_assets.graph.kernel.conditions import EVERY_PARENT, LANDED_PARENTS, build_cascade
from mlops_assets.graph.kernel.tables import ONE_RUN, looking_back, partitions_of
from mlops_assets.spec.split import TimeSplit
from mlops_assets.use_cases.flight_delay import USE_CASE as FLIGHT_DELAY

NOW, LOOKBACK = dt.timedelta(0), dt.timedelta(hours=36)
ONE_DAY = dt.timedelta(days=1)
# A tick evaluates every declared hour.
USE_CASE = FLIGHT_DELAY.but(last_day=dt.date(2013, 1, 31), split=TimeSplit(test=ONE_DAY, validation=ONE_DAY))
TABLES: dict[str, Calendar] = {"by_hour": Hours(), "by_day": Days(), "by_week": Weeks(), "snapshot": WholeTable()}


class Line:
    """Each table is read from its landed files. `feature` reads all of them by hour, and `online` reads that. `joined` reads the
    days and the snapshot, and waits for both.
    """

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.cursor, self.made = instance, None, list[tuple[str, tuple[str, ...]]]()
        landed = [self._landed(name) for name in TABLES]
        assets = [*map(self._table, TABLES), self._feature(), self._online(), self._joined()]
        self.sensor = build_automation("mixed", dg.AssetSelection.all())
        definitions = dg.Definitions([*landed, *assets], sensors=[self.sensor], executor=dg.in_process_executor)
        self.repository, self.job = definitions.get_repository_def(), definitions.resolve_implicit_global_asset_job_def()

    def _landed(self, name: str) -> dg.AssetSpec:
        return dg.AssetSpec(f"landed_{name}", partitions_def=partitions_of(USE_CASE, TABLES[name]), tags={STAGE: LANDING})

    def _made(self, context: dg.AssetExecutionContext, calendar: Calendar) -> None:
        self.made.append((context.asset_key.path[-1], tuple(context.partition_keys) if calendar.cron else ()))

    def _table(self, name: str) -> dg.AssetsDefinition:
        calendar = TABLES[name]

        @dg.asset(
            name=name,
            deps=[f"landed_{name}"],
            partitions_def=partitions_of(USE_CASE, calendar),
            backfill_policy=ONE_RUN,
            automation_condition=build_cascade(EVERY_PARENT, NOW),
        )
        def table(context: dg.AssetExecutionContext) -> None:
            self._made(context, calendar)

        return table

    def _feature(self) -> dg.AssetsDefinition:
        own = Hours()
        deps = [dg.AssetDep(name, partition_mapping=looking_back(LOOKBACK, own, TABLES[name])) for name in TABLES]

        @dg.asset(
            deps=deps,
            partitions_def=partitions_of(USE_CASE, own),
            backfill_policy=ONE_RUN,
            automation_condition=build_cascade(LANDED_PARENTS, NOW),
        )
        def feature(context: dg.AssetExecutionContext) -> None:
            self._made(context, own)

        return feature

    def _online(self) -> dg.AssetsDefinition:
        @dg.asset(deps=["feature"], automation_condition=build_cascade(LANDED_PARENTS, NOW))
        def online(context: dg.AssetExecutionContext) -> None:
            self._made(context, WholeTable())

        return online

    def _joined(self) -> dg.AssetsDefinition:
        own = Days()

        @dg.asset(
            deps=["by_day", "snapshot"],
            partitions_def=partitions_of(USE_CASE, own),
            backfill_policy=ONE_RUN,
            automation_condition=build_cascade(EVERY_PARENT, NOW),
        )
        def joined(context: dg.AssetExecutionContext) -> None:
            self._made(context, own)

        return joined

    def land(self, name: str, key: str | None) -> None:
        self.instance.report_runless_asset_event(dg.AssetMaterialization(f"landed_{name}", partition=key))

    def settle(self) -> list[tuple[str, tuple[str, ...]]]:
        before = len(self.made)
        for _ in range(6):
            requests = self._tick()
            if not requests:
                return self.made[before:]
            for request in requests:
                keys = [*(request.asset_selection or [])]
                assert self.job.execute_in_process(asset_selection=keys, instance=self.instance, tags=request.tags).success
        raise AssertionError(f"more is requested after six ticks: {self.made[before:]}")

    def _tick(self) -> list[Any]:
        name = self.sensor.name
        with dg.build_sensor_context(self.instance, self.cursor, repository_def=self.repository, sensor_name=name) as context:
            evaluated: Any = self.sensor.evaluate_tick(context)
        self.cursor = evaluated.cursor
        return [*(evaluated.run_requests or [])]


@pytest.fixture
def line() -> Iterator[Line]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Line(instance)


def test_a_week_and_its_monday_have_one_key_and_runs_of_their_own(line: Line) -> None:
    line.land("by_day", "2013-01-07")
    line.land("by_week", "2013-01-07")
    assert sorted(line.settle()) == [("by_day", ("2013-01-07",)), ("by_week", ("2013-01-07",))]


@pytest.mark.slow
def test_a_feature_of_several_grains_follows_each_of_its_tables(line: Line) -> None:
    for name, key in (("by_day", "2013-01-02"), ("by_week", "2012-12-31"), ("by_hour", "2013-01-02T05"), ("snapshot", None)):
        line.land(name, key)
    line.settle()
    for name in TABLES:
        line.made.clear()
        line.land(name, {"by_day": "2013-01-02", "by_week": "2012-12-31", "by_hour": "2013-01-02T05", "snapshot": None}[name])
        made = dict(line.settle())
        assert "2013-01-02T05" in made["feature"], f"{name}: {made}"
        assert [one for one in made if one != "joined"][-1] == "online"


def test_a_feature_of_days_and_a_snapshot_waits_for_both_and_follows_both(line: Line) -> None:
    def joined() -> list[str]:
        return [day for name, days in line.settle() for day in days if name == "joined"]

    line.land("by_day", "2013-01-02")
    assert joined() == []
    line.land("snapshot", None)
    assert joined() == ["2013-01-02"]
    line.land("by_day", "2013-01-03")
    assert joined() == ["2013-01-03"]
    line.land("snapshot", None)
    assert joined() == ["2013-01-02", "2013-01-03"], "every day was made from the snapshot that has been replaced"
    assert joined() == []


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize(("own", "upstream"), [*combinations_with_replacement([Hours, Days, Weeks, Months], 2)])
def test_a_partition_reads_every_one_that_its_look_back_touches(own: type[Calendar], upstream: type[Calendar], zone: str) -> None:
    reader, table = own(zone), upstream(zone)
    ours, theirs = partitions_of(FLIGHT_DELAY, reader), partitions_of(FLIGHT_DELAY, table)
    assert ours and theirs
    partition = reader.of(dt.datetime(2013, 10, 27, 2, tzinfo=dt.UTC))
    mapping, subset = looking_back(LOOKBACK, reader, table), ours.empty_subset().with_partition_keys([reader.key(partition)])
    assert mapping
    mapped = mapping.get_upstream_mapped_partitions_result_for_partitions(subset, ours, theirs).partitions_subset
    read = sorted(map(table.parse, mapped.get_partition_keys()))
    assert table.start(read[0]) <= reader.start(partition) - LOOKBACK
    assert table.end(read[-1]) >= reader.end(partition)
    assert all(table.next(one) == following for one, following in pairwise(read))
