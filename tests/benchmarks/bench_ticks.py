"""The CPU time of a tick of the automation sensor of one use case, once a file of it has landed, by the partitions that it has made.

The event log is filled as a run for each partition leaves it, with events of 5 KB. It ends with code 1 when a tick takes a second
or more. The first tick after a start reads which run has made what; the others remember it.
"""

import argparse
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, StepMaterializationData
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable

from mlops_assets.foundation.home import read_environment
from mlops_assets.foundation.names import LANDING
from mlops_assets.graph.compile import build_shared, compile_use_cases
from mlops_assets.graph.kernel.asset_metadata import STAGE
from mlops_assets.graph.kernel.dagster_internals import DATA_VERSION, MADE, PLANNED
from mlops_assets.graph.kernel.dagster_storage import share_engines
from mlops_assets.graph.kernel.shared_sensors import share_sensors
from mlops_assets.spec.grain import Daily, Grain, Hourly
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS

HOURS_A_DAY, KILOBYTES, TICKS, MAX_S = 24, 5, 5, 1.0
SIZES: tuple[tuple[Grain, int], ...] = ((Daily(), 365), (Daily(), 5000), (Hourly(), 9000))
NOBODY = {"text": dg.MetadataValue.text("x" * 1000 * KILOBYTES)}


def use_case_of(grain: Grain, partitions: int) -> UseCase:
    """All of whose partitions have passed."""
    days = partitions if isinstance(grain, Daily) else partitions // HOURS_A_DAY
    sources = tuple(source.but(grain=grain) for source in LOANS.sources)
    first = date(2010, 1, 1)
    contracts = tuple(contract.but(expectations=()) for contract in LOANS.contracts)
    return LOANS.but(sources=sources, contracts=contracts, first_day=first, last_day=first + timedelta(days=days - 1))


def fill(instance: Any, definitions: dg.Definitions) -> dg.AssetKey:
    """As runs leave it that have made every partition; the landed table."""
    graph = definitions.resolve_asset_graph()
    partitioned = [key for key in graph.toposorted_asset_keys if graph.get(key).is_partitioned]
    storage, keys = instance.event_log_storage, graph.get(partitioned[0]).partitions_def.get_partition_keys()
    runs = {partition: str(uuid.uuid4()) for partition in keys}
    for kind in (PLANNED, MADE):  # of every run, so that a child was planned after its parent was made
        for key in partitioned:
            if kind is PLANNED and graph.get(key).tags[STAGE] == LANDING:
                continue
            rows = [storage._event_to_row(entry) for entry in entries(key, runs, kind, graph.get(key).code_version)]
            with storage.index_connection() as connection:
                connection.execute(SqlEventLogStorageTable.insert(), rows)
    for key in graph.toposorted_asset_keys:
        if not graph.get(key).is_partitioned:
            instance.report_runless_asset_event(dg.AssetMaterialization(key))
    return next(key for key in partitioned if graph.get(key).tags[STAGE] == LANDING)


def entries(key: dg.AssetKey, runs: dict[str, str], kind: dg.DagsterEventType, code: str) -> Iterator[EventLogEntry]:
    for partition, run in runs.items():
        tags = {"dagster/code_version": code, DATA_VERSION: "0123456789ab"}
        made = StepMaterializationData(dg.AssetMaterialization(key, partition=partition, tags=tags, metadata=NOBODY))
        data = AssetMaterializationPlannedData(key, partition=partition) if kind is PLANNED else made
        event = dg.DagsterEvent(kind.value, job_name="__ASSET_JOB", event_specific_data=data)
        yield EventLogEntry(None, "info", "", run, time.time(), dagster_event=event, job_name="__ASSET_JOB")


def measure(grain: Grain, partitions: int, folder: Path) -> tuple[float, float]:
    """CPU seconds of the first tick, and of the slowest of the others, each after another event."""
    use_case = use_case_of(grain, partitions)
    variables = {"MLOPS_ENV": "test", "MLOPS_HOME": str(folder / "home"), "MLOPS_SERVICE_URL": "http://127.0.0.1:9"}
    shared, own = build_shared(read_environment(variables, folder)), compile_use_cases([use_case])[0]
    (sensor,) = (one for one in share_sensors(own) if one.name == "automation_1")
    parts = own[use_case.name]
    assets = dg.Definitions(parts.assets, asset_checks=parts.asset_checks, sensors=[sensor])
    definitions, ledger = dg.Definitions.merge(shared, assets), (shared.resources or {})["ledger"]
    repository = definitions.get_repository_def()
    took, cursor = list[float](), None
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        landed = fill(instance, definitions)
        for _ in range(1 + TICKS):
            event = dg.AssetMaterialization(landed, partition=use_case.first_day.isoformat() + "T00" * isinstance(grain, Hourly))
            instance.report_runless_asset_event(event)
            began = time.process_time()
            with dg.build_sensor_context(
                instance, cursor, repository_def=repository, sensor_name=sensor.name, resources={"ledger": ledger}
            ) as context:
                sensor.evaluate_tick(context)
                cursor = context.cursor
            took.append(time.process_time() - began)
    return took[0], max(took[1:])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--most", type=int, default=10_000, help="partitions")
    options, held = parser.parse_args(), True
    share_engines()
    for grain, partitions in SIZES:
        if partitions <= options.most:
            with tempfile.TemporaryDirectory() as folder:
                first, others = measure(grain, partitions, Path(folder))
            held &= others < MAX_S
            verdict = "ok" if others < MAX_S else "BROKEN"
            name = type(grain).__name__.lower()
            print(
                f"{partitions:>6,} {name} partitions: {others:.2f} s a tick (below {MAX_S:.0f}), {first:.2f} s the first  {verdict}"
            )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
