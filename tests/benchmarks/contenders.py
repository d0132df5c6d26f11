"""The servers of the benchmark: how each is started and called. All answer from one model file, one row a request.

Belongs here: command lines, environments, installing what only the benchmark needs. Not here: measuring (bench_service.py).
The peers get what is best for them and asks nothing of their users: no access log where the command line says so.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlops_assets.foundation.home import Home
from mlops_assets.local.platform import serve_command, serve_environment
from mlops_assets.local.processes import Child, free_port
from mlops_assets.training.signature import INPUT, OUTPUT
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.benchmarks.flight_home import WIDTHS, Flights, write_bodies

PROJECT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).resolve().parent / "peers"
MLSERVER_ENVIRONMENT = PROJECT / ".venv-bench"
GIVEN, LOOKED_UP = "this service, features given", "this service, looked up"
FASTAPI, BENTO, MLFLOW, MLSERVER = "FastAPI + ONNX Runtime", "plain @bentoml.api", "mlflow models serve", "MLServer"


class NotInstalled(RuntimeError):
    """A peer that cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Question:
    """One way to ask a server: a body of `bodies` to `url`. `probability` finds the first row's in the decoded answer."""

    name: str
    url: str
    bodies: Path
    probability: Callable[[Any], float]
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contender:
    """One server and its questions, sent one after the other."""

    name: str
    child: Child
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Ground:
    """What all contenders share: a temporary folder, the model in a file, and the filled home of this service."""

    folder: Path
    flights: Flights
    home: Home
    redis_url: str
    token: str

    @property
    def model(self) -> Path:
        path = self.folder / "model.onnx"
        if not path.exists():
            path.write_bytes(self.flights.model)
        return path

    def child(self, name: str, command: list[str], port: int, ready: str, **variables: str) -> Child:
        environment = {**os.environ, "MODEL": str(self.model), "PYTHONUNBUFFERED": "1", **variables}
        log, url = self.folder / "logs" / f"{name}.log", f"http://127.0.0.1:{port}{ready}"
        return Child(name, command, environment, log, PROJECT, url)


def service(ground: Ground) -> Contender:
    """Ours, called in both ways: with log, metrics, key, rate limit and concurrency limit on."""
    port = free_port()
    variables = serve_environment(ground.home, USE_CASE.name, environment="test", inherited=os.environ)
    variables |= {"MLOPS_ONLINE_STORE": ground.redis_url, "MEASURED_TASK": ground.flights.task}
    child = ground.child(
        "service", serve_command(port, service="tests.benchmarks.measured_service:Service"), port, "/readyz", **variables
    )
    url, headers = f"http://127.0.0.1:{port}/predict", (f"Authorization: Bearer {ground.token}",)
    bodies = write_bodies(ground.flights, "features", ground.folder)
    looked_up = write_bodies(ground.flights, "rows", ground.folder)
    return Contender(
        "this service",
        child,
        (Question(GIVEN, url, bodies, _ours, headers), Question(LOOKED_UP, url, looked_up, _ours_looked_up, headers)),
    )


def fastapi(ground: Ground) -> Contender:
    port = free_port()
    where = ["--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
    command = [sys.executable, "-m", "uvicorn", "tests.benchmarks.peers.fastapi_peer:app", *where]
    question = _question(ground, FASTAPI, port, "/predict", "lists", lambda answer: float(np.ravel(answer["outputs"])[0]))
    return Contender(FASTAPI, ground.child("fastapi", command, port, "/ready"), (question,))


def bento(ground: Ground) -> Contender:
    port = free_port()
    command = serve_command(port, service="tests.benchmarks.peers.bento_peer:Scorer")
    variables = {"BENTOML_HOME": str(ground.folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    question = _question(ground, BENTO, port, "/predict", "lists", lambda answer: answer[0])
    return Contender(BENTO, ground.child("bento", command, port, "/readyz", **variables), (question,))


def mlflow(ground: Ground) -> Contender:
    port, model = free_port(), ground.folder / "mlflow_model"
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--env-manager", "local"]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), *where]
    if not model.exists():
        _save_for_mlflow(ground.flights.model, model)
    question = _question(ground, MLFLOW, port, "/invocations", "inputs", lambda answer: answer["predictions"][OUTPUT][0])
    return Contender(MLFLOW, ground.child("mlflow", command, port, "/ping", **quiet), (question,))


def mlserver(ground: Ground) -> Contender:
    """Raises NotInstalled."""
    install_mlserver()
    port, folder = free_port(), ground.folder / "mlserver"
    folder.mkdir(exist_ok=True)
    settings = {"name": "flights", "implementation": "mlserver_peer.Scorer"}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    # No worker processes: MLServer's own advice where inference takes less than handing it over.
    options = {"HOST": "127.0.0.1", "HTTP_PORT": str(port), "PARALLEL_WORKERS": "0", "DEBUG": "false"}
    options |= {"GRPC_PORT": str(free_port()), "METRICS_PORT": str(free_port())}
    variables = {f"MLSERVER_{name}": value for name, value in options.items()} | {"PYTHONPATH": str(PEERS)}
    command = [str(MLSERVER_ENVIRONMENT / "bin" / "mlserver"), "start", str(folder)]
    url = "/v2/models/flights/infer"
    question = _question(ground, MLSERVER, port, url, "v2", lambda answer: answer["outputs"][0]["data"][0])
    return Contender(MLSERVER, ground.child("mlserver", command, port, "/v2/health/ready", **variables), (question,))


def install_mlserver() -> None:
    """An environment of its own, once: its pins contradict the project's. Raises NotInstalled."""
    pinned, done = PEERS / "requirements.txt", MLSERVER_ENVIRONMENT / "installed.txt"
    if done.exists() and done.read_text() == pinned.read_text():
        return
    print(f"installing MLServer into {MLSERVER_ENVIRONMENT.name} (once, a minute)", flush=True)
    python = MLSERVER_ENVIRONMENT / "bin" / "python"
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(MLSERVER_ENVIRONMENT)],
        [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(pinned)],
    ):
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise NotInstalled(
                f"{MLSERVER} · {' '.join(command[:4])} ended with {ended.returncode}: {ended.stderr[-300:].strip()}"
            )
    done.write_text(pinned.read_text())


def bare(ground: Ground) -> Contender:
    """No server at all, only its socket: what the generator can do."""
    port = free_port()
    command = [sys.executable, str(PEERS / "bare_server.py"), str(port)]
    question = _question(ground, "bare socket", port, "/", "features", lambda answer: answer["probability"])
    return Contender("bare socket", ground.child("bare", command, port, "/"), (question,))


def _question(ground: Ground, name: str, port: int, path: str, form: str, probability: Callable[[Any], float]) -> Question:
    bodies = write_bodies(ground.flights, form, ground.folder)
    return Question(name, f"http://127.0.0.1:{port}{path}", bodies, probability)


def _save_for_mlflow(model: bytes, folder: Path) -> None:
    import numpy as np
    import onnx
    from mlflow import onnx as mlflow_onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    takes = Schema([TensorSpec(np.dtype(np.float32), (-1, WIDTHS[0]), INPUT)])
    gives = Schema([TensorSpec(np.dtype(np.float32), (-1,), OUTPUT)])
    mlflow_onnx.save_model(
        onnx.load_from_string(model),
        str(folder),
        signature=ModelSignature(inputs=takes, outputs=gives),
        onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},
        pip_requirements=[],
    )


def _ours(answer: Any) -> float:
    """The first number of the first row, whatever the task."""
    first = answer["predictions"][0]
    return first.get("probability", first.get("prediction", next(iter(first.get("probabilities", {0: None}).values()))))


def _ours_looked_up(answer: Any) -> float:
    """Raises ValueError where the features did not come from Redis."""
    prediction = answer["predictions"][0]
    if prediction["features_from"] != "online":
        raise ValueError(f"{LOOKED_UP} · features from {prediction['features_from']!r}, not 'online'. Look at flight_home.py.")
    return _ours(answer)
