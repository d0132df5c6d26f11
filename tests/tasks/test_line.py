"""Each task and each trainer, from landed files to served answers, their outcomes, the monitors, and back to the version before.

The trainers of one task share its landed days, its first version and its server, which takes each new version while it runs.
"""

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import bentoml
import dagster as dg
import polars as pl
import pytest

from mlops_assets.foundation import names
from mlops_assets.graph.evaluation_page import PICTURE
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.spec.training import Trainer
from mlops_assets.statistics.plots import importance
from mlops_assets.tasks import task_of
from mlops_assets.training.model_registry import ModelRegistry
from mlops_assets.training.onnx_model import OnnxModel
from tests.cli.loans import REPO
from tests.graph.line import Line, environment_of, failed_checks, failure
from tests.integration.running_service import Server, started, wait_for_plan
from tests.tasks.declarations import CASES, DAYS, FIRST, ROWS, TRAINERS, applications, payments, trainers, use_case

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(600)]
PAIRS = [*product(CASES, TRAINERS)]
REQUEST = ("number", "customer", "amount", "purpose", "applied_at")


def must(result: dg.ExecuteInProcessResult) -> dg.ExecuteInProcessResult:
    assert result.success, failed_checks(result) or failure(result)
    return result


@dataclass(frozen=True)
class Served:
    """The line of one task with its running server; version 1 is the champion between two tests."""

    kind: str
    line: Line
    server: Server
    client: Any

    def train(self, trainer: Trainer) -> int:
        """Trains, judges, blesses and promotes a version, and returns its number."""
        self.line.declare(use_case(self.kind, trainer))
        job = self.line.definitions.resolve_job_def(names.job("loans", "training"))
        must(job.execute_in_process(instance=self.line.instance, raise_on_error=False))
        plan = self.promotions().state().plan
        assert plan
        return plan.champion

    def promotions(self) -> Promotions:
        home = self.line.environment.home
        return Promotions(
            self.line.use_case,
            Ledger(self.line.environment.ledger_url),
            Deployment(home.deployments, "loans"),
            SigningKeys(home.keys),
        )

    def predict(self, rows: pl.DataFrame, **more: Any) -> list[dict[str, Any]]:
        requests = rows.select(REQUEST).to_dicts()
        requests = [row | {"applied_at": row["applied_at"].isoformat()} for row in requests]
        return self.client.predict(rows=requests, **more)["predictions"]

    def wait(self) -> None:
        plan = self.promotions().state().plan
        assert plan
        wait_for_plan(self.server, plan.number, timeout_s=60)


def start(kind: str, root: Path, stack: ExitStack) -> Served:
    root.mkdir()
    declared = use_case(kind)
    environment = environment_of(root, {"loans": REPO})
    instance = stack.enter_context(dg.DagsterInstance.ephemeral(tempdir=str(root)))
    line = Line(environment, declared, instance)
    for day in range(DAYS):
        line.landing.put(declared.name, "payments", day=line.day(day), rows=payments(day))
        line.landing.put(declared.name, "applications", day=line.day(day), rows=applications(day))
    views = names.feature("loans", "last_payment"), names.online("loans", "last_payment")
    must(line.run(*line.stages("payments", "applications"), *views, first=0, last=DAYS - 1))
    server = Server(environment.home, "tests.tasks.services:Loans", {"MLOPS_TEST_CASE": kind})
    served = Served(kind, line, server, None)
    assert served.train(FIRST) == 1
    stack.enter_context(started(server))
    return Served(kind, line, server, stack.enter_context(bentoml.SyncHTTPClient(f"http://127.0.0.1:{server.port}")))


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The line of a task, started by the first test that needs it, in whatever order they run."""
    running, root = dict[str, Served](), tmp_path_factory.mktemp("lines")
    with ExitStack() as stack:

        def line_of(kind: str) -> Served:
            if kind not in running:
                running[kind] = start(kind, root / kind, stack)
            return running[kind]

        yield line_of


@pytest.mark.parametrize(("kind", "trainer"), PAIRS)
def test_a_line_from_landed_files_to_monitors_and_back(kind: str, trainer: str, lines: Any) -> None:
    served: Served = lines(kind)
    task, line = task_of(CASES[kind].task), served.line
    version = served.train(trainers(kind)[trainer])
    assert version > 1
    assert_importance_is_shown(line, version)
    served.wait()

    # Its own rows: an outcome counts for the first prediction about its row.
    rows = applications(DAYS - 1)[TRAINERS.index(trainer) :: len(TRAINERS)]
    (explained,) = served.predict(rows.head(1), explain=True)
    answers = served.predict(rows)
    assert {answer["model_version"] for answer in answers} == {version}
    onnx = ModelRegistry(line.environment.home.mlflow).load("loans", version)
    paid = payments(DAYS - 1).select("customer", last_paid="paid")
    outputs = OnnxModel.from_bytes(onnx).predict(rows.join(paid, on="customer", how="left", maintain_order="left"))
    assert task.are_legal(outputs).all()
    read = task.reader(task.facts)
    for answer, output in zip(answers, outputs.tolist(), strict=True):
        assert_same(dict(zip(task.ANSWER, read(output), strict=True)), answer)
    explanation = explained["explanation"]
    assert {"amount", "last_paid"} <= {*explanation["contributions"]}
    (total,) = task.additive(outputs[:1], outputs.tolist()[0])
    (baseline,) = (value for name, value in explanation.items() if name.startswith("baseline"))
    added = sum(explanation["contributions"].values())
    assert task.baseline(float(total) - added) == pytest.approx({name: baseline for name in task.baseline(0.0)}, abs=1e-3)

    monitors = [names.stage("loans", name) for name in ("predictions", "outcomes", *line.use_case.monitor_stages)]
    result = must(line.run(*monitors))
    assert failed_checks(result) == {}
    outcomes = line.rows(names.stage("loans", "outcomes")).filter(model_version=version)
    assert len(outcomes) == ROWS / len(TRAINERS) and outcomes[task.SCORES[0]].null_count() == 0
    metric, bound = CASES[kind].floor
    assert task.sample(task.truth(outcomes[task.name]), task.logged(outcomes)).measure([metric])[metric] >= bound - 0.2

    served.promotions().roll_back(reason="a test", by="ana", at=datetime.now(UTC))
    served.wait()
    assert {answer["model_version"] for answer in served.predict(rows)} == {1}


def assert_importance_is_shown(line: Line, version: int) -> None:
    """The evaluation page has the picture of the evidence, whose first input is the one that decides the labels."""
    event = line.instance.get_latest_materialization_event(dg.AssetKey(names.stage("loans", "evaluation")))
    assert event and event.asset_materialization
    metadata: Any = event.asset_materialization.metadata
    assert metadata["model_version"].value == version
    pictures = {name: base64.b64decode(png) for name, png in PICTURE.findall(metadata["pictures"].md_str)}
    importances = [tuple(one) for one in metadata["evidence"].data["importance"]]
    assert {name for name, *_ in importances} == {*line.use_case.features.inputs}
    assert importances[0][0] == "amount" and importances[0][1] > 0
    assert pictures["importance"] == importance(importances, task_of(line.use_case.task).main_metric)


def assert_same(expected: dict[str, Any], answer: dict[str, Any]) -> None:
    for name, value in expected.items():
        assert answer[name] == (pytest.approx(value, rel=1e-5, abs=1e-5) if isinstance(value, float | dict) else value), name
