"""What Dagster shows of plan and ledger: the sensor, the checks and the asset `service`, on a real home."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.home import PROJECT, Home, read_environment
from mlops_assets.graph.jobs import build_jobs
from mlops_assets.graph.rollout import PUBLISHED, WHOLE, build_rollout
from mlops_assets.graph.serving import build_serving
from mlops_assets.graph.training import Candidate
from mlops_assets.promotion.deployment import Plan
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.resources import LedgerResource, Resources, build_resources
from mlops_assets.training.model_registry import ModelRegistry
from tests.cli.loans import LOANS
from tests.promotion.ledger_tamper import cut_off
from tests.promotion.model_line import FrailLedger, ModelLine, model
from tests.serving.test_client import running
from tests.training.mlflow_runs import new_run


@pytest.fixture
def line(tmp_path: Path) -> ModelLine:
    """Version 1 serves, version 2 is blessed."""
    line = ModelLine(Home(tmp_path).root)
    line.bless(1, 2)
    line.promote(1)
    return line


@pytest.fixture
def hanging() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def resources(line: ModelLine, url: str = "http://127.0.0.1:9") -> Resources:
    variables = {"MLOPS_ENV": "test", "MLOPS_HOME": str(line.folder.parents[1]), "MLOPS_SERVICE_URL": url}
    return build_resources(read_environment(variables, PROJECT))


def forge(line: ModelLine) -> Plan:
    plan = line.state().plan
    assert plan
    forged = replace(plan, number=999, champion=2)
    (line.folder / "plan.json").write_text(forged.to_json())
    return forged


def look(line: ModelLine) -> str:
    """Why the sensor did nothing."""
    (sensor,) = build_rollout(line.use_case)["sensors"]
    with dg.build_sensor_context(resources={"rollout_stores": resources(line)["rollout_stores"]}) as context:
        return sensor.evaluate_tick(context).skip_message or ""


def published(line: ModelLine, name: str = PUBLISHED) -> dg.AssetCheckEvaluation:
    (check,) = (check for check in build_rollout(line.use_case)["checks"] if next(iter(check.check_keys)).name == name)
    stores = {"rollout_stores": resources(line)["rollout_stores"]}
    result = dg.materialize([check], selection=dg.AssetSelection.checks(check), resources=stores)
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_the_sensor_leaves_a_route_by_hand_alone_and_says_so(line: ModelLine, share: float):
    line.promotions.route(challenger=2, share=share, **line.attribution())
    with line.unchanged():
        assert "by hand since" in look(line)


@pytest.mark.timeout(120)
def test_records_that_others_write_meanwhile_do_not_fail_a_finished_training(line: ModelLine):
    """One before the blessing is recorded, one before the version is promoted."""
    others = [lambda: line.promotions.refuse(2, reason="It leaks.", by="bob", at=line.now()), lambda: line.bless(4)]

    class Shared(LedgerResource):
        def open(self) -> Ledger:
            ledger = FrailLedger(self.url, Path(self.heads))

            def write() -> None:
                if others:
                    others.pop()()
                    ledger.before = write

            ledger.before = write
            return ledger

    registry, name = ModelRegistry(Home(line.folder.parents[1]).mlflow), names.registered_model(line.use_case.name)
    for version in (1, 2, 3):
        run_id = new_run(registry, line.use_case.name).run_id
        registry.register(name, model(version), run_id=run_id, tags={}, description="Tiny.")
    own = resources(line)
    stores = own["rollout_stores"].model_copy(update={"ledger": Shared(**own["ledger"].model_dump())})

    @dg.asset(key=names.stage(line.use_case.name, "candidate"))
    def candidate() -> Candidate:
        return Candidate(3, "", {})

    @dg.asset(key=names.stage(line.use_case.name, "blessing"))
    def blessing() -> str:
        return line.blessing(3)

    (rollout,) = build_rollout(line.use_case)["assets"]
    result = dg.materialize(
        [candidate, blessing, rollout], resources={"rollout_stores": stores, "registry": own["registry"]}, raise_on_error=False
    )
    assert result.success and not others
    assert 3 in line.state().blessings and line.state().challenger_version is not None


def test_a_look_of_the_sensor_ends_at_once_while_a_challenger_serves(line: ModelLine):
    """The daemon has four threads for the sensors of all use cases."""
    look(line)  # starts the rollout of version 2
    assert line.state().challenger_version == 2
    started = time.monotonic()
    assert "Waiting" in look(line)
    assert time.monotonic() - started < 2


def test_sensor_and_check_say_that_plan_and_ledger_disagree(line: ModelLine):
    assert published(line).passed
    forge(line)
    with line.unchanged():
        assert "servers read plan 999 (version 2); in the ledger it is plan 3 (version 1)" in look(line)
    result = published(line)
    assert not result.passed and result.severity is dg.AssetCheckSeverity.ERROR
    assert "`mlops ledger mirror flight_delay --replace`" in (result.description or "")


def test_sensor_and_check_report_a_refusal_that_was_cut_off_and_the_refused_version_never_runs(line: ModelLine):
    assert published(line, WHOLE).passed
    line.promotions.refuse(2, reason="It leaks.", by="bob", at=line.now())
    cut_off(f"sqlite:///{Home(line.folder.parents[1]).ledger}", after=line.state().head - 1)
    with line.unchanged():
        assert "was written and is gone" in look(line) and "`mlops ledger mirror flight_delay --replace`" in look(line)
    line.bless(3)
    with line.unchanged():
        assert "was written and is gone" in look(line)
    result = published(line, WHOLE)
    assert not result.passed and result.severity is dg.AssetCheckSeverity.ERROR
    assert "record 4 differs from the one known elsewhere" in (result.description or "")


def execute(line: ModelLine, job: str, url: str, **config: Any) -> str:
    """Why the run of the job failed; empty where it succeeded."""
    (definition,) = (one for one in build_jobs([line.use_case]) if one.name == job)
    own, (op,) = resources(line, url), definition.nodes
    result = definition.execute_in_process(
        run_config={"ops": {op.name: {"config": {"use_case": line.use_case.name} | config}}},
        resources={name: own[name] for name in ("rollout_stores", "live_services", "landing")},
        raise_on_error=False,
    )
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure] or [None]
    return failure.user_failure_data.description or "" if failure and failure.user_failure_data else ""


def test_the_jobs_fail_where_no_server_confirms_the_change_as_the_commands_do(line: ModelLine):
    with running(Home(line.folder.parents[1])) as (url, service):
        service.answering.slots.start()
        line.promote(2)
        assert execute(line, "approve", url, version=2, by="ana", why="read") == ""
        assert execute(line, "rollback", url, by="ana", reason="slow") == ""
        service.answering.slots.stop()
    assert line.state().plan.champion == 1  # type: ignore[union-attr]
    line.promote(2)
    for job, config in {"approve": {"version": 1, "why": "read"}, "rollback": {"reason": "slow"}}.items():
        failure = execute(line, job, url, by="ana", **config)
        kind = {"approve": "approval"}.get(job, job)
        assert f"the ledger has the change: record {line.state().head}, {kind} of version" in failure
        assert f"no server confirmed it · {url} · it does not answer" in failure


def check_servers(line: ModelLine, *urls: str) -> dg.AssetCheckEvaluation:
    """The check of the asset `service`, whose two versions are registered."""
    registry, name = ModelRegistry(Home(line.folder.parents[1]).mlflow), names.registered_model(line.use_case.name)
    for version in (1, 2):
        run_id = new_run(registry, line.use_case.name).run_id
        registry.register(name, model(version), run_id=run_id, tags={}, description="Tiny.")
    service, own = build_serving(line.use_case)[0], resources(line, ",".join(urls))
    assert isinstance(service, dg.AssetsDefinition)
    needed = {"live_services": own["live_services"], "rollout_stores": own["rollout_stores"], "registry": own["registry"]}
    result = dg.materialize([service], resources=needed)
    (check,) = result.get_asset_check_evaluations()
    assert result.success
    return check


@pytest.mark.timeout(120)
def test_a_server_that_hangs_does_not_block_the_run_and_a_forged_plan_fails_the_check(line: ModelLine, hanging: str):
    forge(line)
    check = check_servers(line, hanging)
    assert not check.passed
    assert f"{hanging} · it does not answer" in (check.description or "") and "servers read plan 999" in (check.description or "")


def test_a_server_of_another_use_case_counts_neither_for_nor_against_this_one(line: ModelLine):
    home = Home(line.folder.parents[1])
    with running(home) as (own, service), running(home, LOANS) as (other, _):
        service.answering.slots.poll()
        alone = check_servers(line, other)
        assert not alone.passed and f"{other} · it serves loans, not flight_delay" in (alone.description or "")
        both = check_servers(line, own, other)
    assert both.passed and both.description == "Every server of flight_delay serves plan 3: 1 server."


def test_the_servers_of_a_use_case_are_those_at_its_own_addresses(line: ModelLine):
    home = Home(line.folder.parents[1])
    with running(home) as (own, service), running(home, LOANS) as (other, _):
        service.answering.slots.poll()
        assert check_servers(line, f"flight_delay={own};loans={other}").passed
        swapped = check_servers(line, f"flight_delay={other};loans={own}")
        none = check_servers(line, f"loans={own}")
    assert not swapped.passed and f"{other} · it serves loans, not flight_delay" in (swapped.description or "")
    assert not none.passed and (none.description or "").startswith("MLOPS_SERVICE_URL has no address of flight_delay.")


def test_the_checks_of_the_ledger_run_every_hour_also_where_no_rollout_steps(line: ModelLine) -> None:
    checks, rollout = build_rollout(LOANS)["checks"], dg.AssetSpec(names.stage(LOANS.name, "rollout"))
    definitions = dg.Definitions([rollout], asset_checks=checks, resources=resources(line))
    cursor, requested = None, list[int]()
    at = datetime(2026, 3, 2, 10, 30, tzinfo=UTC)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(rollout.key))
        for minutes in (0, 29, 31, 32, 89, 91, 92):
            time = at + timedelta(minutes=minutes)
            ticked = dg.evaluate_automation_conditions(definitions, instance, evaluation_time=time, cursor=cursor)
            cursor = ticked.cursor
            requested.append(ticked.total_requested)
    assert requested == [0, 0, 3, 0, 0, 3, 0]
