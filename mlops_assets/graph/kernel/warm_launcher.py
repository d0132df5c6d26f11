"""The run launcher of dagster.yaml on one machine: runs are forked from a process that has imported what runs need."""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from functools import cached_property
from ipaddress import ip_address
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import dagster as dg
import psutil
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.origin import JobPythonOrigin
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import serialize_value

from mlops_assets.foundation.names import PROCESS_GROUP
from mlops_assets.graph.kernel import warm_process

# Tag of a run: machine, process id, and when the process started. The web UI hides tags of this prefix.
PROCESS = ".dagster/mlops_process"
NOT_REPORTED = (
    "The process of the run has ended and the event log has no end of the run: "
    "it could not be written, as in an outage of its database, or what reports a killed process was killed too."
)


class WarmRunLauncher(dg.DefaultRunLauncher):
    """Dagster's default starts a new Python for each run, which imports for seconds (`bench_run_start` prints the ratio); it
    stays in use for code on other machines and of other Python environments, and on other systems than Linux.
    """

    _server: "tuple[subprocess.Popen[bytes], Connection] | None" = None
    _lock = threading.Lock()

    @cached_property
    def _without_process(self) -> set[str]:
        """Runs that had no process at the last look, which may be about to be reported."""
        return set()

    def launch_run(self, context: LaunchRunContext) -> None:
        run, origin = context.dagster_run, context.job_code_origin
        if origin is None or not _is_here(run, origin):
            super().launch_run(context)
            return
        arguments = ExecuteRunArgs(
            job_origin=origin, run_id=run.run_id, instance_ref=self._instance.get_ref(), set_exit_code_on_failure=False
        )
        pid = self._fork(serialize_value(arguments))
        self._instance.add_run_tags(run.run_id, {PROCESS: _identity(pid)})

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or PROCESS not in run.tags:
            return super().terminate(run_id)
        self._instance.report_run_canceling(run)
        machine, pid, _ = run.tags[PROCESS].split()
        if run.tags[PROCESS] != _identity(int(pid)):
            message = f"Process {pid} on {machine} does not run here."
            self._instance.report_engine_event(message, run, cls=type(self))
            return False
        psutil.Process(int(pid)).send_signal(signal.SIGINT)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a forked run is there; of any other run it is not known, and the code server reports its end.
        The daemon ends a run without a process where nothing else has done so by its next look.
        """
        if not _has_lost_its_process(run):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if run.run_id not in self._without_process:
            self._without_process.add(run.run_id)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, NOT_REPORTED)

    def _fork(self, argument: str) -> int:
        """The id of the new process."""
        with self._lock:
            for is_last in (False, True):
                try:
                    commands = self._commands()
                    commands.send(argument)
                    return commands.recv()
                except (OSError, EOFError):  # it ends by itself where nothing runs for long
                    self._server = None
                    if is_last:
                        raise
        raise AssertionError

    def _commands(self) -> Connection:
        if self._server is None or self._server[0].poll() is not None:
            ours, theirs = Pipe()
            number = theirs.fileno()
            process = subprocess.Popen(
                [sys.executable, "-m", warm_process.__name__, str(number)],
                pass_fds=[number], env={**os.environ, **_own_group()}, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            theirs.close()
            self._server = process, ours
        return self._server[1]


def _is_here(run: dg.DagsterRun, code: JobPythonOrigin) -> bool:
    """Whether its code location is of this Python environment, on this machine, which forks safely: on macOS, system libraries
    crash in a fork (https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods).
    """
    location: Any = run.remote_job_origin and run.remote_job_origin.repository_origin.code_location_origin
    if sys.platform != "linux" or location is None or code.repository_origin.executable_path != sys.executable:
        return False
    host = getattr(location, "host", None) or "localhost"
    return host == "localhost" or (host.replace(".", "").isdigit() and ip_address(host).is_loopback)


def _has_lost_its_process(run: dg.DagsterRun) -> bool:
    """Whether it was forked on this machine and its process has ended."""
    machine, pid, _ = run.tags.get(PROCESS, "- 0 -").split()
    if machine != socket.gethostname():
        return False
    with suppress(psutil.NoSuchProcess):  # a container may have nothing that waits for processes without a parent
        return run.tags[PROCESS] != _identity(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
    return True


def _identity(pid: int) -> str:
    try:
        return f"{socket.gethostname()} {pid} {psutil.Process(pid).create_time()}"
    except psutil.NoSuchProcess:
        return f"{socket.gethostname()} {pid} ended"


def _own_group() -> dict[str, str]:
    """The runs end with the platform, but go on where the daemon alone is started again."""
    platform, _, _ = os.environ.get(PROCESS_GROUP, "").partition(" ")
    return {PROCESS_GROUP: f"{platform} runs"} if platform else {}
