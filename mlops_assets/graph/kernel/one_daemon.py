"""The run queue of dagster.yaml: one daemon at a time works on an instance of Dagster, and one instance on a home."""

import os
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

from mlops_assets.foundation.home import read_environment
from mlops_assets.foundation.home_lock import HomeInUse
from mlops_assets.graph.kernel.dagster_internals import share_engines
from mlops_assets.resources import claim

_LOCKS: dict[Path, FileLock] = {}  # held until the process ends


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
    claim(read_environment(os.environ).home.root, instance)
