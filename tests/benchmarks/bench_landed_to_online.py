"""How long it takes from a landed file to the online features that follow from it: daemon and service as `mlops up` starts them,
at the shipped settings. Days of flight_delay land one by one, each once the one before is online.

It ends with code 1 when the median passes its bound, and with 2 when the machine is too busy to tell.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.delivery import Delivery
from mlops_assets.foundation.home import PROJECT, read_environment
from mlops_assets.ingestion.landing import Landing
from mlops_assets.local.platform import running_platform
from mlops_assets.use_cases.flight_delay import USE_CASE
from mlops_assets.use_cases.flight_delay.airline import deliveries, package_folder
from tests.benchmarks.bystanders import Bystanders

FIRST, HISTORY, DAYS = date(2013, 1, 1), 3, 4  # landed before, and measured one by one
MAX_S, START_S = 30.0, 300.0
MAX_OTHERS_CORES = 0.2
POLL_S = 0.5
ONLINE = [dg.AssetKey(names.online(USE_CASE.name, view.name)) for view in USE_CASE.features.views]
LANDED = [dg.AssetKey(names.landing(USE_CASE.name, source.table)) for source in USE_CASE.sources]


class Parts(NamedTuple):
    """Seconds, one after the other."""

    sensor: float  # until the files are reported
    settle: float  # until a run is requested: no other file may land meanwhile
    start: float  # until its process executes the first step
    run: float  # until the last view is online

    def __str__(self) -> str:
        return f"{sum(self):5.1f} s = " + " + ".join(f"{name} {value:.1f}" for name, value in self._asdict().items())


def delivered(first: date, last: date) -> list[Delivery]:
    return [*deliveries(package_folder(), first, last)]


def land(landing: Landing, files: Sequence[Delivery]) -> float:
    """When the last file had landed."""
    for file in files:
        landing.put(USE_CASE.name, file.table, day=file.partition, rows=file.rows)
    return time.time()


def made_since(instance: dg.DagsterInstance, keys: list[dg.AssetKey], since: float) -> dict[dg.AssetKey, dg.EventLogEntry]:
    """The newest materialization of each asset that has one since then."""
    newest = {key: instance.get_latest_materialization_event(key) for key in keys}
    return {key: event for key, event in newest.items() if event and event.timestamp >= since}


def wait_until_online(instance: dg.DagsterInstance, since: float) -> dict[dg.AssetKey, dg.EventLogEntry]:
    deadline = time.time() + START_S
    while time.time() < deadline:
        if len(online := made_since(instance, ONLINE, since)) == len(ONLINE):
            return online
        time.sleep(POLL_S)
    raise TimeoutError(f"{[*made_since(instance, ONLINE, since)]} of {len(ONLINE)} views are online after {START_S:.0f} s")


def measure(instance: dg.DagsterInstance, since: float) -> Parts:
    online = wait_until_online(instance, since)
    reported = max(event.timestamp for event in made_since(instance, LANDED, since).values())
    last = max(online.values(), key=lambda event: event.timestamp)
    record = instance.get_run_record_by_id(last.run_id)
    assert record is not None
    created, started = record.create_timestamp.timestamp(), record.start_time or 0.0
    return Parts(reported - since, created - reported, started - created, last.timestamp - started)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        variables = {
            "MLOPS_ENV": "test",
            "MLOPS_HOME": folder,
            "MLOPS_USE_CASE": USE_CASE.name,
            "MLOPS_SERVICE_URL": "http://127.0.0.1:0",
        }
        environment = read_environment(variables, PROJECT)
        landing, day = Landing(environment.home.landing), FIRST + timedelta(days=HISTORY)
        since = land(landing, delivered(FIRST, day - timedelta(days=1)))
        days = [delivered(one, one) for one in (day + timedelta(days=number) for number in range(DAYS))]
        with running_platform(environment, everything=False), dg.DagsterInstance.from_config(f"{folder}/dagster") as instance:
            print(f"the first {HISTORY} days, with the start of the platform: {measure(instance, since)}")
            others, measured = Bystanders(), list[Parts]()
            for files in days:
                measured.append(measure(instance, land(landing, files)))
                print(f"  {measured[-1]}")
            cores = others.cores()
    median, is_busy = statistics.median(map(sum, measured)), cores > MAX_OTHERS_CORES
    verdict = "ok" if median <= MAX_S else "the machine is too busy to tell" if is_busy else "BROKEN"
    print(f"median {median:.1f} s (at most {MAX_S:.0f}); others use {cores:.1f} cores  {verdict}")
    return 0 if median <= MAX_S else 2 if is_busy else 1


if __name__ == "__main__":
    sys.exit(main())
