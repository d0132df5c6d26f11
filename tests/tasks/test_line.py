"""Each task with each trainer, from landed files to served answers, their outcomes, the monitors, and back to the version before."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bentoml
import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of
from tests.cli.loans import REPO
from tests.graph.line import Line, environment_of, failed_checks, failure
from tests.integration.running_service import Server, started, wait_for_plan
from tests.tasks.declarations import CASES, DAYS, ROWS, TRAINERS, applications, payments, use_case

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(600)]
REQUEST = ("number", "customer", "amount", "purpose", "applied_at")


@contextmanager
def running_loans(root: Path, declared: UseCase) -> Iterator[Line]:
    environment = environment_of(root, {"loans": REPO})
    with dg.DagsterInstance.ephemeral(tempdir=str(root)) as instance:
        yield Line(environment, declared, instance)


def must(result: dg.ExecuteInProcessResult) -> dg.ExecuteInProcessResult:
    assert result.success, failure(result)
    return result


def train(line: Line) -> int:
    """Trains, judges, blesses and promotes a version, and returns its number."""
    job = line.definitions.resolve_job_def(names.job(line.use_case.name, "training"))
    must(job.execute_in_process(instance=line.instance, raise_on_error=False))
    plan = promotions(line).state().plan
    assert plan
    return plan.champion


def promotions(line: Line) -> Promotions:
    home, name = line.environment.home, line.use_case.name
    return Promotions(
        line.use_case, Ledger(line.environment.ledger_url), Deployment(home.deployments, name), SigningKeys(home.keys)
    )


def requests(case: Any, day: int) -> list[dict[str, Any]]:
    rows = applications(case, day).select(REQUEST).to_dicts()
    return [row | {"applied_at": row["applied_at"].isoformat()} for row in rows]


def check_answer(use_case: UseCase, prediction: Mapping[str, Any]) -> None:
    """An answer has the fields of its task, and an explanation."""
    task = task_of(use_case.task)
    assert list(prediction)[1 : 1 + len(task.ANSWER)] == [*task.ANSWER]
    output = [*prediction["probabilities"].values()]
    assert task.is_legal(output)
    answer = dict(zip(task.ANSWER, task.reader(task.facts)(output), strict=True))
    assert answer.items() <= prediction.items()
    assert prediction["explanation"]["contributions"]


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("kind", CASES)
def test_a_line_from_landed_files_to_monitors_and_back(kind: str, trainer: str, tmp_path: Path) -> None:
    case = CASES[kind]
    declared = use_case(case, trainer)
    task, stage = task_of(declared.task), lambda name: names.stage(declared.name, name)
    with running_loans(tmp_path, declared) as line:
        for day in range(DAYS):
            line.landing.put(declared.name, "payments", day=line.day(day), rows=payments(day))
            line.landing.put(declared.name, "applications", day=line.day(day), rows=applications(case, day))
        view = declared.features.views[0].name
        views = names.feature(declared.name, view), names.online(declared.name, view)
        must(line.run(*line.stages("payments", "applications"), *views, first=0, last=DAYS - 1))
        first = train(line)
        # Another model, which need not be better.
        declared_trainer, gates = declared.trainer, declared.gates[:1] + declared.gates[2:]
        line.declare(declared.but(trainer=declared_trainer.but(learning_rate=declared_trainer.learning_rate * 1.1), gates=gates))
        second = train(line)
        assert second > first

        server = Server(line.environment.home, "tests.tasks.services:Loans", {"MLOPS_TEST_CASE": f"{kind}/{trainer}"})
        with started(server), bentoml.SyncHTTPClient(f"http://127.0.0.1:{server.port}") as client:
            predict: Any = client.predict  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
            (one,) = predict(rows=requests(case, DAYS - 1)[:1], explain=True)["predictions"]
            check_answer(declared, one)
            answers = predict(rows=requests(case, DAYS - 1))["predictions"]
            assert {answer["model_version"] for answer in answers} == {second}
            plan = promotions(line).roll_back(reason="a test", by="ana", at=datetime.now(UTC))
            wait_for_plan(server, plan.number)
            answers = predict(rows=requests(case, DAYS - 2))["predictions"]
            assert {answer["model_version"] for answer in answers} == {first}

        monitors = [stage(name) for name in declared.monitor_stages]
        result = must(line.run(stage("predictions"), stage("outcomes"), *monitors))
        assert failed_checks(result) == {}
        outcomes = line.rows(stage("outcomes"))
        assert len(outcomes) == 2 * ROWS and outcomes[task.SCORES[0]].null_count() == 0
        metric, bound = case.floor
        own = outcomes.filter(model_version=first)
        quality = task.sample(task.truth(own["outcome"]), task.logged(own)).measure([metric])[metric]
        assert quality >= bound
        performance = result.asset_materializations_for_node("loans__performance")[0].metadata
        assert performance[f"window_{metric}"].value == pytest.approx(quality, abs=1e-3), performance["verdict"]
