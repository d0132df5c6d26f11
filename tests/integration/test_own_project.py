"""A project outside the checkout, with the package as its wheel installs it, from `mlops init` to an answer of its champion."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.local.new_project import write_project
from tests.local.test_new_project import clean_environment, installed


@pytest.mark.timeout(1200)
def test_a_use_case_of_a_project_runs_to_a_served_champion(tmp_path: Path) -> None:
    run, project = installed(tmp_path), tmp_path / "churn"
    write_project(project)
    with (tmp_path / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "mlops_assets", "up"], cwd=project, env=clean_environment(tmp_path), stdout=log, stderr=log
        )
    try:
        url = _wait_for(
            lambda: "Press Ctrl-C" in (text := (tmp_path / "up.log").read_text()) and re.search(r"service +(http\S+)", text)
        )[1]
        assert "1 new or changed" in run(project, "land", "diabetes")
        answer = _wait_for(
            lambda: "with curl" in (text := run(project, "predict", "diabetes", "--sample", "2", MLOPS_SERVICE_URL=url)) and text
        )
        assert f"curl -s {url}/diabetes/predict" in answer
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)
    assert (project / ".mlops" / "ledger.db").exists()


def _wait_for(find: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 800
    while not (found := find()):
        assert time.monotonic() < deadline
        time.sleep(5)
    return found
