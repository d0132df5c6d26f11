"""A use case on a home of its own: real files, real Delta tables, real checks, and Dagster in this process over many runs."""

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import polars as pl

from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import PROJECT, Environment, read_environment
from mlops_assets.graph.compile import build_use_case
from mlops_assets.graph.kernel.tables import build_io_managers
from mlops_assets.ingestion.landing import Landing
from mlops_assets.resources import build_resources
from mlops_assets.spec.use_case import UseCase

STAGES = (names.raw, names.validated, names.quarantine)
Day = dt.date | int  # a number counts from the first declared day


class Line:
    """`use_case` can be replaced by another declaration between two runs."""

    def __init__(self, environment: Environment, use_case: UseCase, instance: dg.DagsterInstance) -> None:
        self.environment, self.instance, self.home = environment, instance, environment.home.root
        self.landing, self.tables = Landing(environment.home.landing), DeltaTables(environment.home.tables)
        self.declare(use_case)

    def declare(self, use_case: UseCase) -> None:
        self.use_case = use_case
        tables = build_io_managers(str(self.environment.home.tables), str(self.home / "values"))
        shared = dg.Definitions(resources={**build_resources(self.environment), **tables}, executor=dg.in_process_executor)
        self.definitions = dg.Definitions.merge(shared, build_use_case(use_case))
        self.job = self.definitions.resolve_implicit_global_asset_job_def()

    def day(self, day: Day) -> dt.date:
        return day if isinstance(day, dt.date) else self.use_case.first_day + dt.timedelta(days=day)

    def run(self, *paths: names.AssetPath, first: Day = 0, last: Day | None = None) -> dg.ExecuteInProcessResult:
        """One run over these days; `last` is `first` where it is left out."""
        bounds = zip(("start", "end"), (first, first if last is None else last), strict=True)
        tags = {f"dagster/asset_partition_range_{end}": self.day(day).isoformat() for end, day in bounds}
        keys = [dg.AssetKey(path) for path in paths]
        return self.job.execute_in_process(asset_selection=keys, instance=self.instance, tags=tags, raise_on_error=False)

    def stages(self, *tables: str) -> list[names.AssetPath]:
        """The assets from the landed file to the validated table and its quarantine."""
        return [stage(self.use_case.name, table) for table in tables for stage in STAGES]

    def ingest(self, table: str, first: Day, last: Day | None = None) -> dg.ExecuteInProcessResult:
        return self.run(*self.stages(table), first=first, last=last)

    def rows(self, path: names.AssetPath) -> pl.DataFrame:
        return self.tables.scan(path).collect() if self.tables.exists(path) else pl.DataFrame()


# Of a platform with a server: two tests at a time may have one.
ON_ANY_PORT = {"MLOPS_SERVICE_URL": "http://127.0.0.1:0"}


def variables(home: Path) -> dict[str, str]:
    """Without a server: another program may listen at the default address."""
    return {"MLOPS_ENV": "test", "MLOPS_HOME": str(home), "MLOPS_SERVICE_URL": "http://127.0.0.1:9"}


def environment_of(root: Path, repo: Mapping[str, str]) -> Environment:
    """A project whose feature_repo has these modules, and a home in it."""
    (root / "feature_repo").mkdir()
    for name, text in repo.items():
        (root / "feature_repo" / f"{name}_objects.py").write_text(text)
    return read_environment(variables(root / "home"), root)


@contextmanager
def running_line(home: Path, use_case: UseCase, project: Path = PROJECT) -> Iterator[Line]:
    """With the feature_repo of a project."""
    with dg.DagsterInstance.ephemeral(tempdir=str(home)) as instance:
        yield Line(read_environment(variables(home), project), use_case, instance)


def failed_checks(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    return {check.check_name: check.description or "" for check in result.get_asset_check_evaluations() if not check.passed}


def failure(result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(event.step_failure_data.error.to_string() for event in result.all_events if event.is_step_failure)
