"""How much of the machine other programs used during a measurement.

Belongs here: processor time of the machine against that of our own processes. Not here: what is concluded from it.
"""

import contextlib
import time

import psutil


class Bystanders:
    """Counts from its creation, as long as every process of ours is waited for by its parent."""

    def __init__(self) -> None:
        self._began, self._machine, self._ours = time.monotonic(), _machine_s(), _ours_s()

    def cores(self) -> float:
        """Cores kept busy, on average, by what is neither this process nor below it; the kernel's own work counts too."""
        elapsed = time.monotonic() - self._began
        return max(0.0, (_machine_s() - self._machine) - (_ours_s() - self._ours)) / elapsed


def _machine_s() -> float:
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq + times.steal


def _ours_s() -> float:
    me, total = psutil.Process(), 0.0
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
