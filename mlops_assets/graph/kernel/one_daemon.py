"""The run queue of dagster.yaml: one daemon at a time works on an instance of Dagster, and one instance on a home."""

import os
import socket
import time
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

from mlops_assets.foundation.home import read_environment
from mlops_assets.foundation.home_lock import HomeInUse
from mlops_assets.graph.kernel.dagster_storage import share_engines
from mlops_assets.resources import claim

_LOCKS: dict[Path, FileLock] = {}  # held until the process ends
MACHINE_KEY = "mlops/daemon_machine"  # of the newest daemon, and its DAGSTER_HOME, which an earlier release left out
CLAIMED_KEY = "mlops/daemon_claimed_at"  # in seconds since the epoch: its first heartbeat comes some seconds later
SILENCE_S = 90.0  # a heartbeat is due every 30 s
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
        return super().dequeue_interval_seconds


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
