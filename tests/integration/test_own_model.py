"""docs/own_model.md as a new user follows it, outside the checkout, with the packages of the wheel: from a table to an answer."""

import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlops_assets.foundation.home import PROJECT
from tests.local.test_new_project import clean_environment, installed

BLOCK = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)
EXPECTED = {
    "init": "A project of its own in shop",
    "new": "3,000 of 3,000 rows satisfy the contract",
    "check": "churn is legal",
    "try": "Nothing is stored",
    "land": "1 new",
    "run": "Version 1 serves",
    "predict": "with curl",
    "status": "serving: version 1",
}
UP_S = 120


@contextmanager
def platform(place: Path, variables: dict[str, str]) -> Iterator[str]:
    """The address of the service."""
    log = place.parent / "up.log"
    with log.open("wb") as file:
        up = subprocess.Popen([sys.executable, "-m", "mlops_assets", "up"], cwd=place, env=variables, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + UP_S
        while "Press Ctrl-C" not in log.read_text():
            assert time.monotonic() < deadline and up.poll() is None, log.read_text()
            time.sleep(0.5)
        (url,) = re.findall(r"^  service +(http\S+)$", log.read_text(), re.MULTILINE)
        yield url
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)


def follow(command: str, place: Path, variables: dict[str, str]) -> None:
    arguments = shlex.split(command, comments=True)
    done = subprocess.run(
        [sys.executable, "-m", "mlops_assets", *arguments[1:]],
        cwd=place,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (arguments[0], done.returncode) == ("mlops", 0), (command, done.stdout, done.stderr)
    assert EXPECTED[arguments[1]] in done.stdout, (command, done.stdout)


@pytest.mark.timeout(600)
def test_the_ten_minutes_end_with_answers_of_an_own_model(tmp_path: Path) -> None:
    installed(tmp_path)
    variables, place = clean_environment(tmp_path), tmp_path / "shop"
    (begin, data, declare, up, serve) = (text for _, text in BLOCK.findall((PROJECT / "docs" / "own_model.md").read_text()))
    follow(begin.removesuffix(" && cd shop\n"), tmp_path, variables)
    subprocess.run([sys.executable, "-c", data], cwd=place, check=True)
    for command in declare.splitlines():
        follow(command, place, variables)
    assert up == "mlops up\n"
    with platform(place, variables) as url:
        for command in serve.splitlines():
            follow(command, place, variables | {"MLOPS_SERVICE_URL": url})
