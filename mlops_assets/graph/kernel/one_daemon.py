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
MACHINE_KEY = "mlops/daemon_machine"  # of the newest daemon
SILENCE_S = 90.0  # a heartbeat is due every 30 s


class OneDaemon(dg.QueuedRunCoordinator):
    """Dagster only logs a second daemon on an instance (dagster/_daemon/daemon.py): both would request and start every run."""

    @property
    def dequeue_interval_seconds(self) -> int:
        """The daemon alone reads it, before it starts. Ends the process, with one line, where it must not start."""
        share_engines()  # the daemon writes the event of each landed file, and plans each partition of each run
        try:
            claim_instance(self._instance)
        except HomeInUse as error:
            raise SystemExit(str(error)) from None
        return super().dequeue_interval_seconds


def claim_instance(instance: dg.DagsterInstance) -> None:
    """Reserves the instance and the home of the environment for this process. Raises HomeInUse."""
    folder = Path(instance.root_directory)
    lock = _LOCKS.setdefault(folder, FileLock(folder / "daemon.lock", thread_local=False))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise HomeInUse(f"{folder} · another dagster-daemon runs on this DAGSTER_HOME. Use it, or stop it.") from None
    _require_silence(instance, socket.gethostname(), time.time())
    claim(read_environment(os.environ).home.root, instance)


def _require_silence(instance: dg.DagsterInstance, machine: str, now: float) -> None:
    """No daemon of another machine works on the event log, which may be a database: a lock is a file. Raises HomeInUse."""
    storage = instance.daemon_cursor_storage
    other = storage.get_cursor_values({MACHINE_KEY}).get(MACHINE_KEY, machine)
    age = now - max((one.timestamp for one in instance.get_daemon_heartbeats().values()), default=0.0)
    if other != machine and age < SILENCE_S:
        problem = f"a dagster-daemon on {other} works on the same event log; its heartbeat is {max(age, 0):.0f} s old"
        raise HomeInUse(f"{machine} · {problem}. Use that one, or stop it and start this one {SILENCE_S:.0f} s later.")
    if other != machine or not storage.get_cursor_values({MACHINE_KEY}):
        storage.set_cursor_values({MACHINE_KEY: machine})
