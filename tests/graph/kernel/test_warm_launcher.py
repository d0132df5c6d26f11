"""Runs are forked from a process that has imported what earlier runs imported, and behave as runs of new processes."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.launcher.base import LaunchRunContext
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from mlops_assets.graph.kernel.warm_launcher import PROCESS, WarmRunLauncher

pytestmark = pytest.mark.slow

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
    import numpy, onnxruntime, polars
    with open({found!r}, "a") as file:
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
    """Launches the job of a file in `folder`. A run goes on until the file `wait` is gone."""

    def __init__(self, folder: Path) -> None:
        self.found, self.wait, self.module = (folder / name for name in ("found", "wait", "looking_job.py"))
        launcher = {"module": WarmRunLauncher.__module__, "class": WarmRunLauncher.__name__}
        (folder / "dagster").mkdir()
        self.instance = dg.DagsterInstance.local_temp(str(folder / "dagster"), overrides={"run_launcher": launcher})

    def launch(self, word: str = "first", *, python: str = sys.executable) -> str:
        self.module.write_text(JOB.format(found=str(self.found), wait=str(self.wait), word=word))
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

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.found.read_text().splitlines()] if self.found.exists() else []


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tmp_path)
    with runs.instance:
        yield runs
    for process in psutil.Process().children():
        process.kill()
        process.wait()


def test_a_later_run_starts_with_the_installed_modules_of_an_earlier_one_and_with_the_newest_code(runs: Runs) -> None:
    first = runs.launch("first")
    assert runs.end(first) is dg.DagsterRunStatus.SUCCESS
    (server,) = psutil.Process().children()
    wait_for(lambda: any("polars" in file.path for file in server.memory_maps()))
    wait_for(lambda: server.cpu_percent(interval=1.0) < 10)  # it has imported all
    second = runs.launch("second")
    process = runs.process(second)
    assert runs.end(second) is dg.DagsterRunStatus.SUCCESS
    wait_for(lambda: not process.is_running())
    assert [(loaded, word) for loaded, word, _ in runs.lines()] == [("False", "first"), ("True", "second")]
    assert len({random for _, _, random in runs.lines()}) == 2


def test_a_run_whose_process_is_killed_fails_at_once(runs: Runs) -> None:
    runs.wait.touch()
    run_id = runs.launch()
    wait_for(lambda: bool(runs.lines()))
    runs.process(run_id).kill()
    assert runs.end(run_id) is dg.DagsterRunStatus.FAILURE
    (event,) = runs.instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert event.message == "The process of the run ended before the run, killed by SIGKILL. The machine may lack memory."


def test_a_run_that_is_killed_before_it_starts_fails_too(runs: Runs) -> None:
    run_id = runs.launch()
    runs.process(run_id).kill()
    assert runs.end(run_id) is dg.DagsterRunStatus.FAILURE


def test_a_run_is_terminated_by_any_process(runs: Runs) -> None:
    runs.wait.touch()
    run_id = runs.launch()
    wait_for(lambda: bool(runs.lines()))
    other = WarmRunLauncher()
    other.register_instance(runs.instance)
    assert other.terminate(run_id)
    assert runs.end(run_id) is dg.DagsterRunStatus.CANCELED


def test_runs_go_on_without_the_daemon_and_then_nothing_is_left(runs: Runs) -> None:
    runs.wait.touch()
    run_id = runs.launch()
    (server,) = psutil.Process().children()
    wait_for(lambda: bool(runs.lines()))
    runs.instance.run_launcher._server[1].close()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # as at the daemon's end
    time.sleep(1)
    assert server.is_running() and runs.process(run_id).is_running()
    runs.wait.unlink()
    assert runs.end(run_id) is dg.DagsterRunStatus.SUCCESS
    wait_for(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)


def test_a_new_server_is_started_where_the_last_one_is_gone(runs: Runs) -> None:
    assert runs.end(runs.launch()) is dg.DagsterRunStatus.SUCCESS
    (server,) = psutil.Process().children()
    server.send_signal(signal.SIGKILL)
    wait_for(lambda: server.status() == psutil.STATUS_ZOMBIE)
    assert runs.end(runs.launch()) is dg.DagsterRunStatus.SUCCESS


def test_code_of_another_environment_is_run_by_dagsters_own_launcher(runs: Runs) -> None:
    with pytest.raises(Exception, match="requires a workspace"):  # to ask the code server
        runs.launch(python="/other/python")
