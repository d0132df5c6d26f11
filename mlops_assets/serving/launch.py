"""How the Bento service is started: its command line and its environment.

Belongs here: pure values for whoever starts a process. Not here: starting it (cli.py).
"""

import sys
from collections.abc import Mapping

from mlops_assets.ports.home import EnvironmentName, Home

SERVICE = "deploy.service:Predictions"


def serve_command(port: int, host: str = "127.0.0.1", service: str = SERVICE) -> list[str]:
    """To be run in the project's root, where `deploy` is importable. SIGINT and SIGTERM end it cleanly."""
    return [sys.executable, "-m", "bentoml", "serve", service, "--host", host, "--port", str(port)]


def serve_environment(home: Home, use_case: str, *, environment: EnvironmentName, inherited: Mapping[str, str]) -> dict[str, str]:
    """`inherited` with what the service needs: Bento reports no usage, and traces only where OTEL_SDK_DISABLED=false.

    The frames of a request are small: handing them to Polars' other threads costs more than it brings (a fifth of the rate).
    """
    said = {
        "MLOPS_ENV": environment,
        "MLOPS_HOME": str(home.root),
        "MLOPS_USE_CASE": use_case,
        "BENTOML_HOME": str(home.root / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONUNBUFFERED": "1",
    }
    return {"OTEL_SDK_DISABLED": "true", "POLARS_MAX_THREADS": "1", **inherited, **said}
