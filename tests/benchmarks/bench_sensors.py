"""Whether the sensors of 100 use cases keep their intervals: one daemon on a home of its own, first idle as most platforms are,
then while files of one use case land.

The daemon looks for due sensors every 5 s, so that an interval of 4 s is 5 s between ticks. It ends with code 1 when the median
of a sensor's seconds between ticks passes its bound, and with 2 when the machine is too busy to tell.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import dagster as dg
import psutil

from mlops_assets.local.processes import Child, running
from tests.benchmarks.bystanders import Bystanders

PROJECT = Path(__file__).resolve().parents[2]
MODULE = "tests.benchmarks.many_use_cases"
LOOP_S = 5  # of Dagster's sensor daemon
COUNT, SECONDS, START_SECONDS = 100, 60.0, 240.0
SWITCH_S = 3600  # a sensor with a longer interval is the switch of a use case
FIRST_TICKS = 2  # import what they need, and evaluate every condition for the first time
MAX_MEDIAN, MAX_WORST = 1.5, 3.0  # of the declared interval, rounded up to the daemon's loop
MAX_OTHERS_CORES = 0.2


def daemon(home: Path, count: int) -> Child:
    (home / "dagster").mkdir()
    shutil.copy(PROJECT / "dagster.yaml", home / "dagster")
    variables = {"MLOPS_ENV": "test", "MLOPS_HOME": str(home), "DAGSTER_HOME": str(home / "dagster"), "MANY": str(count)}
    environment = {**os.environ, **variables, "PYTHONWARNINGS": "ignore"}
    command = [f"{Path(sys.executable).parent}/dagster-daemon", "run", "--module-name", MODULE]
    return Child("daemon", command, environment, home / "daemon.log", PROJECT)


def ticks(instance: dg.DagsterInstance) -> dict[str, list[tuple[float, str]]]:
    """Start and status of the ticks of each sensor, oldest first."""
    states = instance.all_instigator_state()
    storage = [(state, instance.get_ticks(state.instigator_origin_id, state.selector_id)) for state in states]
    return {state.instigator_name: sorted((tick.timestamp, tick.status.value) for tick in own) for state, own in storage}


def intervals(instance: dg.DagsterInstance) -> dict[str, float]:
    """The seconds between ticks that each sensor may take: its own interval, in whole loops of the daemon."""
    states = instance.all_instigator_state()
    declared = {state.instigator_name: getattr(state.instigator_data, "min_interval", 0) or 0 for state in states}
    return {name: -(-seconds // LOOP_S) * LOOP_S for name, seconds in declared.items()}


def kind_of(name: str) -> str:
    return "automation" if name.startswith("automation_") else name


def gaps(ticks_by_sensor: Mapping[str, list[tuple[float, str]]], since: float, until: float) -> Iterator[tuple[str, float]]:
    """Seconds between ticks, also those that the end cuts off: a sensor that stopped would else look fine."""
    for name, own in ticks_by_sensor.items():
        times = [since, *(at for at, _ in own if since < at < until)]
        yield from ((name, later - earlier) for earlier, later in pairwise([*times[1:]] if len(times) > 2 else [*times, until]))


def cpu_seconds() -> dict[int, float]:
    own = psutil.Process().children(recursive=True)
    return {one.pid: sum(one.cpu_times()[:2]) for one in own}


def wait_until_started(instance: dg.DagsterInstance) -> bool:
    """Whether every sensor has evaluated everything; the switches of the use cases tick once."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        time.sleep(LOOP_S)
        ticks_by_sensor = ticks(instance)  # read first: a sensor appears with its first tick
        counts = [len(ticks_by_sensor.get(name, [])) for name, seconds in intervals(instance).items() if seconds < SWITCH_S]
        if counts and min(counts) >= FIRST_TICKS:
            return True
    return False


def measure(instance: dg.DagsterInstance, seconds: float, during: Callable[[], None]) -> bool:
    """Prints each kind of sensor with its ratios and the cores that the platform used; whether all kept their intervals."""
    others, since, used = Bystanders(), time.time(), cpu_seconds()
    while time.time() - since < seconds:
        during()
        time.sleep(LOOP_S)
    until, busy = time.time(), others.cores()
    cores = sum(now - used.get(pid, 0) for pid, now in cpu_seconds().items()) / (until - since)
    ticks_by_sensor, allowed = ticks(instance), {name: own for name, own in intervals(instance).items() if own < SWITCH_S}
    ticks_by_sensor = {name: own for name, own in ticks_by_sensor.items() if name in allowed}
    failed = {kind_of(name) for name, own in ticks_by_sensor.items() for at, status in own if at > since and status == "FAILURE"}
    by_kind = defaultdict[str, list[float]](list)
    for name, gap in gaps(ticks_by_sensor, since, until):
        by_kind[kind_of(name)].append(gap / allowed[name])
    held = [report(kind, ratios, kind in failed) for kind, ratios in sorted(by_kind.items())]
    print(f"  daemon and code server use {cores:.2f} cores; others use {busy:.1f}")
    return all(held)


def report(kind: str, ratios: Sequence[float], failed: bool) -> bool:
    median, worst = statistics.median(ratios), max(ratios)
    held = median <= MAX_MEDIAN and worst <= MAX_WORST and not failed
    bounds = f"median {median:.2f} (at most {MAX_MEDIAN}), worst {worst:.2f} (at most {MAX_WORST})"
    print(f"  {kind:<24} {bounds}, {len(ratios)} ticks{', some failed' * failed}  {'ok' if held else 'BROKEN'}")
    return held


def nothing() -> None:
    """Happens on an idle platform."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=COUNT, help="use cases")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each of the two measurements")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        child = daemon(Path(folder), options.count)
        with dg.DagsterInstance.from_config(f"{folder}/dagster") as instance, running([child]):
            others, started = Bystanders(), time.monotonic()
            if not wait_until_started(instance):
                print(
                    f"not every sensor has ticked {FIRST_TICKS} times in {START_SECONDS:.0f} s: {child.log.read_text()[-2000:]}"
                )
                return 2 if others.cores() > MAX_OTHERS_CORES else 1
            print(f"{options.count} use cases, {len(ticks(instance))} sensors, ready after {time.monotonic() - started:.0f} s")
            print(f"{options.seconds:.0f} s idle; seconds between ticks, as a ratio to the interval")
            idle = measure(instance, options.seconds, nothing)
            print(f"{options.seconds:.0f} s with an event of one use case every {LOOP_S} s")

            def land() -> None:
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(["loans_0", "landed_payments"], partition="2024-03-01")
                )

            busy = measure(instance, options.seconds, land)
            others_cores = others.cores()
    return 0 if idle and busy else 2 if others_cores > MAX_OTHERS_CORES else 1


if __name__ == "__main__":
    sys.exit(main())
