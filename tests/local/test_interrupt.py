"""Ctrl-C in the first seconds of `mlops up` and `mlops demo`, which load some hundred modules and then start processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from mlops_assets.foundation.home import PROJECT
from mlops_assets.local.processes import free_port
from tests.local.test_processes import default_signals

SOON_S = 30.0  # it takes two on an idle machine, and does not end where an interrupt is lost


@contextmanager
def started(home: Path, command: str) -> Iterator["subprocess.Popen[str]"]:
    """Standard error has a line for each imported module."""
    own = {"MLOPS_ENV": "test", "MLOPS_HOME": str(home), "MLOPS_SERVICE_URL": f"http://127.0.0.1:{free_port()}"}
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "mlops_assets", command], cwd=PROJECT, env={**os.environ, **own}, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=default_signals,  # noqa: PLW1509 - no thread is started here
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            for one in of_home(home):
                one.kill()


def of_home(home: Path) -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["environ"]) if (one.info["environ"] or {}).get("MLOPS_HOME") == str(home)]


def interrupt(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """The exit code, and what was written to standard error since."""
    assert process.stderr
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    written = process.communicate(timeout=60)[1]
    assert time.monotonic() - sent < SOON_S
    return process.returncode, written


@pytest.mark.slow  # starts commands
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("up", "typer"),
        ("up", "polars"),  # which installs a handler of SIGINT
        ("up", "mlops_assets.cli.app"),
        ("up", "mlops_assets.local.processes"),
        ("up", "mlops_assets.local.platform"),
        ("demo", "polars"),
        ("demo", "mlops_assets.local.demo.story"),
    ],
)
def test_ctrl_c_while_modules_load_ends_it_at_once(tmp_path: Path, command: str, module: str):
    with started(tmp_path, command) as process:
        assert process.stderr and any(line.split("|")[-1].strip() == module for line in process.stderr)
        code, written = interrupt(process)
        assert code in (-signal.SIGINT, 130) and "Traceback" not in written and of_home(tmp_path) == []


@pytest.mark.slow  # starts a platform
@pytest.mark.timeout(240)
@pytest.mark.parametrize("command", ["up", "demo"])
def test_ctrl_c_while_processes_start_stops_every_one_of_them(tmp_path: Path, command: str):
    with started(tmp_path, command) as process:
        assert process.stderr
        for _ in process.stderr:  # read, so that the process is not held up
            if (tmp_path / "logs" / "service.log").exists():
                break
        assert len(of_home(tmp_path)) > 1
        code, written = interrupt(process)
        assert code in (-signal.SIGINT, 130) and "Traceback" not in written and of_home(tmp_path) == []
