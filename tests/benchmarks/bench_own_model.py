"""From `mlops new` to the first answer, at 10k, 1M and 10M rows: seconds of each command, its CPU seconds, and the largest process.

It ends with code 1 when a command fails, or a process needs more than MAX_GIGABYTES.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import psutil

PROJECT = Path(__file__).resolve().parents[2]
SIZES, DAYS, SEED = (10_000, 1_000_000, 10_000_000), 100, 0
START = np.datetime64("2024-01-01T00:00:00", "us")
MAX_GIGABYTES, UP_S = 8.0, 600.0
COMMANDS = (
    "new orders --from orders.csv --label returned --time ordered_at --key order --yes",
    "check orders --file orders.csv", "try orders --file orders.csv", "land orders orders.csv", "up", "run orders",
    "predict orders --sample 1",
)  # fmt: skip


class Failed(RuntimeError):
    """A command that did not end well: its output."""


class Cost(NamedTuple):
    seconds: float
    cpu_seconds: float
    gigabytes: float


def write_table(path: Path, rows: int) -> None:
    """Orders of DAYS days, of which a third comes back, more often of one channel."""
    rng, per_day = np.random.default_rng(SEED), rows // DAYS
    with path.open("wb") as file:
        for day in range(DAYS):
            channel = rng.choice(["web", "app", "shop"], per_day)
            amount, visits = rng.lognormal(3, 1, per_day).round(2), rng.poisson(3, per_day)
            chance = 1 / (1 + np.exp(1 - 0.8 * (channel == "app") - 0.2 * (visits - 3)))
            moment = START + 1_000_000 * (86_400 * day + np.sort(rng.integers(0, 86_400, per_day)))
            frame = pl.DataFrame({
                "order": day * per_day + np.arange(per_day), "ordered_at": moment, "amount": amount, "visits": visits,
                "channel": channel, "region": rng.choice([f"r{number}" for number in range(40)], per_day),
                "returned": np.where(rng.random(per_day) < chance, "yes", "no"),
            })  # fmt: skip
            frame.write_csv(file, include_header=day == 0, datetime_format="%Y-%m-%dT%H:%M:%SZ")


class Meter:
    """The CPU seconds and the largest process among some processes and all that they start."""

    def __init__(self, *roots: int) -> None:
        self._roots, self._cpu, self._largest, self._began = roots, dict[int, float](), 0, time.monotonic()

    def look(self) -> None:
        for root in self._roots:
            try:
                processes = [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
            for process in processes:
                try:
                    times, size = process.cpu_times(), process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
                self._cpu[process.pid] = times.user + times.system
                self._largest = max(self._largest, size)

    def cost(self, before: float = 0.0) -> Cost:
        return Cost(time.monotonic() - self._began, sum(self._cpu.values()) - before, self._largest / 2**30)


def start(command: str, place: Path, log: Path, **variables: str) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLOPS_", "DAGSTER_"))}
    environment = kept | {"PYTHONPATH": str(PROJECT), "PYTHONWARNINGS": "ignore"} | variables
    with log.open("wb") as file:
        arguments = [sys.executable, "-m", "mlops_assets", *command.split()]
        return subprocess.Popen(arguments, cwd=place, env=environment, stdout=file, stderr=file)


def measure(command: str, place: Path, log: Path, up: int | None, **variables: str) -> Cost:
    """Of the command, with what it makes the platform do, whose process is `up`."""
    process = start(command, place, log, **variables)
    meter = Meter(process.pid, *([] if up is None else [up]))
    meter.look()
    before = meter.cost().cpu_seconds
    while process.poll() is None:
        meter.look()
        time.sleep(0.1)
    if process.returncode:
        raise Failed(f"mlops {command} · ended with {process.returncode}: {log.read_text()[-2000:]}")
    return meter.cost(before)


@contextmanager
def platform(place: Path, log: Path) -> Generator[tuple[int, str]]:
    """Its process, and the address of the service."""
    up, deadline = start("up", place, log), time.monotonic() + UP_S
    try:
        while "Press Ctrl-C" not in log.read_text():
            if time.monotonic() > deadline or up.poll() is not None:
                raise Failed(f"mlops up · it does not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield up.pid, re.findall(r"^  service +(http\S+)$", log.read_text(), re.MULTILINE)[0]
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)


def walk(folder: Path) -> Iterator[tuple[str, Cost]]:
    """The costs of the commands, of a table in `folder`/shop."""
    place, log, at_up = folder / "shop", folder / "log", COMMANDS.index("up")
    for command in COMMANDS[:at_up]:
        yield command, measure(command, place, log, None)
    began = time.monotonic()
    with platform(place, folder / "up.log") as (up, url):
        meter = Meter(up)
        meter.look()
        yield "up", meter.cost()._replace(seconds=time.monotonic() - began)
        for command in COMMANDS[at_up + 1 :]:
            yield command, measure(command, place, log, up, MLOPS_SERVICE_URL=url)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=list(SIZES))
    code = 0
    for rows in parser.parse_args().rows:
        with tempfile.TemporaryDirectory() as folder:
            measure("init shop", Path(folder), Path(folder) / "log", None)
            write_table(Path(folder) / "shop" / "orders.csv", rows)
            costs = list[Cost]()
            try:
                for command, cost in walk(Path(folder)):
                    costs.append(cost)
                    print(
                        f"{rows:>12,} rows  {command.split()[0]:<8} {cost.seconds:7.1f} s {cost.cpu_seconds:7.1f} s of CPU",
                        end="",
                    )
                    print(f" {cost.gigabytes:6.2f} GB", flush=True)
            except Failed as error:
                print(error)
                code = 1
            largest = max((cost.gigabytes for cost in costs), default=0.0)
            code = code or int(largest > MAX_GIGABYTES)
            total, bound = sum(cost.seconds for cost in costs), f"(at most {MAX_GIGABYTES:.0f})"
            print(f"{rows:>12,} rows  in all   {total:7.1f} s, largest process {largest:.2f} GB {bound}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
