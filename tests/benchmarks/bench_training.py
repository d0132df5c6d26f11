"""What validation, features and training set cost at 10k, 1M and 10M rows: CPU seconds and peak memory, each in a fresh process.

It ends with code 1 when a stage needs more than MAX_GIGABYTES, or more than MAX_GROWTH times the time for each row of ten times
as many. A process that passes KILL_GIGABYTES is killed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

CELL = "tests.benchmarks.training_cell"
PROJECT = Path(__file__).resolve().parents[2]
SIZES, SEED = (10_000, 1_000_000, 10_000_000), 0
STAGES = ("validation", "features", "training_set")
MAX_GIGABYTES, KILL_GIGABYTES = 8.0, 12.0
MAX_GROWTH = 1.5  # of the time per row, from 1M to 10M


def run_cell(stage: str, folder: Path, *rest: int) -> dict[str, Any] | None:
    """What the cell prints; None of one that was killed."""
    command = [sys.executable, "-W", "ignore", "-m", CELL, stage, folder, *rest]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen([*map(str, command)], stdout=out, stderr=err, cwd=PROJECT)
        process = psutil.Process(child.pid)
        while child.poll() is None:
            if process.memory_info().rss > KILL_GIGABYTES * 2**30:
                child.kill()
                child.wait()
                return None
            time.sleep(0.1)
        out.seek(0), err.seek(0)
        if child.returncode:
            raise RuntimeError(f"{stage} · ended with {child.returncode}: {err.read()[-2000:]}")
        return json.loads(out.read().splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=list(SIZES))
    broken, before = list[str](), dict[str, float]()
    for count in parser.parse_args().rows:
        with tempfile.TemporaryDirectory() as folder:
            run_cell("generate", Path(folder), count, SEED)
            for stage in STAGES:
                name = f"{stage} of {count:,} rows"
                if (cost := run_cell(stage, Path(folder))) is None:
                    print(f"{name:<34} killed at {KILL_GIGABYTES:.0f} GB", flush=True)
                    broken.append(name)
                    continue
                per_row = cost["seconds"] / count * 1e6
                growth = per_row / before[stage] if count > SIZES[1] and stage in before else 0.0
                before[stage] = per_row
                grown = f", {growth:.2f} times the time per row (at most {MAX_GROWTH})" if growth else ""
                print(
                    f"{name:<34} {cost['seconds']:7.1f} CPU s, {per_row:8.1f} µs a row, {cost['gigabytes']:.2f} GB "
                    f"(at most {MAX_GIGABYTES:.0f}){grown}",
                    flush=True,
                )
                broken += [name] if cost["gigabytes"] > MAX_GIGABYTES or growth > MAX_GROWTH else []
    print(f"broken: {'; '.join(broken) or 'nothing'}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
