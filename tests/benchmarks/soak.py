"""A long, steady load on one server, with its memory, its queue and its prediction log watched.

Belongs here: the soak and its bounds. Not here: the short rounds (bench_service.py).
Resident memory is read from statm, once a second: the finer figures walk the page tables, under a lock that would show in
the latencies.
"""

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil

from mlops_assets.local.processes import running
from tests.benchmarks.contenders import LOOKED_UP, PROJECT, Contender, Question

MAX_GROWTH, MAX_QUEUE_GROWTH, SMALL_QUEUE = 1.05, 2.0, 5.0


def soak(contender: Contender, command: Callable[[Question], list[str]], judge: Callable[..., None]) -> int:
    """Asks with features looked up until the generator ends, and returns the number of answers; `judge` gets the bounded values."""
    question = next(candidate for candidate in contender.questions if candidate.name == LOOKED_UP)
    before = set(psutil.Process().children(recursive=True))
    with running([contender.child]):
        family = [process for process in psutil.Process().children(recursive=True) if process not in before]
        summary, resident = watched(command(question), family)
    print(
        f"\nsoak, looked up on Redis: {len(resident)} s at {summary['rate']:,.0f}/s, {summary['answered']:,} answers; "
        f"p50 {summary['p50_ms']:.2f}, p99 {summary['p99_ms']:.2f}, p99.9 {summary['p999_ms']:.2f}, max {summary['max_ms']:.1f} ms; "
        f"{len(family)} processes, {resident[-1] / 2**20:.0f} MB"
    )
    early, late = early_and_late(resident, statistics.fmean)
    judge("resident memory, last tenth to second tenth", [late / early], least=2 - MAX_GROWTH, most=MAX_GROWTH)
    early, late = early_and_late(summary["backlog"], statistics.median)
    judge("unanswered at most in a second, last tenth", [late], most=MAX_QUEUE_GROWTH * max(early, SMALL_QUEUE), unit="")
    judge("requests of the soak that failed", [float(sum(summary["failed"].values()))], most=0, unit="")
    return summary["answered"]


def watched(command: Sequence[str], family: Sequence[psutil.Process]) -> tuple[dict[str, Any], list[int]]:
    """The output of the generator, and the memory of the server in bytes, each second."""
    resident: list[int] = []
    generator = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        due = time.monotonic()
        while generator.poll() is None:
            resident.append(sum(process.memory_info().rss for process in family))
            due += 1
            time.sleep(max(0.0, due - time.monotonic()))
        output, _ = generator.communicate()
    finally:
        generator.kill()
    if generator.returncode:
        raise RuntimeError(f"soak · the generator ended with {generator.returncode}; its traceback is above.")
    return json.loads(output), resident


def early_and_late(series: Sequence[float], middle: Callable[[Sequence[float]], float]) -> tuple[float, float]:
    """Of the second and of the last tenth: the first tenth still warms up."""
    tenth = max(1, len(series) // 10)
    return middle(series[tenth : 2 * tenth]), middle(series[-tenth:])
