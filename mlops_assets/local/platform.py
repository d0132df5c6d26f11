"""The platform on one machine: prediction service and daemon and, for `mlops up`, web UI and MLflow."""

import os
import socket
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml
from filelock import Timeout

from mlops_assets.foundation import names
from mlops_assets.foundation.home import Environment, EnvironmentName, Home, parse_service_urls
from mlops_assets.foundation.home_lock import lock_of, record_owner
from mlops_assets.local.damage import find_damage
from mlops_assets.local.new_project import TEMPLATE
from mlops_assets.local.processes import POLL_SECONDS, Child, free_port, running
from mlops_assets.promotion.ledger import Ledger, LedgerDown

if TYPE_CHECKING:
    import dagster as dg

SERVICE = "deploy.service:Predictions"
PORTS = {"dagster": 3001, "status": 3002, "evidently": 3003, "mlflow": 5000}  # the page `status` is served by `mlops up` itself
MODULE, LOCATION = "mlops_assets.definitions", "mlops_assets"  # as in workspace.yaml
DEFAULT_LOCATION = {"module_name": MODULE, "location_name": LOCATION}
PLAIN = {*DEFAULT_LOCATION, "working_directory"}
CODE_SECONDS = 180.0  # until the definitions are loaded


class DamagedHome(RuntimeError):
    """A home on which no platform starts: its message has a line for each fault."""


class NoEventLog(LookupError):
    """The runs of this home are recorded elsewhere, or there were none."""


class AlreadyRunning(RuntimeError):
    """Two platforms on one home would start every run twice."""


@contextmanager
def running_platform(
    environment: Environment, *, everything: bool, on_restart: Callable[[str], None] | None = None,
    prepare: Callable[[], None] = lambda: None,
) -> Generator[dict[str, str]]:  # fmt: skip
    """Yields the addresses by name while all processes run. With `on_restart`, which gets a message, a process that ends is
    started again. `prepare` is called before the first process starts, when no other platform can start. Raises AlreadyRunning,
    ProcessFailed, and DamagedHome before anything is written.
    """
    if damage := find_damage(environment):
        raise DamagedHome("\n".join(damage))
    home, ports = environment.home, {"service": urlsplit(environment.service_url).port or 0}
    home.dagster.mkdir(parents=True, exist_ok=True)
    try:
        lock = lock_of(home.root).acquire(blocking=False)
    except Timeout:
        raise AlreadyRunning(f"{home.root} · a platform already runs on this home. Use it, stop it, or set MLOPS_HOME.") from None
    with lock:
        # Before MLflow, so that a home with a model and no ledger is one that lost it. The service runs without the database.
        with suppress(LedgerDown):
            Ledger(environment.ledger_url).create()
        # Without it daemon and web UI each load the definitions in other processes, the daemon every minute, in 10 s of CPU.
        ports |= {"code": 0} if not everything or code_location(environment.project) else {}
        ports |= PORTS if everything else {}
        paths = {"service": urlsplit(environment.service_url).path, "dagster": urlsplit(environment.dagster_url or "").path}
        addresses = {name: f"http://127.0.0.1:{free_port(port)}{paths.get(name, '').rstrip('/')}" for name, port in ports.items()}
        (home.dagster / "dagster.yaml").write_text(_settings_of_dagster(environment.project).read_text())
        move_event_log(home.dagster / "history")
        _take_over(home)
        prepare()
        with running(children(environment, addresses), on_restart=on_restart):
            yield {name: url for name, url in addresses.items() if name != "code"}  # which no browser opens


@contextmanager
def any_platform(environment: Environment) -> Generator[tuple[Environment, bool]]:
    """The platform that runs on the home, or daemon and service of this block's own: the environment with the addresses of its
    servers, and whether it is the block's own. Raises as `running_platform`.
    """
    with ExitStack() as stack:
        try:
            addresses = stack.enter_context(running_platform(environment, everything=False))
        except AlreadyRunning:
            addresses = None
        if addresses is None:
            yield environment, False
        else:
            urls = parse_service_urls(environment.with_service_url(addresses["service"]))
            yield replace(environment, service_urls=urls), True


@contextmanager
def opened_event_log(environment: Environment) -> "Generator[tuple[dg.DagsterInstance, bool]]":
    """The event log of the home, and whether this process alone writes to the home until the end of the block, as nothing else
    does. Raises NoEventLog.
    """
    import dagster as dg

    home, lock = environment.home, lock_of(environment.home.root)
    if not (home.dagster / "dagster.yaml").exists():
        raise NoEventLog(
            f"{home.dagster} · no platform of its own has run on this home. Start one: `mlops up`, or `mlops run NAME`."
        )
    try:
        lock.acquire(blocking=False)
    except Timeout:
        with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
            yield instance, False
        return
    with lock:
        lock.release()  # the second of two
        _take_over(home)
        with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
            yield instance, True


def _settings_of_dagster(project: Path) -> Path:
    own = project / "dagster.yaml"
    return own if own.exists() else TEMPLATE / own.name


def move_event_log(history: Path) -> None:
    """Moves the event log of older homes, whose dagster.yaml stored it next to the runs, to Dagster's default folder."""
    default = history / "runs"
    if not (history / "index.db").exists() or (default / "index.db").exists():
        return
    default.mkdir(exist_ok=True)
    for file in sorted(history.glob("*.db*"), key=lambda file: file.name.startswith("index.db")):  # the index last
        if not file.name.startswith("runs.db"):
            file.rename(default / file.name)


def _take_over(home: Home) -> None:
    """Records whose home it is, and ends runs whose process died with an earlier platform: nothing else would, and later runs
    wait for them.
    """
    import dagster as dg

    from mlops_assets.home_claim import event_log_id

    unfinished = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        record_owner(home.root, event_log_id(instance))
        for run in instance.get_runs(dg.RunsFilter(statuses=unfinished)):
            instance.report_run_failed(run, "Its process ended together with the platform that had started it.")


def children(environment: Environment, addresses: Mapping[str, str]) -> Iterator[Child]:
    home, scripts = environment.home, Path(sys.executable).parent
    has_workspace = (environment.project / "workspace.yaml").exists()
    workspace = ["--workspace", "workspace.yaml"] if has_workspace else ["--module-name", MODULE]
    ports = {name: str(urlsplit(url).port) for name, url in addresses.items()}
    later = {name: f"http://127.0.0.1:{port}" for name, port in PORTS.items()}  # links of the demo, which `mlops up` answers
    services = environment.with_service_url(addresses["service"])
    variables = {
        **os.environ,
        **{f"MLOPS_{name.upper()}_URL": url for name, url in {**later, **addresses, "service": services}.items()},
        "DAGSTER_HOME": str(home.dagster),
        "MLOPS_ENV": environment.name,
        "MLOPS_HOME": str(home.root),
        "MLOPS_USE_CASE": ",".join(environment.use_cases),
        # To start a run, which a busy machine takes more than Dagster's 60 s for, and then fails; and for a tick of a sensor.
        "DAGSTER_GRPC_TIMEOUT_SECONDS": "180",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",  # Evidently's
        # Its job runner is eight more processes and 1 GB, for evaluations of language models.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",
        "PYTHONUNBUFFERED": "1",
    }

    def child(name: str, command: Sequence[str], ready_url: str | None = None, variables: Mapping[str, str] = variables) -> Child:
        return Child(name, command, variables, home.logs / f"{name}.log", environment.project, ready_url)

    location = (code_location(environment.project) if "dagster" in addresses else None) or DEFAULT_LOCATION
    if code := ports.get("code"):
        # Where there is a web UI, its button reloads the definitions, for the daemon too; that takes one more process.
        start = ["code-server", "start"] if "dagster" in addresses else ["api", "grpc"]
        at = ["--host", "127.0.0.1", "--port", code, "--location-name", location["location_name"], "--log-level", "warning"]
        folder = ["--working-directory", str(environment.project)]
        yield child("code", [f"{scripts}/dagster", *start, "--module-name", location["module_name"], *folder, *at])
        workspace = ["--workspace", str(home.dagster / "workspace.yaml")]
    serving = serve_environment(home, variables["MLOPS_USE_CASE"], environment=environment.name, inherited=variables)
    yield child("service", serve_command(int(ports["service"])), f"{addresses['service']}/livez", serving)
    if url := addresses.get("mlflow"):
        from mlops_assets.training.model_registry import ModelRegistry  # opens mlflow

        # The server would create the database in place: slower, and unsafe while a run creates it too.
        registry = ModelRegistry(home.mlflow, environment.mlflow_store)
        registry.prepare()
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", ports["mlflow"], "--workers", "1"]
        # Not in the command, which every user of the machine can list.
        yield child("mlflow", command, f"{url}/health", {**variables, "MLFLOW_BACKEND_STORE_URI": registry.uri})
    if url := addresses.get("evidently"):
        (dashboards := home.reports / names.EVIDENTLY).mkdir(parents=True, exist_ok=True)
        options = ["--workspace", str(dashboards), "--host", "127.0.0.1", "--port", ports["evidently"]]
        yield child("evidently", [f"{scripts}/evidently", "ui", *options], f"{url}/api/version")
    if code:
        _wait_for_code(int(code), home.dagster / "workspace.yaml", location["location_name"])
    if url := addresses.get("dagster"):
        prefix = ["--path-prefix", path] if (path := urlsplit(url).path) else []
        command = [f"{scripts}/dagster-webserver", "--host", "127.0.0.1", "--port", ports["dagster"], *prefix, *workspace]
        yield child("webserver", command, f"{url}/server_info")
    yield child("daemon", [f"{scripts}/dagster-daemon", "run", *workspace])


def code_location(project: Path) -> dict[str, str] | None:
    """Of a project with one code location, loaded by the Python and in the folder of this process; None for any other."""
    path = project / "workspace.yaml"
    entries: list[Any] = yaml.safe_load(path.read_text())["load_from"] if path.exists() else [{"python_module": DEFAULT_LOCATION}]
    one: Any = entries[0] if len(entries) == 1 else {}
    module: Any = one.get("python_module") if hasattr(one, "get") else None
    is_plain = hasattr(module, "keys") and {"working_directory": ".", **module}.keys() == PLAIN
    return module if is_plain and module.get("working_directory", ".") == "." else None


def _wait_for_code(port: int, workspace: Path, location: str) -> None:
    """Points the daemon at the server of the definitions, once this has loaded them: it tries again only after a minute."""
    workspace.write_text(f"load_from:\n- grpc_server: {{host: 127.0.0.1, port: {port}, location_name: {location}}}\n")
    deadline = time.monotonic() + CODE_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(POLL_SECONDS)


def serve_command(port: int, service: str = SERVICE) -> list[str]:
    """Starts the Bento service. SIGINT and SIGTERM stop it cleanly."""
    return [sys.executable, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]


def serve_environment(
    home: Home, use_cases: str, *, environment: EnvironmentName, inherited: Mapping[str, str]
) -> dict[str, str]:
    """`inherited` plus the service's own variables; it traces only where OTEL_SDK_DISABLED=false. `use_cases` as MLOPS_USE_CASE
    lists them.
    """
    variables = {"MLOPS_ENV": environment, "MLOPS_HOME": str(home.root), "MLOPS_USE_CASE": use_cases, "PYTHONUNBUFFERED": "1"}
    bento = {"BENTOML_HOME": str(home.root / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    # The frames of a request are small: passing them to other Polars threads costs a fifth of the throughput.
    return {"OTEL_SDK_DISABLED": "true", "POLARS_MAX_THREADS": "1", **inherited, **variables, **bento}
