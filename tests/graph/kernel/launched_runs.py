"""Runs of a small job, each launched by the run launcher of dagster.yaml, outside a platform."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from logging import getLogger
from pathlib import Path
from typing import Any, cast

import dagster as dg
import psutil
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.launcher.base import LaunchRunContext
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from mlops_assets.graph.kernel import warm_process
from mlops_assets.graph.kernel.warm_launcher import PROCESS, WarmRunLauncher

ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
DEADLINE_S = 120
# Writes what its process has imported before it imports it itself.
JOB = """
import sys, time
from pathlib import Path
import dagster as dg

@dg.op
def look():
    is_loaded = "polars" in sys.modules
    import numpy, {imports}
    with open({report!r}, "a") as file:
        file.write(f"{{is_loaded}} {word} {{numpy.random.random()}}\\n")
    while Path({wait!r}).exists():
        time.sleep(0.05)

@dg.job(executor_def=dg.in_process_executor)
def looking():
    look()
"""


def wait_for(is_reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Runs:
    """Launches the job of a file in `folder`, which imports `imports`. A run continues until the file `wait` is gone."""

    def __init__(self, folder: Path, imports: str = "onnxruntime, polars, sklearn.ensemble") -> None:
        self.imports = imports
        self.report, self.wait, self.module = (folder / name for name in ("report", "wait", "looking_job.py"))
        launcher = {"module": WarmRunLauncher.__module__, "class": WarmRunLauncher.__name__}
        (folder / "dagster").mkdir()
        self.instance = dg.DagsterInstance.local_temp(str(folder / "dagster"), overrides={"run_launcher": launcher})

    def launch(self, word: str = "first", *, python: str = sys.executable) -> str:
        self.module.write_text(JOB.format(report=str(self.report), wait=str(self.wait), word=word, imports=self.imports))
        job = ReconstructableJob.for_file(str(self.module), "looking")
        here = InProcessCodeLocationOrigin(loadable_target_origin=LoadableTargetOrigin(python_file=str(self.module)))
        remote = RemoteJobOrigin(RemoteRepositoryOrigin(here, "repository"), "looking")
        origin = job.get_python_origin()
        origin = origin._replace(repository_origin=origin.repository_origin._replace(executable_path=python))
        run = self.instance.create_run_for_job(job.get_definition(), job_code_origin=origin, remote_job_origin=remote)
        self.instance.run_launcher.launch_run(LaunchRunContext(run, None))
        return run.run_id

    def get(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def process(self, run_id: str) -> psutil.Process:
        return psutil.Process(int(self.get(run_id).tags[PROCESS].split()[1]))

    def end(self, run_id: str) -> dg.DagsterRunStatus:
        wait_for(lambda: self.get(run_id).status in ENDED)
        return self.get(run_id).status

    def look(self, run_id: str) -> dg.DagsterRunStatus:
        """Checks a started run as the daemon does."""
        (record,) = self.instance.get_run_records(dg.RunsFilter([run_id]))
        if record.dagster_run.status is dg.DagsterRunStatus.STARTED:
            monitor_started_run(self.instance, cast(Any, None), record, getLogger())
        return self.get(run_id).status

    def server(self) -> psutil.Process:
        """The process that runs are forked from."""
        return next(
            process
            for process in psutil.Process().children()
            if process.status() != psutil.STATUS_ZOMBIE and warm_process.__name__ in process.cmdline()
        )

    def stop(self) -> None:
        with suppress(StopIteration):
            self.server().kill()

    def wait_until_loaded(self) -> None:
        """Waits until the server has imported the modules that the runs have reported; it begins when none has run for QUIET_S."""
        server = self.server()
        time.sleep(warm_process.QUIET_S + 1)
        wait_for(lambda: server.cpu_percent(interval=1.0) < 10)

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.report.read_text().splitlines()] if self.report.exists() else []
