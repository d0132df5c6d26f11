import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_assets.foundation.home import IllegalEnvironment
from mlops_assets.serving.services import NOT_DECLARED, served_use_cases
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import USE_CASES
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.cli.loans import LOANS

BROKEN = ("teams.cars · does not load: ImportError: no wheels. Correct it.",)


def test_an_undeclared_use_case_is_refused_with_the_legal_ones():
    legal = ", ".join(use_case.name for use_case in USE_CASES)
    with pytest.raises(IllegalEnvironment, match=rf"found 'weather'; legal: one or several of {legal}, or none for all of them"):
        served_use_cases({"MLOPS_USE_CASE": "weather"}, USE_CASES)
    with pytest.raises(IllegalEnvironment, match=r"found 'wether'"):
        served_use_cases({"MLOPS_USE_CASE": "flight_delay,wether"}, USE_CASES)


@pytest.mark.parametrize(
    ("named", "not_loaded", "served", "unavailable"),
    [
        ("", (), (USE_CASE, LOANS), ()),
        ("loans", (), (LOANS,), ()),
        (" loans , flight_delay,loans,", (), (LOANS, USE_CASE), ()),
        ("", BROKEN, (USE_CASE, LOANS), ("cars",)),
        ("loans,cars", BROKEN, (LOANS,), ("cars",)),
        ("loans", BROKEN, (LOANS,), ()),
    ],
)
def test_the_environment_names_one_several_or_all_and_a_broken_one_does_not_stop_the_others(
    named: str, not_loaded: tuple[str, ...], served: tuple[UseCase, ...], unavailable: tuple[str, ...]
):
    result = served_use_cases({"MLOPS_USE_CASE": named}, (USE_CASE, LOANS), not_loaded)
    assert result == ([*served], dict.fromkeys(unavailable, NOT_DECLARED))


def test_a_server_that_is_left_with_nothing_to_serve_names_what_is_wrong():
    with pytest.raises(IllegalEnvironment, match=r"found 'cars'; legal: .*\nteams\.cars · does not load: ImportError: no wheels"):
        served_use_cases({"MLOPS_USE_CASE": "cars"}, (USE_CASE,), BROKEN)
    with pytest.raises(IllegalEnvironment, match="no wheels"):
        served_use_cases({}, (), BROKEN)


def test_a_server_in_an_illegal_environment_ends_with_the_message_alone(tmp_path: Path):
    (file := tmp_path / "home").write_text("")
    variables = {**os.environ, "MLOPS_HOME": str(file / "nested"), "MLOPS_ENV": "test"}
    command = [sys.executable, "-c", "import deploy.service"]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert ended.stderr == f"MLOPS_HOME · {file / 'nested'}: {file} is a file, it is not a folder. Correct MLOPS_HOME.\n"
