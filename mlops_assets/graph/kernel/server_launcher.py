"""Runs as processes of the code server, as Dagster's default starts them, each of which ends in the event log too.

tests/graph/kernel/test_server_launcher.py fails when an upgrade of Dagster changes what this builds on.
"""

import logging
import sys
from functools import cached_property
from typing import Any

import dagster as dg
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus

NOT_RUNNING = (
    "The code server does not run this run, and the event log has no end of it: "
    "the server was started again, or its end could not be written, as in an outage of the database."
)
log = logging.getLogger("dagster.mlops_assets")


class ServerRunLauncher(dg.DefaultRunLauncher):
    """Dagster's default never asks for the runs of a code server that was started again: they would be in progress for ever."""

    @cached_property
    def _absent(self) -> set[str]:
        """Runs that their server did not have at the last look, which may be about to be reported."""
        return set()

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """The daemon ends a run that its server does not have at two looks. A server that does not answer is started again."""
        runs = self._runs_of_server(run.run_id)
        if runs is None or run.run_id in runs:
            self._absent.discard(run.run_id)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if run.run_id not in self._absent:
            self._absent.add(run.run_id)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, NOT_RUNNING)

    def _runs_of_server(self, run_id: str) -> "set[str] | None":
        """None where the server of the run does not answer, or is not known."""
        from dagster._core.errors import DagsterUserCodeUnreachableError
        from dagster._grpc.types import GetCurrentRunsResult
        from dagster._serdes import deserialize_value

        client: Any = self._get_grpc_client_for_termination(run_id)
        try:
            return {*deserialize_value(client.get_current_runs(), GetCurrentRunsResult).current_runs} if client else None
        except DagsterUserCodeUnreachableError:
            return None


def keep_reporting_runs() -> None:
    """In a code server, whose thread that reports the runs of killed processes would otherwise end with the first outage of the
    database.
    """
    server: Any = sys.modules.get("dagster._grpc.server")
    if server is None or hasattr(server.DagsterApiServer._check_for_orphaned_runs, "__wrapped__"):
        return
    report = server.DagsterApiServer._check_for_orphaned_runs

    def report_or_retry(api: object) -> None:
        try:
            report(api)
        except Exception:  # of whichever storage; the next tick, in a second, tries the same runs again
            log.warning("Runs whose process has ended are not reported yet.", exc_info=True)

    report_or_retry.__wrapped__ = report  # pyright: ignore[reportFunctionMemberAccess]
    server.DagsterApiServer._check_for_orphaned_runs = report_or_retry
