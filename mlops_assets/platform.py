"""The embedded platform as processes: daemon, prediction service and, when all is wanted, web UI and MLflow.

Belongs here: which process is started how. Not here: starting, watching and ending processes (ports/processes.py).
"""

import fcntl
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from mlops_assets.ports.home import Environment
from mlops_assets.ports.processes import Child, Processes, free_port
from mlops_assets.serving.launch import serve_command, serve_environment

DAGSTER_PORT, MLFLOW_PORT = 3001, 5000
WORKSPACE = ["--workspace", "workspace.yaml"]
EVENT_LOG = """
event_log_storage:
  module: mlops_assets.graph.event_log
  class: BatchedEventLog
  config: {{base_dir: {folder}/history}}
"""


class AlreadyRunning(RuntimeError):
    """Two platforms on one home would start every run twice."""


@contextmanager
def running_platform(environment: Environment, *, everything: bool) -> Generator[dict[str, str]]:
    """Addresses by name, for as long as the block lasts. Raises NotStarted with the log's last lines."""
    with _alone(environment):
        yield from _started(environment, ("service", "dagster", "mlflow") if everything else ("service",))


def _started(environment: Environment, asked: tuple[str, ...]) -> Generator[dict[str, str]]:
    preferred = {"service": urlsplit(environment.service_url).port or 0, "dagster": DAGSTER_PORT, "mlflow": MLFLOW_PORT}
    addresses = {name: f"http://127.0.0.1:{free_port(preferred[name])}" for name in asked}
    _lay_instance(environment)
    _close_unfinished_runs(environment)
    variables = _variables(environment, addresses["service"])
    starts = {"service": _service, "dagster": _web, "mlflow": _mlflow}
    children = [starts[name](environment, url, variables) for name, url in addresses.items()]
    with Processes([*children, _daemon(environment, variables)]):
        yield addresses


def _lay_instance(environment: Environment) -> None:
    """The project's dagster.yaml in the home folder, with the event log of a single machine."""
    folder = environment.home.dagster
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dagster.yaml").write_text((environment.project / "dagster.yaml").read_text() + EVENT_LOG.format(folder=folder))


def _close_unfinished_runs(environment: Environment) -> None:
    """Runs whose process died with an earlier platform: nobody else would ever end them, and what follows waits for them."""
    import dagster as dg

    unfinished = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    with dg.DagsterInstance.from_config(str(environment.home.dagster)) as instance:
        for run in instance.get_runs(dg.RunsFilter(statuses=unfinished)):
            instance.report_run_failed(run, "Its process ended together with the platform that had started it.")


@contextmanager
def _alone(environment: Environment) -> Generator[None]:
    """One platform a home. Raises AlreadyRunning."""
    environment.home.root.mkdir(parents=True, exist_ok=True)
    with (environment.home.root / "platform.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(
                f"{environment.home.root} · a platform runs on this home already. Use that one, end it, or set MLOPS_HOME."
            ) from None
        yield


def _variables(environment: Environment, service_url: str) -> dict[str, str]:
    said = {
        "DAGSTER_HOME": str(environment.home.dagster),
        "DAGSTER_EVENT_BATCH_SIZE": "2000",  # more than the assets of a use case have days in a month
        "MLOPS_ENV": environment.name,
        "MLOPS_HOME": str(environment.home.root),
        "MLOPS_SERVICE_URL": service_url,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "ignore",
        "PYTHONUNBUFFERED": "1",
    }
    return {**os.environ, **said}


def _child(environment: Environment, name: str, command: list[str], variables: dict[str, str], ready_url: str | None) -> Child:
    log = environment.home.logs / f"{name}.log"
    return Child(name, command, variables, log=log, working_folder=environment.project, ready_url=ready_url)


def _daemon(environment: Environment, variables: dict[str, str]) -> Child:
    command = [*_tool("dagster-daemon"), "run", *WORKSPACE]
    return _child(environment, "daemon", command, variables, None)


def _web(environment: Environment, url: str, variables: dict[str, str]) -> Child:
    command = [*_tool("dagster-webserver"), "--host", "127.0.0.1", "--port", _port(url), *WORKSPACE]
    return _child(environment, "webserver", command, variables, f"{url}/server_info")


def _service(environment: Environment, url: str, variables: dict[str, str]) -> Child:
    said = serve_environment(environment.home, environment.use_case, environment=environment.name, inherited=variables)
    return _child(environment, "service", serve_command(int(_port(url))), said, f"{url}/livez")


def _mlflow(environment: Environment, url: str, variables: dict[str, str]) -> Child:
    from mlops_assets.ports.model_registry import ModelRegistry  # opens mlflow

    # The server would make the database in place: slower, and not safely beside a run that makes it too.
    ModelRegistry(environment.home.mlflow).prepare()
    # Its job runner is eight more processes and 1 GB, for evaluations of language models.
    variables = {**variables, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    store = f"sqlite:///{environment.home.mlflow / 'mlflow.db'}"
    where = ["--host", "127.0.0.1", "--port", _port(url), "--backend-store-uri", store, "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server", *where]
    return _child(environment, "mlflow", command, variables, f"{url}/health")


def _tool(name: str) -> list[str]:
    return [str(Path(sys.executable).with_name(name))]


def _port(url: str) -> str:
    return url.rpartition(":")[2]
