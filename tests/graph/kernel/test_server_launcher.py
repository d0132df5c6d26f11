"""Runs of a real code server end in the event log, also those that die while its Postgres is down. Canary for Dagster's upgrades.

A failure after an upgrade: compare `DagsterApiServer` and `DefaultRunLauncher` with those of the new release.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from logging import getLogger
from pathlib import Path
from typing import Any, cast

import dagster as dg
import psutil
import pytest
import yaml
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.monitoring.run_monitoring import monitor_started_run
from dagster._grpc.client import DagsterGrpcClient

from mlops_assets.graph.kernel.server_launcher import NOT_RUNNING, ServerRunLauncher
from mlops_assets.local.processes import free_port
from tests.graph.kernel.launched_runs import wait_for
from tests.servers.postgres_server import PostgresServer, dagster_storage, running_postgres

pytestmark = [pytest.mark.slow, pytest.mark.integration]
STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE
OUTAGE_S = 15  # longer than the code server tries to connect
LAUNCHER = {"module": ServerRunLauncher.__module__, "class": ServerRunLauncher.__name__}
JOB = """
import os, time
import dagster as dg
from mlops_assets.graph.kernel.server_launcher import keep_reporting_runs

keep_reporting_runs()  # as mlops_assets.definitions does

@dg.op
def wait():
    with open({pids!r}, "a") as file:
        file.write(f"{{os.getpid()}}\\n")
    time.sleep(600)

@dg.job(executor_def=dg.in_process_executor)
def waiting():
    wait()

defs = dg.Definitions(jobs=[waiting])
"""


class CodeServer:
    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.instance, self.port, self._pids, self._module = instance, free_port(), folder / "pids", folder / "waiting_job.py"
        self._module.write_text(JOB.format(pids=str(self._pids)))
        self.client = DagsterGrpcClient(port=self.port, host="127.0.0.1")
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "dagster", "api", "grpc", "--python-file", str(self._module), "--port", str(self.port)]
        self.process = subprocess.Popen([*command, "--host", "127.0.0.1"])
        wait_for(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping(""))
        except DagsterUserCodeUnreachableError:
            return False

    def kill(self) -> None:
        for process in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
            process.kill()
        self.process.wait()

    def launch(self) -> str:
        """A run that is in progress."""
        job = ReconstructableJob.for_file(str(self._module), "waiting")
        here = InProcessCodeLocationOrigin(loadable_target_origin=LoadableTargetOrigin(python_file=str(self._module)))
        remote = RemoteJobOrigin(RemoteRepositoryOrigin(here, "__repository__"), "waiting")
        run = self.instance.create_run_for_job(
            job.get_definition(), job_code_origin=job.get_python_origin(), remote_job_origin=remote
        )
        ServerRunLauncher.launch_run_from_grpc_client(self.instance, run, self.client)
        wait_for(self._pids.exists)
        assert self.status(run.run_id) is STARTED
        return run.run_id

    def run_process(self) -> psutil.Process:
        return psutil.Process(int(self._pids.read_text()))

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def look(self, run_id: str) -> dg.DagsterRunStatus:
        """Checks a started run as the daemon does."""
        (record,) = self.instance.get_run_records(dg.RunsFilter([run_id]))
        monitor_started_run(self.instance, cast(Any, None), record, getLogger())
        return self.status(run_id)


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def server(tmp_path: Path, postgres: PostgresServer) -> Iterator[CodeServer]:
    settings = {"storage": dagster_storage(postgres.new_database()), "run_launcher": LAUNCHER, "telemetry": {"enabled": False}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        server = CodeServer(tmp_path, instance)
        yield server
        server.kill()


def test_a_run_that_dies_while_postgres_is_down_is_ended_once_that_is_over(server: CodeServer, postgres: PostgresServer) -> None:
    run_id = server.launch()
    assert [server.look(run_id) for _ in range(3)] == [STARTED] * 3, "it runs"
    postgres.kill()
    process = server.run_process()
    process.kill()
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    time.sleep(OUTAGE_S)
    postgres.start()
    wait_for(lambda: server.status(run_id) is FAILURE)


def test_a_run_of_a_server_that_was_started_again_is_ended_by_the_second_look_of_the_daemon(server: CodeServer) -> None:
    run_id = server.launch()
    server.kill()
    assert [server.look(run_id) for _ in range(3)] == [STARTED] * 3, "nothing is known while the server does not answer"
    server.start()
    assert [server.look(run_id) for _ in range(2)] == [STARTED, FAILURE]
    (event,) = server.instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert NOT_RUNNING in event.message
