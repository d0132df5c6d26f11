"""The Polars offline store against a bare Polars `join_asof`, Feast's DuckDB store and Feast's Dask store, as ratios.

Every cell is a fresh process (offline_store_cell), taken in turn over rounds; a ratio compares two cells of one round. Parquet
on disk to Arrow in memory, 84 feature rows a key, 10 features, 1M entity rows; and all flights of 2013 with their weather.
It ends with 1 when a bound is broken in every round, with 2 when only some rounds keep it: the machine is too noisy to tell.

Memory counts from what a process holds once its libraries are loaded: `import feast` alone takes 0.38 GB, torch included,
bare Polars 0.06 GB. The whole process is printed next to it.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

CELL = Path(__file__).with_name("offline_store_cell.py")
PROJECT = CELL.parents[2]
SIZES = (336_000, 3_000_000, 10_000_000)
ROUNDS = {336_000: 5, 3_000_000: 5, 10_000_000: 3}
BARE, OURS, DUCKDB, DASK = "bare Polars", "our store", "Feast DuckDB", "Feast Dask"
MAX_TIME, MAX_MEMORY = 1.3, 1.3  # to bare Polars
MIN_GAIN_WITHOUT_TTL = 5.0  # over DuckDB
MAX_FLIGHTS_SECONDS = 0.3
LIMIT_SECONDS = 25.0  # DuckDB without a TTL takes 34 to 53 s: being stopped here proves the bound as well
LIMIT_SHARE = 0.5  # of the free memory: others work on this machine
ROW_BYTES = 12 * 8
FIXED_BYTES = 1 << 30  # libraries, and 1M entity rows with their answers

Cell = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """`rows` = 0 asks for the flights' weather. The first two contenders are taken each round, in turning order, the others once."""

    name: str
    rows: int
    ttl_hours: float
    contenders: tuple[str, ...]
    rounds: int


@dataclass
class Report:
    """What was found: a line is printed at once, `broken` and `noisy` decide how the run ends, `killed` who is spared."""

    broken: list[str] = field(default_factory=list)
    noisy: list[str] = field(default_factory=list)
    killed: dict[str, str] = field(default_factory=dict)

    def judge(self, what: str, ratios: list[float], most: float, unit: str = "x") -> None:
        middle, least, greatest = statistics.median(ratios), min(ratios), max(ratios)
        verdict = "ok" if middle <= most else "too noisy to tell" if least <= most else "BROKEN"
        if verdict != "ok":
            (self.noisy if least <= most else self.broken).append(what)
        print(f"    {what:<44} {middle:.2f}{unit} ({least:.2f} to {greatest:.2f}, at most {most:.2g})  {verdict}")


# --- one cell ---------------------------------------------------------------------------------------------------------


def run_cell(folder: Path, contender: str, ttl_hours: float) -> Cell:
    """What the cell says, or {"killed": why, "seconds": how long it had run} when it passed a limit."""
    limit = psutil.virtual_memory().available * LIMIT_SHARE
    command = [sys.executable, "-W", "ignore", CELL, "ask", folder, contender, str(ttl_hours)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(list(map(str, command)), stdout=out, stderr=err, cwd=PROJECT)
        killed = watch(child, out, limit)
        out.seek(0), err.seek(0)
        if killed:
            return killed
        if child.returncode:
            raise RuntimeError(f"{contender} · ended with {child.returncode}: {err.read()[-2000:]}")
        return json.loads(out.read().splitlines()[-1])


def watch(child: subprocess.Popen[bytes], out: IO[str], limit: float) -> Cell | None:
    """Waits for the end of the cell; the time counts from the line with which it says that it is ready."""
    start, process = time.monotonic(), psutil.Process(child.pid)
    while child.poll() is None:
        if not os.fstat(out.fileno()).st_size:
            start = time.monotonic()
        taken, memory = time.monotonic() - start, resident(process)
        if memory > limit or taken > LIMIT_SECONDS:
            child.kill()
            child.wait()
            why = f"{memory / 2**30:.1f} GB, above {LIMIT_SHARE:.0%} of the free memory" if memory > limit else "the time limit"
            return {"killed": f"killed at {why}, after {taken:.0f} s", "seconds": taken}
        time.sleep(0.05)
    return None


def resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


# --- one question -----------------------------------------------------------------------------------------------------


def answer(question: Question, folder: Path, report: Report) -> None:
    print(f"\n{question.name}")
    cells: dict[str, list[Cell]] = {contender: [] for contender in question.contenders}
    for number in range(question.rounds):
        for contender in question.contenders if number == 0 else question.contenders[:2][:: (-1) ** number]:
            if question.ttl_hours and contender in report.killed:
                print(f"  {contender:<13} skipped: {report.killed[contender]}")
                continue
            cells[contender].append(run_cell(folder, contender, question.ttl_hours))
    for contender, taken in cells.items():
        print_cells(question, contender, taken, report)
    compare(question, cells, report)


def print_cells(question: Question, contender: str, cells: list[Cell], report: Report) -> None:
    if not cells:
        return
    if why := cells[0].get("killed"):
        print(f"  {contender:<13} {why}")
        if question.ttl_hours and contender in {DUCKDB, DASK}:  # no bound hangs on them: not tried again at a greater size
            report.killed[contender] = f"{why} at {question.name}"
        return
    seconds, peak, base = (statistics.median(cell[name] for cell in cells) for name in ("seconds", "peak", "base"))
    print(f"  {contender:<13} {seconds:6.2f} s  {peak - base:6,.0f} MB + {base:.0f} MB of libraries  {cells[0]['rows']:,} rows")


def compare(question: Question, cells: dict[str, list[Cell]], report: Report) -> None:
    if stopped := [name for name in (OURS, BARE) for cell in cells.get(name, []) if "killed" in cell]:
        report.noisy.append(f"{question.name}: {stopped[0]} was killed")
    elif question.ttl_hours:
        compare_peers(cells)
        check_same(question, cells, report)
        compare_to_bare(question, cells, report)
    else:
        compare_without_ttl(question, cells[OURS][0]["seconds"], cells[DUCKDB][0], report)


def compare_peers(cells: dict[str, list[Cell]]) -> None:
    for peer in (DUCKDB, DASK):
        for cell in cells.get(peer, []):
            times = cell["seconds"] / cells[OURS][0]["seconds"]
            print(f"    {peer + ' to our store':<44} {'over ' if 'killed' in cell else ''}{times:.1f}x")


def compare_to_bare(question: Question, cells: dict[str, list[Cell]], report: Report) -> None:
    if not question.rows:
        report.judge("our store, all flights", [cell["seconds"] for cell in cells[OURS]], MAX_FLIGHTS_SECONDS, " s")
        return
    pairs = list(zip(cells[OURS], cells[BARE], strict=True))
    report.judge("time to bare Polars", [ours["seconds"] / bare["seconds"] for ours, bare in pairs], MAX_TIME)
    report.judge("memory to bare Polars", [grown(ours) / grown(bare) for ours, bare in pairs], MAX_MEMORY)
    whole = statistics.median(ours["peak"] / bare["peak"] for ours, bare in pairs)
    print(f"    {'whole process, libraries included':<44} {whole:.2f}x")


def compare_without_ttl(question: Question, seconds: float, duckdb: Cell, report: Report) -> None:
    """A DuckDB that was stopped proves the bound when it had run long enough by then, and nothing otherwise."""
    gain = duckdb["seconds"] / seconds
    if "killed" in duckdb and gain < MIN_GAIN_WITHOUT_TTL:
        report.noisy.append(f"{question.name}: Feast DuckDB was killed too early")
        return
    report.judge("our store to Feast DuckDB", [1 / gain], 1 / MIN_GAIN_WITHOUT_TTL)
    print(f"    that is {'at least ' if 'killed' in duckdb else ''}{gain:.0f} times faster")


def grown(cell: Cell) -> float:
    return cell["peak"] - cell["base"]


def check_same(question: Question, cells: dict[str, list[Cell]], report: Report) -> None:
    """Ours must equal bare Polars in every row, in order; DuckDB keeps no order; Dask is known to lose rows (feast#6787)."""
    ours, bare = cells[OURS][0], cells[BARE][0]
    same = close(ours["found"], bare["found"]) and math.isclose(ours["ordered"], bare["ordered"], rel_tol=1e-9)
    for duck in cells.get(DUCKDB, []):
        same = same and ("killed" in duck or close(ours["found"], duck["found"]))
    if not same:
        report.broken.append(f"{question.name}: the answers differ")
        print("    the answers differ: BROKEN")


def close(one: list[float], other: list[float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(one, other, strict=True))


# --- all of them ------------------------------------------------------------------------------------------------------


def questions(sizes: list[int]) -> list[Question]:
    everyone, no_bound = (BARE, OURS, DUCKDB, DASK), (OURS, DUCKDB)
    cases = [Question("all flights to the weather of their origin, TTL 3 h", 0, 3, (BARE, OURS, DUCKDB), 3)]
    for rows in sizes:
        cases.append(Question(f"{rows:,} feature rows, TTL 7 d", rows, 168, everyone, ROUNDS.get(rows, 3)))
        if rows < SIZES[-1]:
            cases.append(Question(f"{rows:,} feature rows, no TTL", rows, 0, no_bound, 1))
    return cases


def shortage(rows: int, folder: Path) -> str | None:
    """Why the machine cannot hold this size: the tables three times over in memory, twice on disk."""
    memory, disk = 3 * rows * ROW_BYTES + FIXED_BYTES, 2 * rows * ROW_BYTES
    available = {"memory": psutil.virtual_memory().available * LIMIT_SHARE, "disk": shutil.disk_usage(folder).free}
    for what, needed in {"memory": memory, "disk": disk}.items():
        if available[what] < needed:
            return f"needs {needed / 2**30:.1f} GB of {what}, {available[what] / 2**30:.1f} GB may be taken"
    return None


def lay(folder: Path, rows: int) -> Path:
    tables = folder / str(rows)
    if not tables.exists():
        tables.mkdir()
        subprocess.run([sys.executable, str(CELL), "lay", str(tables), str(rows)], cwd=PROJECT, check=True)
    return tables


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=list(SIZES), help="feature rows of the made tables")
    report, started = Report(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for question in questions(parser.parse_args().rows):
            if why := shortage(question.rows, Path(folder)):
                print(f"\n{question.name}\n  skipped: {why}")
                continue
            answer(question, lay(Path(folder), question.rows), report)
    load = ", ".join(f"{average:.1f}" for average in psutil.getloadavg())
    print(f"\n{time.monotonic() - started:.0f} s on {psutil.cpu_count()} cores; load of the last 1, 5 and 15 minutes: {load}")
    print(f"broken: {'; '.join(report.broken) or 'nothing'}. Too noisy to tell: {'; '.join(report.noisy) or 'nothing'}.")
    return 1 if report.broken else 2 if report.noisy else 0


if __name__ == "__main__":
    sys.exit(main())
