import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_assets.foundation.home import IllegalEnvironment
from mlops_assets.serving.service import served_use_case
from mlops_assets.use_cases import USE_CASES


def test_an_undeclared_use_case_is_refused_with_the_legal_ones():
    with pytest.raises(IllegalEnvironment, match=r"found 'weather'; legal: flight_delay\. Set one of these\."):
        served_use_case({"MLOPS_USE_CASE": "weather"}, USE_CASES)


def test_a_server_in_an_illegal_environment_ends_with_the_message_alone(tmp_path: Path):
    (file := tmp_path / "home").write_text("")
    variables = {**os.environ, "MLOPS_HOME": str(file / "nested"), "MLOPS_ENV": "test"}
    command = [sys.executable, "-c", "import deploy.service"]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert ended.stderr == f"MLOPS_HOME · {file / 'nested'}: {file} is a file, it is not a folder. Correct MLOPS_HOME.\n"
