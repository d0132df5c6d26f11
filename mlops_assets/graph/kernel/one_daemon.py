"""The run queue of dagster.yaml: one daemon at a time works on an instance of Dagster, and one instance on a home. It starts anew
where the clock was set back.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import dagster as dg
from filelock import FileLock, Timeout

from mlops_assets.foundation.durations import SKEW
from mlops_assets.foundation.home import read_environment
from mlops_assets.foundation.home_lock import HomeInUse
from mlops_assets.graph.kernel.dagster_internals import forget_ticks_to_come
from mlops_assets.graph.kernel.dagster_storage import share_engines
from mlops_assets.home_claim import claim

_LOCKS: dict[Path, FileLock] = {}  # held until the process ends
MACHINE_KEY = "mlops/daemon_machine"  # of the newest daemon, and its DAGSTER_HOME, which an earlier release left out
CLAIMED_KEY = "mlops/daemon_claimed_at"  # in seconds since the epoch: its first heartbeat comes some seconds later
SILENCE_S = 90.0  # a heartbeat is due every 30 s
WATCH_S = 5.0  # between two looks at the clock
SETTLE_S = 1.0  # of two daemons that claim one database at the same time, the later claim is in force


class OneDaemon(dg.QueuedRunCoordinator):
    """Dagster only logs a second daemon on an instance (dagster/_daemon/daemon.py): both would request and start every run."""

    @property
    def dequeue_interval_seconds(self) -> int:
        """The daemon alone reads it, before it starts. Ends the process, with one line, where it must not start."""
        share_engines()  # the daemon writes the event of each landed file, and plans each partition of each run
        try:
            claim_instance(self._instance)
        except (HomeInUse, NoEventStored) as error:
            raise SystemExit(str(error)) from None
        Thread(target=_end_where_clock_is_set_back, daemon=True).start()
        return super().dequeue_interval_seconds


def _end_where_clock_is_set_back() -> None:
    """Dagster's threads wait for times of the clock before, such as the next tick and heartbeat; what starts a daemon again ends
    that.
    """
    set_back_s = await_set_back(time.time, time.monotonic, time.sleep)
    sys.stderr.write(f"The clock was set back by {set_back_s:,.0f} s: the daemon ends, to start anew by the new time.\n")
    os.kill(os.getpid(), signal.SIGTERM)


def await_set_back(now: Callable[[], float], steady: Callable[[], float], pause: Callable[[float], None]) -> float:
    """Returns once `now` is set back against a `steady` clock by more than clocks usually differ, and by how many seconds."""
    ahead, set_back_s = now() - steady(), 0.0
    while set_back_s <= SKEW.total_seconds():
        pause(WATCH_S)
        before, ahead = ahead, now() - steady()
        set_back_s = before - ahead
    return set_back_s


class NoEventStored(RuntimeError):
    """By its address, the event log would store nothing of what happens."""


def claim_instance(instance: dg.DagsterInstance) -> None:
    """Reserves the instance and the home of the environment for this process. Raises HomeInUse and NoEventStored."""
    _check_driver(instance)
    folder = Path(instance.root_directory)
    lock = _LOCKS.setdefault(folder, FileLock(folder / "daemon.lock", thread_local=False))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise HomeInUse(f"{folder} · another dagster-daemon runs on this DAGSTER_HOME. Use it, or stop it.") from None
    _claim_event_log(instance, f"{socket.gethostname()} {folder}")
    claim(read_environment(os.environ).home.root, instance)
    forget_ticks_to_come(instance, time.time() + SKEW.total_seconds())


def _check_driver(instance: dg.DagsterInstance) -> None:
    """Dagster announces each event with psycopg2. By `postgresql://` SQLAlchemy 2.1 takes psycopg 3, and the event is lost."""
    from sqlalchemy import make_url

    address: str | None = getattr(instance.event_log_storage, "postgres_url", None)
    if address and (driver := make_url(address).get_driver_name()) != "psycopg2":
        legal = "legal: psycopg2, by an address that begins with postgresql+psycopg2://"
        raise NoEventStored(f"dagster.yaml · the address of `storage` names the driver {driver}; {legal}. Correct the address.")


def _claim_event_log(instance: dg.DagsterInstance, place: str) -> None:
    """No daemon of another place works on the event log, which may be a database: a lock is a file. Raises HomeInUse."""
    is_taken_over = _is_taken_over(instance, place, time.time())
    instance.daemon_cursor_storage.set_cursor_values({MACHINE_KEY: place, CLAIMED_KEY: str(time.time())})
    if is_taken_over:
        time.sleep(SETTLE_S)
        _is_taken_over(instance, place, time.time())


def _is_taken_over(instance: dg.DagsterInstance, place: str, now: float) -> bool:
    """Whether the newest daemon was one of another place, which is silent. Raises HomeInUse where it is not."""
    newest = instance.daemon_cursor_storage.get_cursor_values({MACHINE_KEY, CLAIMED_KEY})
    other = newest.get(MACHINE_KEY, "")
    if other in (place, place.partition(" ")[0]):
        return False
    signs = [float(newest.get(CLAIMED_KEY, 0)), *(one.timestamp for one in instance.get_daemon_heartbeats().values())]
    if other and (age := now - max(signs)) < SILENCE_S:
        machine, _, folder = other.partition(" ")
        where = f"{machine}, whose DAGSTER_HOME is {folder}," if folder else machine
        problem = f"a dagster-daemon on {where} works on the same event log; its last sign of life is {max(age, 0):.0f} s old"
        raise HomeInUse(f"{place} · {problem}. Use that one, or stop it and start this one {SILENCE_S:.0f} s later.")
    return True
