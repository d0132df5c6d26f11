"""`mlops run` as a new user starts it: the platform starts, the example lands, and what happened is one line per stage."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_platform import PROJECT, processes_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]
STAGES = ["raw", "validated", "training set", "candidate", "gates", "blessing", "rollout"]


def start(home: Path) -> "subprocess.Popen[str]":
    variables = {**os.environ, "MLOPS_ENV": "test", "MLOPS_HOME": str(home), "MLOPS_SERVICE_URL": "http://127.0.0.1:9"}
    command = [sys.executable, "-u", "-m", "mlops_assets", "run", "tumor"]
    return subprocess.Popen(
        command, cwd=PROJECT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def test_a_use_case_of_high_risk_runs_until_a_person_has_to_approve_it(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        output, _ = process.communicate()
    lines = output.splitlines()
    assert process.returncode == 0, output
    assert lines[0] == "tumor: nothing had landed; 1 example file lands."
    reached = [stage for stage in STAGES if any(line.startswith(f"tumor  {stage} ") for line in lines)]
    assert reached == STAGES
    assert 'then run `mlops approve tumor 1 --why "…"`.' in output
    assert processes_of(tmp_path) == []


def test_ctrl_c_ends_it_and_every_process_of_it(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("tumor  raw "):
                break
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=90)
    assert process.returncode == 130 and output.splitlines()[-1] == "Interrupted." and "Traceback" not in output
    assert processes_of(tmp_path) == []
