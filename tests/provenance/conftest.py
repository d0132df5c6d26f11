"""A small line of flights in a home of its own with three registered models, of which one serves real requests.

Real files, Delta tables, Feast, MLflow, ledger and log; the service runs in this process.
"""

import datetime as dt
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import Result
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from typer import Typer
from typer.testing import CliRunner

from mlops_assets.cli import provenance as explain_cli
from mlops_assets.cli.arguments import Commands
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import Home, read_environment
from mlops_assets.promotion.blessing import Blessing, GateVerdict
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.provenance.why import Stores
from mlops_assets.serving.http.app import ApiApp
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.service import open_service
from mlops_assets.serving.services import Services
from mlops_assets.spec.training import HistGradientBoosting, Lightning, Search
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.digest import digest
from mlops_assets.training.model_registry import ModelRegistry
from mlops_assets.training.train_and_track import train_and_track
from mlops_assets.use_cases.flight_delay.airline import deliveries, package_folder
from tests.graph.conftest import land
from tests.graph.line import running_line
from tests.integration.small_line import FIRST, LAST, NO_SERVER, SMALL, daily_assets
from tests.training.mlflow_runs import new_run

TREES, NETWORK, SEARCHED = 1, 2, 3
LINES = {
    TREES: SMALL,
    NETWORK: SMALL.but(trainer=Lightning(hidden=(16,), max_epochs=2)),
    SEARCHED: SMALL.but(
        trainer=HistGradientBoosting(max_iter=4, min_samples_leaf=20),
        search=Search(trials=3, folds=2),
        split=SMALL.split.but(label_delay=dt.timedelta(hours=4)),
    ),
}
NOW = dt.datetime(2013, 1, 5, 12, tzinfo=dt.UTC)
PERSON = "ada"


@dataclass(frozen=True)
class Line:
    """The stores of one home."""

    home: Home

    @property
    def variables(self) -> dict[str, str]:
        return {"MLOPS_ENV": "test", "MLOPS_HOME": str(self.home.root), "MLOPS_SERVICE_URL": NO_SERVER}

    @property
    def tables(self) -> DeltaTables:
        return DeltaTables(self.home.tables)

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(self.home.mlflow)

    @property
    def keys(self) -> SigningKeys:
        return SigningKeys(self.home.keys)

    @property
    def deployment(self) -> Deployment:
        return Deployment(self.home.deployments, SMALL.name)

    @property
    def ledger(self) -> Ledger:
        return Ledger(read_environment(self.variables).ledger_url)

    @property
    def log(self) -> PredictionLog:
        return PredictionLog(self.home.prediction_log, SMALL)

    def stores(self, **others: Any) -> Stores:
        own = {"log": self.log, "deployment": self.deployment, "keys": self.keys, "ledger": self.ledger, "tables": self.tables}
        return Stores(**{**own, "open_features": None, **others})

    @property
    def segment(self) -> Path:
        """The one file of the prediction log."""
        (segment,) = self.home.prediction_log.rglob("*.jsonl")
        return segment

    def training_set(self) -> pl.DataFrame:
        return self.tables.scan(names.stage(SMALL.name, "training_set")).collect()

    def carry(self) -> None:
        """From the files of four days to the training set."""
        with running_line(self.home.root, SMALL) as line:
            land(line, [*deliveries(package_folder(), FIRST, LAST)])
            assert line.run(*(key.path for key in daily_assets()), first=FIRST, last=LAST).success
            assert line.run(names.stage(SMALL.name, "training_set")).success

    def train(self, use_case: UseCase) -> int:
        version = str(self.tables.version(names.stage(SMALL.name, "training_set")))
        about = {"dagster_run_id": f"{use_case.fingerprint('candidate')}-0000", "dagster_reason": "materialized by hand"}
        made_from = {"table.training_set": version, "table.validated.weather": "0", **about}
        rows, run = self.training_set(), new_run(self.registry, names.experiment(use_case.name))
        context: dict[str, Any] = {"registry": self.registry, "made_from": made_from, "progress": lambda _line: None}
        return train_and_track(use_case, rows, run=run, **context).version

    def promote(self, version: int) -> None:
        """Blessed, approved by a person, and the only version that serves."""
        onnx = self.registry.load(names.registered_model(SMALL.name), version)
        record = next(model.tags for model in self.registry.versions(SMALL.name) if model.version == version)
        gates = (GateVerdict("floor_auc", True, 0.7123, 0.5, 0.69, 0.73), GateVerdict("beats_champion_auc", True, None, 0.95))
        signed = Blessing(
            use_case=SMALL.name, version=version, model_digest=digest(onnx), evaluation_digest="e" * 64, gates=gates,
            training=record, blessed_at=NOW.isoformat(),
        ).signed_by(self.keys.private())  # fmt: skip
        promotions = Promotions(SMALL, self.ledger, self.deployment, self.keys)
        promotions.bless(version, onnx, signed.to_json(), by="the gates", at=NOW)
        promotions.approve(version, why="the winter is short", by=PERSON, at=NOW)
        promotions.promote(version, reason="blessed", by="the rollout", at=NOW)

    def flights(self) -> list[dict[str, Any]]:
        """Two requests of the days that have landed, and one for the day after, of which nothing is known yet."""
        scheduled = self.tables.scan(names.validated(SMALL.name, "schedule")).sort("sched_dep").collect()
        requests = scheduled.select(SMALL.features.request).with_columns(pl.col("sched_dep").dt.to_string("iso:strict"))
        early, late, tomorrow = requests.gather([100, 1200, len(requests) - 1]).to_dicts()
        return [early, late, tomorrow | {"sched_dep": "2013-01-05T14:05:00+00:00"}]


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """The line with its three models; the trees serve."""
    line = Line(Home(tmp_path_factory.mktemp("home")))
    line.carry()
    assert [line.train(use_case) for use_case in LINES.values()] == [*LINES]
    line.promote(TREES)
    return line


@pytest.fixture(scope="session")
def client(line: Line) -> Iterator[TestClient]:
    service = open_service(line.variables, SMALL)
    service.start()
    yield TestClient(ApiApp(PlainTextResponse("Bento's"), lambda: Services([service])))  # type: ignore[arg-type]
    service.stop()


@pytest.fixture(scope="session")
def answered(line: Line, client: TestClient) -> list[dict[str, Any]]:
    """The predictions of three lookups, the last of them for tomorrow, and of one row of features alone."""
    flights = line.flights()
    features = line.training_set().select(SMALL.features.inputs).row(500, named=True)
    bodies = [{"rows": flights}, {"features": [features]}]
    responses = [client.post("/predict", json=body) for body in bodies]
    assert [response.status_code for response in responses] == [200, 200], [response.text for response in responses]
    return [prediction for response in responses for prediction in response.json()["predictions"]]


@pytest.fixture
def altered(line: Line) -> Iterator[Callable[[Path, bytes, bytes], None]]:
    """Replaces bytes in a file of the home, which gets its old ones back after the test."""
    before: dict[Path, bytes] = {}

    def alter(path: Path, old: bytes, new: bytes) -> None:
        content = path.read_bytes()
        before.setdefault(path, content)
        assert content.count(old) >= 1, f"{old!r} is not in {path.name}"
        path.write_bytes(content.replace(old, new, 1))

    yield alter
    for path, content in before.items():
        path.write_bytes(content)


@pytest.fixture
def run(line: Line, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`mlops why`, `replay` and `reproduce` on the home of the line."""
    app = Typer(cls=Commands)
    for command in (explain_cli.why, explain_cli.replay, explain_cli.reproduce):
        app.command()(command)
    for name in [name for name in os.environ if name.startswith("MLOPS_")]:
        monkeypatch.delenv(name)
    for name, value in line.variables.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])
