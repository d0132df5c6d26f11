"""Runs are forked from a process that has imported what earlier runs imported, and behave as runs of new processes."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from mlops_assets.graph.kernel.warm_launcher import NOT_REPORTED, WarmRunLauncher
from mlops_assets.graph.kernel.warm_process import FORK, _execute
from tests.graph.kernel.launched_runs import Runs, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tmp_path)
    with runs.instance:
        yield runs
    runs.stop()


def test_a_later_run_starts_with_the_installed_modules_of_an_earlier_one_and_with_the_newest_code(runs: Runs) -> None:
    first = runs.launch("first")
    assert runs.end(first) is dg.DagsterRunStatus.SUCCESS
    wait_for(lambda: any("polars" in file.path for file in runs.server().memory_maps()))
    runs.wait_until_loaded()
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


def test_a_run_whose_end_nothing_reports_is_ended_by_the_second_look_of_the_daemon(runs: Runs) -> None:
    """As where the event log is out of order while the process of the run ends."""
    runs.wait.touch()
    run_id = runs.launch()
    wait_for(lambda: bool(runs.lines()))
    process = runs.process(run_id)
    assert runs.look(run_id) is dg.DagsterRunStatus.STARTED, "it runs"
    runs.server().kill()
    process.kill()
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert [runs.look(run_id) for _ in range(2)] == [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE]
    (event,) = runs.instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert NOT_REPORTED in event.message


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
    server = runs.server()
    wait_for(lambda: bool(runs.lines()))
    runs.instance.run_launcher._server[1].close()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # as at the daemon's end
    time.sleep(1)
    assert server.is_running() and runs.process(run_id).is_running()
    runs.wait.unlink()
    assert runs.end(run_id) is dg.DagsterRunStatus.SUCCESS
    wait_for(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)


def test_runs_end_where_the_process_that_forked_them_is_killed(runs: Runs) -> None:
    runs.wait.touch()
    launched = [runs.launch() for _ in range(2)]
    processes = [runs.process(run_id) for run_id in launched]
    wait_for(lambda: len(runs.lines()) == len(launched))
    runs.server().kill()
    runs.wait.unlink()
    assert {runs.end(run_id) for run_id in launched} == {dg.DagsterRunStatus.SUCCESS}
    wait_for(lambda: not any(process.is_running() for process in processes))


def test_a_new_server_is_started_where_the_last_one_is_gone(runs: Runs) -> None:
    assert runs.end(runs.launch()) is dg.DagsterRunStatus.SUCCESS
    server = runs.server()
    server.send_signal(signal.SIGKILL)
    wait_for(lambda: server.status() == psutil.STATUS_ZOMBIE)
    assert runs.end(runs.launch()) is dg.DagsterRunStatus.SUCCESS


def test_code_of_another_environment_or_system_is_run_by_dagsters_own_launcher(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks_the_code_server = pytest.raises(Exception, match="requires a workspace")
    with asks_the_code_server:
        runs.launch(python="/other/python")
    monkeypatch.setattr("sys.platform", "darwin")
    with asks_the_code_server:
        runs.launch()


def test_a_process_that_ends_before_its_run_reports_what_has_ended_it() -> None:
    reader, writer = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_execute, args=("{", writer, [reader]))
    process.start()
    writer.close()
    modules, problem = reader.recv()
    process.join()
    assert process.exitcode == 1 and any(name.startswith("dagster") for name in modules)
    assert problem.startswith("JSONDecodeError: "), problem
