"""A small graph of every kind of dependency that real use cases have, whose sensors are ticked and whose runs are made by hand.

    landed_orders, by day ─► raw ─► valid ─► feature, which looks two days back ─► online
    landed_rates, whole ───────────────────►                      valid, online ─► report

Real files would be slow: `landed` holds what has been delivered, `stored` what the runs have written.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import dagster as dg
from dagster._core.test_utils import freeze_time

from mlops_assets.foundation.calendars import UTC_DAYS
from mlops_assets.foundation.names import LANDING
from mlops_assets.graph.kernel import changes, dagster_internals, dagster_runs, shared_sensors
from mlops_assets.graph.kernel.asset_metadata import STAGE
from mlops_assets.graph.kernel.automation import build_automation
from mlops_assets.graph.kernel.conditions import CASCADE, LONGEST_RETRY, LOOK_BACK_CASCADE
from mlops_assets.graph.kernel.dagster_internals import DATA_VERSION, data_versions
from mlops_assets.graph.kernel.tables import ONE_RUN, looking_back
from mlops_assets.resources import LedgerResource
from mlops_assets.spec.code_version import code_version

FIRST, COUNT = dt.date(2013, 1, 1), 6
PARTITIONS = dg.DailyPartitionsDefinition(FIRST.isoformat(), end_date=(FIRST + dt.timedelta(days=COUNT)).isoformat())
DAYS: list[str] = [*PARTITIONS.get_partition_keys()]
LOOKBACK = 2
TICK = dt.timedelta(seconds=5)
LANDED = {"orders": "raw", "rates": "feature"}  # with the asset that reads it
PARENTS = {"raw": ["landed_orders"], "valid": ["raw"], "feature": ["valid", "landed_rates"], "online": ["feature"],
           "report": ["valid", "online"]}  # fmt: skip
DAILY_ASSETS, WHOLE_ASSETS = ("raw", "valid", "feature"), ("online", "report")
At = str | None
Stored = dict[tuple[str, At], Any]
Conditions = tuple[Any, Any]  # of assets by day, and of those without partitions
OURS: Conditions = (CASCADE, LOOK_BACK_CASCADE)


def key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["tiny", name])


def read_days(name: str, day: str) -> list[str]:
    """The days of `valid` that a day of `name` reads."""
    at = DAYS.index(day)
    return DAYS[max(0, at - LOOKBACK) : at + 1] if name == "feature" else [day]


class Killed(BaseException):
    """The worker's process has ended."""


class Story:
    """`during` is what happens while the next run is between reading and writing, `faults` how often an asset's runs fail yet,
    and `codes` the version of the code of each asset.
    """

    def __init__(self, instance: dg.DagsterInstance, folder: Path, conditions: Conditions = OURS) -> None:
        self.instance, self.conditions, self.now = instance, conditions, dt.datetime(2013, 2, 1, tzinfo=dt.UTC)
        self.landed, self.stored = Stored(), Stored()
        self.during, self.faults = list[Callable[[], None]](), Counter[str]()
        self.codes = dict.fromkeys(PARENTS, 1)
        self.cursor: str | None = None
        self.runs, self.depth, self.made = 0, 0, list[tuple[str, tuple[At, ...]]]()
        self.resources = {"ledger": LedgerResource(url=f"sqlite:///{folder / 'ledger.db'}", heads=str(folder))}
        self.declare()

    # --- the graph ----------------------------------------------------------------------------------------------------------

    def declare(self) -> None:
        """As a code location that is loaded."""
        files = [dg.AssetSpec(key("landed_orders"), partitions_def=PARTITIONS, tags={STAGE: LANDING})]
        files += [dg.AssetSpec(key("landed_rates"), tags={STAGE: LANDING})]
        assets = [*files, *map(self._asset, PARENTS)]
        automation = build_automation("tiny_automation", dg.AssetSelection.key_prefixes("tiny"))
        own = dg.Definitions(assets, sensors=[automation])
        self.sensor = next(one for one in shared_sensors.share_sensors({"tiny": own}) if one.name == "automation_1")
        by_hand = dg.define_asset_job("by_hand", dg.AssetSelection.assets(key("raw"), key("valid")), partitions_def=PARTITIONS)
        definitions = dg.Definitions(assets, sensors=[self.sensor], jobs=[by_hand], executor=dg.in_process_executor)
        self.repository, self.job = definitions.get_repository_def(), definitions.resolve_implicit_global_asset_job_def()
        self.by_hand = definitions.resolve_job_def("by_hand")

    def _asset(self, name: str) -> dg.AssetsDefinition:
        is_daily, code = name in DAILY_ASSETS, self.codes[name]
        window = looking_back(dt.timedelta(days=LOOKBACK), UTC_DAYS, UTC_DAYS)
        mapped = {"valid": window} if name == "feature" else {}
        deps = [dg.AssetDep(key(parent), partition_mapping=mapped.get(parent)) for parent in PARENTS[name]]
        partitioned: dict[str, Any] = {"partitions_def": PARTITIONS, "backfill_policy": ONE_RUN} if is_daily else {}

        @dg.asset(
            key=key(name),
            deps=deps,
            code_version=code_version(code),
            automation_condition=self.conditions[not is_daily],
            **partitioned,
        )
        def made(context: dg.AssetExecutionContext) -> None:
            self._make(name, code, tuple(context.partition_keys) if is_daily else (None,))

        return made

    def _make(self, name: str, code: int, days: tuple[At, ...]) -> None:
        self.made.append((name, days))
        values = {day: self.compute(name, day, code) for day in days}
        while self.during:
            self.during.pop()()
        if self.faults[name]:
            self.faults[name] -= 1
            raise OSError("database is locked")
        self.stored |= {(name, day): value for day, value in values.items()}

    def compute(self, name: str, day: At, code: int) -> Any:
        """What an asset is made from: the code and the values of its parents."""
        if name == "raw":
            return code, self.landed["orders", day]
        if name == "feature":
            return code, *(self.stored["valid", one] for one in read_days("feature", str(day))), self.landed["rates", None]
        read = [(parent, one) for parent, one in sorted(self.stored, key=str) if parent in PARENTS[name] and day in (None, one)]
        return code, *(self.stored[at] for at in read)

    def rebuilt(self) -> Stored:
        """The contents of every asset after all of them have been computed again from the landed files."""
        kept, self.stored = self.stored, {}
        for name in PARENTS:
            for day in DAYS if name in DAILY_ASSETS else [None]:
                if self._has_parents(name, day):
                    self.stored[name, day] = self.compute(name, day, self.codes[name])
        kept, self.stored = self.stored, kept
        return kept

    def _has_parents(self, name: str, day: At) -> bool:
        if name == "raw":
            return ("orders", day) in self.landed
        if name == "feature" and ("rates", None) not in self.landed:
            return False
        days = read_days(name, day) if day else [None]
        parents = [parent for parent in PARENTS[name] if parent in PARENTS]
        if day is None:  # what has landed of each, as long as there is any
            return all(any(one == parent for one, _ in self.stored) for parent in parents)
        return all((parent, one) in self.stored for parent in parents for one in days)

    # --- what happens -------------------------------------------------------------------------------------------------------

    def land(self, table: str, day: At, value: int | None) -> None:
        self.landed[table, day] = value

    def report(self) -> None:
        """As the landing sensor does: what differs from the event log."""
        with freeze_time(self.now):
            for table in LANDED:
                reported = data_versions(self.instance, key(f"landed_{table}"), partitioned=table == "orders")
                for (one, day), value in self.landed.items():
                    if one == table and reported.get(day) != str(value):
                        event = dg.AssetMaterialization(key(f"landed_{table}"), partition=day, tags={DATA_VERSION: str(value)})
                        self.instance.report_runless_asset_event(event)

    def tick(self, after: dt.timedelta = TICK) -> list[dg.RunRequest]:
        self.now += after
        with self._clock():
            context = dg.build_sensor_context(
                self.instance, self.cursor, repository_def=self.repository, sensor_name=self.sensor.name, resources=self.resources
            )
            with context:
                result: Any = self.sensor.evaluate_tick(context)
            if isinstance(result, dg.SkipReason):
                self.cursor = context.cursor
                return []
            self.cursor = result.cursor or context.cursor
        return [*(result.run_requests or ())]

    def run(self, request: dg.RunRequest) -> bool:
        self.runs += 1
        keys, checks = [*(request.asset_selection or ())], request.tags
        with self._clock():
            result = self.job.execute_in_process(
                asset_selection=keys,
                instance=self.instance,
                tags=checks,
                partition_key=request.partition_key,
                raise_on_error=False,
            )
        return result.success

    def run_by_hand(self, day: str) -> None:
        """Starts a run by hand, which waits for no other."""
        with self._clock():
            self.by_hand.execute_in_process(instance=self.instance, partition_key=day, raise_on_error=False)

    def kill(self, request: dg.RunRequest) -> None:
        """The process of a run ends before it reads anything."""
        with self._clock():
            self.runs += 1
            during = [*self.during]
            run = self.instance.create_run_for_job(
                self.job.get_subset(asset_selection={*(request.asset_selection or ())}),
                tags=request.tags, asset_selection=frozenset(request.asset_selection or ()),
            )  # fmt: skip
            self.instance.report_run_failed(run)
            self.during[:] = during

    def restart(self, *, forget: bool = False) -> None:
        """The daemon and its code server; `forget`: the tick was not stored before."""
        for module in (shared_sensors, changes, dagster_internals, dagster_runs):
            for name in [
                name for name, value in vars(module).items() if name.isupper() and name[0] == "_" and type(value) is dict
            ]:
                vars(module)[name].clear()
        self.cursor = None if forget else self.cursor
        self.declare()

    def settle(self, most: int = 60) -> int:
        """Ticks and runs until nothing is requested, also not after the pause before a retry; how many runs were made."""
        before, quiet = self.runs, 0
        self.report()
        for _ in range(most):
            requests = self.tick(LONGEST_RETRY + TICK if quiet else 3 * TICK)
            for request in requests:
                self.run(request)
            self.report()
            quiet = 0 if requests else quiet + 1
            if quiet > 2:
                return self.runs - before
        raise AssertionError(f"more is requested after {most} ticks: {self.made[-10:]}")

    @contextmanager
    def _clock(self) -> Iterator[None]:
        def seconds() -> float:
            return self.now.timestamp()

        own = mock.patch.multiple(shared_sensors, monotonic=seconds), mock.patch.multiple(changes, monotonic=seconds)
        with freeze_time(self.now), own[0], own[1]:
            yield


@contextmanager
def running_story(conditions: Conditions = OURS) -> Iterator[Story]:
    with TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral(tempdir=folder) as instance:
        story = Story(instance, Path(folder), conditions)
        story.restart()
        yield story
