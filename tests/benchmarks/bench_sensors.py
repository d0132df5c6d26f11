"""Whether the sensors of 100 use cases keep their intervals: one daemon on a home of its own, idle as most platforms are.

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
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import dagster as dg
import psutil

from mlops_assets.local.processes import Child, running
from tests.benchmarks.bystanders import Bystanders

PROJECT = Path(__file__).resolve().parents[2]
MODULE = "tests.benchmarks.many_use_cases"
LOOP_S = 5  # of Dagster's sensor daemon
COUNT, SECONDS, START_SECONDS = 100, 120.0, 240.0
FIRST_TICKS = 4  # import what they need, and evaluate every condition for the first time
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


def gaps(found: Mapping[str, list[tuple[float, str]]], since: float, until: float) -> Iterator[tuple[str, float]]:
    """Seconds between ticks, also those that the end cuts off: a sensor that stopped would else look fine."""
    for name, own in found.items():
        times = [since, *(at for at, _ in own if since < at < until)]
        yield from ((name, later - earlier) for earlier, later in pairwise([*times[1:]] if len(times) > 2 else [*times, until]))


def cpu_seconds() -> dict[int, float]:
    own = psutil.Process().children(recursive=True)
    return {one.pid: sum(one.cpu_times()[:2]) for one in own}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=COUNT, help="use cases")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        child = daemon(Path(folder), options.count)
        with dg.DagsterInstance.from_config(f"{folder}/dagster") as instance, running([child]):
            deadline = time.monotonic() + START_SECONDS
            while not (found := ticks(instance)) or min(map(len, found.values())) < FIRST_TICKS:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not every sensor has ticked in {START_SECONDS:.0f} s: {child.log.read_text()[-2000:]}")
                time.sleep(LOOP_S)
            others, since, used = Bystanders(), time.time(), cpu_seconds()
            time.sleep(options.seconds)
            until, busy = time.time(), others.cores()
            cores = sum(seconds - used.get(pid, 0) for pid, seconds in cpu_seconds().items()) / (until - since)
            found, allowed = ticks(instance), intervals(instance)
    by_kind = defaultdict[str, list[float]](list)
    for name, seconds in gaps(found, since, until):
        by_kind[kind_of(name)].append(seconds / allowed[name])
    failed = {kind_of(name) for name, own in found.items() for _, status in own if status == "FAILURE"}
    print(
        f"{options.count} use cases, {len(found)} sensors, {options.seconds:.0f} s; seconds between ticks, as a ratio to the interval"
    )
    broken = list[str]()
    for kind, ratios in sorted(by_kind.items()):
        median, worst = statistics.median(ratios), max(ratios)
        held = median <= MAX_MEDIAN and worst <= MAX_WORST and kind not in failed
        broken += [] if held else [kind]
        print(
            f"  {kind:<24} median {median:.2f} (at most {MAX_MEDIAN}), worst {worst:.2f} (at most {MAX_WORST}), {len(ratios)} ticks"
            f"{', some failed' * (kind in failed)}  {'ok' if held else 'BROKEN'}"
        )
    print(f"  daemon and code server use {cores:.2f} cores; others use {busy:.1f}")
    return (2 if busy > MAX_OTHERS_CORES else 1) if broken else 0


if __name__ == "__main__":
    sys.exit(main())
