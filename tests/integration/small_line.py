"""A process that turns landed files into a champion: `python small_line.py HOME`. test_kill.py runs and kills it.

The use case is flight_delay with few trees and one gate, on the first days of the year.
"""

import sys
from datetime import date, timedelta
from pathlib import Path

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.home import PROJECT, read_environment
from mlops_assets.graph.compile import build_use_case
from mlops_assets.graph.kernel.tables import build_io_managers
from mlops_assets.resources import build_resources
from mlops_assets.spec.gate import Floor
from mlops_assets.spec.split import TimeSplit
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.use_cases.flight_delay import USE_CASE

FIRST, LAST = date(2013, 1, 1), date(2013, 1, 4)
SMALL = USE_CASE.but(
    trainer=HistGradientBoosting(max_iter=5, min_samples_leaf=20),
    reference=None,
    slices=("origin",),
    split=TimeSplit(test=timedelta(days=1), validation=timedelta(days=1)),
    gates=(Floor(metric="auc", bound=0.5),),
)
NO_SERVER = "http://127.0.0.1:9"


def run_pipeline(home: Path) -> None:
    """Ingestion and features of all days in one run, then the training job in another; raises when one fails."""
    variables = {"MLOPS_ENV": "test", "MLOPS_HOME": str(home), "MLOPS_SERVICE_URL": NO_SERVER}
    environment = read_environment(variables, PROJECT)
    between = build_io_managers(str(environment.home.tables), str(home / "values"))
    shared = dg.Definitions(resources={**build_resources(environment), **between}, executor=dg.in_process_executor)
    definitions = dg.Definitions.merge(shared, build_use_case(SMALL))
    folder = environment.home.dagster
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        days = {"dagster/asset_partition_range_start": FIRST.isoformat(), "dagster/asset_partition_range_end": LAST.isoformat()}
        every = definitions.resolve_implicit_global_asset_job_def()
        every.execute_in_process(asset_selection=daily_assets(), instance=instance, tags=days)
        definitions.resolve_job_def(names.job(SMALL.name, "training")).execute_in_process(instance=instance)


def daily_assets() -> list[dg.AssetKey]:
    tables = [source.table for source in SMALL.sources]
    views = [view.name for view in SMALL.features.views]
    paths = [name(SMALL.name, table) for name in (names.raw, names.validated, names.quarantine) for table in tables]
    paths += [name(SMALL.name, view) for name in (names.feature, names.online) for view in views]
    return [dg.AssetKey(path) for path in paths]


if __name__ == "__main__":
    run_pipeline(Path(sys.argv[1]))
