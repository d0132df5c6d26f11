"""A real graph on a temporary home: real files, real Delta tables, real checks, Dagster in process."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import PROJECT, read_environment
from mlops_assets.graph.compile import build_use_case
from mlops_assets.graph.kernel.tables import build_io_managers
from mlops_assets.ingestion.landing import Landing
from mlops_assets.resources import build_resources
from mlops_assets.use_cases.flight_delay import USE_CASE
from mlops_assets.use_cases.flight_delay.airline import deliveries, package_folder

FIRST, LAST = dt.date(2013, 1, 2), dt.date(2013, 1, 6)  # the schedule of a day lands the day before


@pytest.fixture(scope="session")
def january() -> list[Any]:
    """What the airlines delivered in the first days of the year."""
    return [*deliveries(package_folder(), FIRST - dt.timedelta(days=1), LAST)]


@dataclass
class Platform:
    """The definitions of flight_delay on one home folder, and an instance that outlives a run."""

    home: Path
    instance: dg.DagsterInstance
    definitions: dg.Definitions

    @property
    def landing(self) -> Landing:
        return Landing(self.home / "landing")

    @property
    def tables(self) -> DeltaTables:
        return DeltaTables(self.home / "tables")

    def land(self, delivered: list[Any]) -> None:
        for each in delivered:
            self.landing.put(USE_CASE.name, each.table, day=each.day, rows=each.rows)

    def materialize(self, *assets: names.AssetPath, first: dt.date = FIRST, last: dt.date = FIRST) -> dg.ExecuteInProcessResult:
        tags = {"dagster/asset_partition_range_start": first.isoformat(), "dagster/asset_partition_range_end": last.isoformat()}
        job = self.definitions.resolve_implicit_global_asset_job_def()
        keys = [dg.AssetKey(path) for path in assets]
        return job.execute_in_process(asset_selection=keys, instance=self.instance, tags=tags, raise_on_error=False)

    def carry(self, table: str, first: dt.date = FIRST, last: dt.date = FIRST) -> dg.ExecuteInProcessResult:
        """From the landed file to the validated table and its quarantine."""
        paths = [name(USE_CASE.name, table) for name in (names.raw, names.validated, names.quarantine)]
        return self.materialize(*paths, first=first, last=last)

    def rows(self, path: names.AssetPath) -> pl.DataFrame:
        return self.tables.scan(path).collect() if self.tables.exists(path) else pl.DataFrame()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    environment = read_environment({"MLOPS_ENV": "test", "MLOPS_HOME": str(tmp_path)}, PROJECT)
    between = build_io_managers(str(environment.home.tables), str(tmp_path / "values"))
    shared = dg.Definitions(resources={**build_resources(environment), **between}, executor=dg.in_process_executor)
    definitions = dg.Definitions.merge(shared, build_use_case(USE_CASE))
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        yield Platform(tmp_path, instance, definitions)


def failed_checks(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    return {check.check_name: check.description or "" for check in result.get_asset_check_evaluations() if not check.passed}


def failure(result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(event.step_failure_data.error.to_string() for event in result.all_events if event.is_step_failure)
