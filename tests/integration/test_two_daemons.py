"""Daemons of two DAGSTER_HOMEs with one event log on a real Postgres: one works, another is refused, a killed one can be restarted at once."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import yaml

from mlops_assets.foundation.home import PROJECT
from mlops_assets.graph.kernel.one_daemon import CLAIMED_KEY, MACHINE_KEY
from tests.integration.small_line import NO_SERVER
from tests.servers.postgres_server import dagster_storage, running_postgres

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def dagster_home(folder: Path, event_log: str) -> Path:
    folder.mkdir()
    settings = yaml.safe_load((PROJECT / "dagster.yaml").read_text()) | {"storage": dagster_storage(event_log)}
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    return folder


def start(folder: Path) -> "subprocess.Popen[bytes]":
    variables = {"MLOPS_HOME": str(folder.parent / "home"), "MLOPS_ENV": "test", "MLOPS_SERVICE_URL": NO_SERVER}
    variables |= {"DAGSTER_HOME": str(folder), "PYTHONPATH": str(PROJECT), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "dagster._daemon", "run", "-m", "tests.integration.canary_line"]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, env=os.environ | variables, stdout=log, stderr=log)


def wait_until(condition: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.2)


def test_one_of_two_daemons_on_one_postgres_works_and_starts_again_after_kill_9(tmp_path: Path) -> None:
    daemons = list[subprocess.Popen[bytes]]()
    with running_postgres() as server:
        event_log = server.new_database()
        first, second = (dagster_home(tmp_path / name, event_log) for name in ("first", "second"))
        with dg.DagsterInstance.from_config(str(first)) as instance:

            def claimed() -> dict[str, str]:
                return dict(instance.daemon_cursor_storage.get_cursor_values({MACHINE_KEY, CLAIMED_KEY}))

            try:
                daemons.append(start(first))
                wait_until(lambda: claimed().get(MACHINE_KEY, "").endswith(f" {first}"), first / "log")
                before = claimed()
                for _ in range(2):
                    daemons.append(start(second))
                    assert daemons[-1].wait(timeout=240) == 1 and claimed()[MACHINE_KEY] == before[MACHINE_KEY]
                    daemons[0].kill()
                    daemons[0].wait(timeout=30)
                daemons.append(start(first))
                wait_until(lambda: claimed()[CLAIMED_KEY] > before[CLAIMED_KEY], first / "log")
                assert daemons[-1].poll() is None and claimed()[MACHINE_KEY] == before[MACHINE_KEY]
            finally:
                for daemon in daemons:
                    daemon.kill()
                    daemon.wait(timeout=30)
        lines = (second / "log").read_text().splitlines()
        problem = f"a dagster-daemon on {before[MACHINE_KEY].partition(' ')[0]}, whose DAGSTER_HOME is {first}, works on the same event log"
        assert len([line for line in lines if problem in line]) == 2 and not any("Traceback" in line for line in lines)
