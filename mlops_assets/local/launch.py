"""The command line and the environment variables that start the Bento service."""

import sys
from collections.abc import Mapping

from mlops_assets.foundation.home import EnvironmentName, Home

SERVICE = "deploy.service:Predictions"


def serve_command(port: int, host: str = "127.0.0.1", service: str = SERVICE) -> list[str]:
    """To be run in the project's root, where `deploy` can be imported. SIGINT and SIGTERM stop it cleanly."""
    return [sys.executable, "-m", "bentoml", "serve", service, "--host", host, "--port", str(port)]


def serve_environment(home: Home, use_case: str, *, environment: EnvironmentName, inherited: Mapping[str, str]) -> dict[str, str]:
    """`inherited` plus the service's own variables; it traces only where OTEL_SDK_DISABLED=false."""
    variables = {"MLOPS_ENV": environment, "MLOPS_HOME": str(home.root), "MLOPS_USE_CASE": use_case, "PYTHONUNBUFFERED": "1"}
    bento = {"BENTOML_HOME": str(home.root / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    # The frames of a request are small: passing them to other Polars threads costs a fifth of the throughput.
    return {"OTEL_SDK_DISABLED": "true", "POLARS_MAX_THREADS": "1", **inherited, **variables, **bento}
