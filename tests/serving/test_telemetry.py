import os
import subprocess
import sys
from pathlib import Path

COUNT_TWICE = """
from prometheus_client import generate_latest
from mlops_assets.serving.telemetry import Telemetry
for _ in range(2):
    telemetry = Telemetry()
    telemetry.responded(200)
print(generate_latest(telemetry.registry).decode())
"""


def test_each_server_counts_for_itself_even_where_bento_has_processes_share(tmp_path: Path):
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    output = subprocess.run([sys.executable, "-c", COUNT_TWICE], env=environment, capture_output=True, text=True, check=True)
    assert 'mlops_requests_total{status="200"} 1.0' in output.stdout and list(tmp_path.iterdir()) == []
