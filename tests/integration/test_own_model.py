"""From a table to an answer as a new user gets there, outside the checkout, with the wheel: docs/own_model.md, and messy tables."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlops_assets.foundation.home import PROJECT
from tests.inspection.messy_tables import by_day, imbalanced, leaking
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
TABLES = {"kunden": (leaking(), "'Gekündigt?'"), "demand": (by_day(), "demand"), "fraud": (imbalanced(), "churn")}
FOUND = {"leak · `kuendigungs_grund`", "constant · `land`", "Identifiers, which are no inputs, as it should be: kunden_nr."}
LEAK = ', "kuendigungs_grund"),'  # the end of the declared request


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


def mlops(command: str, place: Path, variables: dict[str, str]) -> str:
    """The output of the command, which has to succeed."""
    name, *arguments = shlex.split(command, comments=True)
    done = subprocess.run(
        [sys.executable, "-m", "mlops_assets", *arguments], cwd=place, env=variables, capture_output=True, text=True, check=False
    )
    assert (name, done.returncode) == ("mlops", 0), (command, done.stdout, done.stderr)
    return done.stdout


def follow(command: str, place: Path, variables: dict[str, str]) -> None:
    printed = mlops(command, place, variables)
    assert EXPECTED[command.split()[1]] in printed, (command, printed)


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


def edit(declaration: Path) -> None:
    """One line: what is known only afterwards is no input."""
    before = declaration.read_text()
    assert before.count(LEAK) == 1
    declaration.write_text(before.replace(LEAK, "),"))


@pytest.mark.timeout(900)
def test_three_tables_are_served_after_one_edited_line_in_all(tmp_path: Path) -> None:
    installed(tmp_path)
    variables, place = clean_environment(tmp_path), tmp_path / "shop"
    mlops("mlops init shop", tmp_path, variables)
    declarations = place / "shop" / "use_cases"
    shutil.rmtree(declarations / "diabetes")
    for name, (content, label) in TABLES.items():
        (place / f"{name}.csv").write_bytes(content)
        mlops(f"mlops new {name} --from {name}.csv --label {label} --yes", place, variables)
    checked = mlops("mlops check kunden --file kunden.csv", place, variables)
    assert {line.partition(" has ")[0].partition(" alone ")[0].strip() for line in checked.splitlines()} >= FOUND, checked
    edit(declarations / "kunden" / "__init__.py")
    for name in TABLES:
        mlops(f"mlops land {name} {name}.csv", place, variables)
    with platform(place, variables) as url:
        serving = variables | {"MLOPS_SERVICE_URL": url}
        served = mlops("mlops run --all", place, serving)
        assert served.count("Version 1 serves at http") == len(TABLES), served
        for name in TABLES:
            assert "with curl" in mlops(f"mlops predict {name} --sample 1", place, serving)
