"""Rollouts with the real service under traffic, the real daemon and real logs; the test only blesses models."""

import os
import sys
import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import onnx
import polars as pl
import pytest
from onnx import helper, numpy_helper

from mlops_assets.foundation import names
from mlops_assets.foundation.home import read_environment
from mlops_assets.local.processes import Child, running
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.client import LiveService
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.training.model_registry import ModelRegistry
from mlops_assets.training.onnx_file import seal
from mlops_assets.training.signature import INPUT, OUTPUT
from tests.integration.canary_line import STEPPED
from tests.integration.running_service import Server
from tests.integration.traffic import NOTHING, traffic
from tests.serving.flights import FLIGHT, blessed, tiny_model
from tests.training.mlflow_runs import new_run

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

PROJECT = Path(__file__).parents[2]
HOT = 200.0  # the third version returns NaN from this temperature on
# The daemon looks every five seconds; two looks may pass until there is enough evidence.
BREACH_TO_NO_TRAFFIC_S = 20


def failing_when_hot(bias: float) -> bytes:
    """The tiny model, whose output is NaN where `temp` is HOT or more: it adds 0 times the square root of HOT - 1 - temp."""
    model = onnx.load_from_string(tiny_model(bias))
    graph, place = model.graph, STEPPED.features.numeric.index("temp")
    squeeze = next(node for node in graph.node if node.output[0] == OUTPUT)
    squeeze.output[0] = "sound"
    constants = {"place": np.int64([place]), "one": np.int64([1]), "hot": np.float32(HOT - 1), "nothing": np.float32(0)}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    graph.node.extend(
        [
            helper.make_node("Gather", ["present", "place"], ["temperature"], axis=1),
            helper.make_node("Sub", ["hot", "temperature"], ["room"]),
            helper.make_node("Sqrt", ["room"], ["root"]),
            helper.make_node("Squeeze", ["root", "one"], ["flat"]),
            helper.make_node("Mul", ["flat", "nothing"], ["noise"]),
            helper.make_node("Add", ["sound", "noise"], [OUTPUT]),
        ]
    )
    assert graph.input[0].name == INPUT
    return seal(model, _signature(tiny_model(bias)))


def _signature(model: bytes) -> Any:
    from mlops_assets.training.onnx_model import OnnxModel

    return OnnxModel.from_bytes(model).signature


class Requests:
    """Distinct requests, cold and, once `hot_since` is set, hot."""

    def __init__(self) -> None:
        self.hot_since: datetime | None = None

    def __call__(self, turn: int) -> dict[str, Any]:
        temperature = float(turn % 90) + (HOT if self.hot_since else 0)
        departs = datetime(2013, 7, 1, 14, tzinfo=UTC) + timedelta(minutes=turn // 9999)
        flight = FLIGHT | {"flight": 1 + turn % 9999, "sched_dep": departs.isoformat()}
        return {"features": [NOTHING | {"temp": temperature}], "rows": [flight]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    root = tmp_path_factory.mktemp("home")
    home = read_environment({"MLOPS_ENV": "test", "MLOPS_HOME": str(root)}, PROJECT).home
    server = Server(home)
    home.dagster.mkdir()
    (home.dagster / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    variables = os.environ | {
        "DAGSTER_HOME": str(home.dagster), "MLOPS_ENV": "test", "MLOPS_HOME": str(root), "PYTHONWARNINGS": "ignore",
        "MLOPS_SERVICE_URL": f"http://127.0.0.1:{server.port}", "PYTHONPATH": str(PROJECT),
    }  # fmt: skip
    command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-m", "tests.integration.canary_line"]
    daemon = Child("daemon", command, dict(variables), log=root / "daemon.log", working_folder=PROJECT, ready_url=None)
    promotions_of(server).bless(1, *signed(1, server, tiny_model(-1)), by="test", at=datetime.now(UTC))
    server.start()
    try:
        with running([daemon]):
            yield server
    finally:
        server.running().terminate()
        server.running().wait(30)


def promotions_of(server: Server) -> Promotions:
    home = server.home
    ledger = Ledger(f"sqlite:///{home.root / 'ledger.db'}")
    return Promotions(STEPPED, ledger, Deployment(home.deployments, STEPPED.name), SigningKeys(home.keys))


def signed(version: int, server: Server, model: bytes) -> tuple[bytes, str]:
    registry, name = ModelRegistry(server.home.mlflow), names.registered_model(STEPPED.name)
    run_id = new_run(registry, names.experiment(STEPPED.name)).run_id
    registry.register(name, model, run_id=run_id, tags={}, description="made for a test")
    return model, blessed(version, model, SigningKeys(server.home.keys)).to_json()


def wait_until(holds: Callable[[], bool], seconds: float, server: Server) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        records = promotions_of(server).ledger.records(STEPPED.name)
        assert time.monotonic() < deadline, [(record.kind, record.body.get("reason")) for record in records]
        time.sleep(0.1)


def test_a_first_a_good_and_a_failing_challenger(server: Server) -> None:
    """The first is promoted at once, the good one passes shadow and canary, the failing one is rolled back in time."""
    promotions, requests = promotions_of(server), Requests()
    live = LiveService(f"http://127.0.0.1:{server.port}")
    wait_until(lambda: (live.plan() or {}).get("champion") == 1, 90, server)
    with traffic(server, asks=(requests,)) as flow:
        promotions.bless(2, *signed(2, server, tiny_model(-1.02)), by="test", at=datetime.now(UTC))
        wait_until(lambda: live.plan()["champion"] == 2, 90, server)  # pyright: ignore[reportOptionalSubscript]
        promotions.bless(3, *signed(3, server, failing_when_hot(-1.02)), by="test", at=datetime.now(UTC))
        wait_until(lambda: live.plan()["challenger"] == 3, 60, server)  # pyright: ignore[reportOptionalSubscript]
        requests.hot_since = datetime.now(UTC)
        wait_until(lambda: live.plan()["challenger"] is None, 30, server)  # pyright: ignore[reportOptionalSubscript]
        time.sleep(3)
    assert (flow.refused, flow.cut, flow.sent) == ({}, 0, flow.answers), "a request failed"
    kinds = [(record.kind, record.body.get("version")) for record in promotions.ledger.records(STEPPED.name)]
    assert kinds == [
        ("blessing", 1), ("promotion", 1),
        ("blessing", 2), ("plan", 2), ("step", 2), ("promotion", 2),
        ("blessing", 3), ("plan", 3), ("step", 3), ("rollback", 3),
    ]  # fmt: skip
    assert promotions.ledger.verify(STEPPED.name) == []
    assert newest_challenger_call(server) - requests.hot_since < timedelta(seconds=BREACH_TO_NO_TRAFFIC_S)
    wait_until(lambda: last_service_plan(server) == 10, 90, server)


def newest_challenger_call(server: Server) -> datetime:
    rows, _positions = PredictionLog(server.home.prediction_log, STEPPED).read()
    moments = rows.filter((pl.col("arm") == "challenger") | pl.col("challenger_failed"))["answered_at"]
    last = moments.max()
    assert isinstance(last, datetime)
    return last


def last_service_plan(server: Server) -> int:
    """The plan in the newest materialization of the asset `service`."""
    with dg.DagsterInstance.from_config(str(server.home.dagster)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(names.stage(STEPPED.name, "service")))
    plan = event.asset_materialization.metadata["plan"].value if event and event.asset_materialization else 0
    assert isinstance(plan, int)
    return plan
