"""The jobs that people launch in Dagster's UI: what they record, and the one sentence of a run that cannot do what it should."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.home import PROJECT, Home, read_environment
from mlops_assets.graph.compile import build_use_cases
from mlops_assets.graph.jobs import build_jobs
from mlops_assets.promotion.pauses import pauses_in_force
from mlops_assets.resources import build_resources
from mlops_assets.spec.use_case import UseCase
from tests.graph.test_described_assets import SPECS
from tests.graph.test_first_model import PLAIN, Trigger, applications
from tests.promotion.model_line import ModelLine
from tests.serving.test_client import running

NOBODY = "http://127.0.0.1:9"
BY_HAND = ("train_now", "approve", "promote", "rollback", "hand_over", "pause", "resume", "waive")


def launch(
    home: Path, instance: dg.DagsterInstance, job: str, *, of: UseCase = PLAIN, url: str = NOBODY, **config: Any
) -> tuple[str, Any]:
    """Why the run failed, empty where it succeeded, and the metadata of its result."""
    variables = {"MLOPS_ENV": "test", "MLOPS_HOME": str(home), "MLOPS_SERVICE_URL": url}
    own: Any = build_resources(read_environment(variables, PROJECT))
    (definition,) = (one for one in build_jobs([of]) if one.name == job)
    op: Any = definition.nodes[0]
    result = definition.execute_in_process(
        run_config={"ops": {op.name: {"config": {"use_case": of.name} | config}}}, instance=instance, raise_on_error=False,
        resources={name: own[name] for name in op.definition.required_resource_keys},
    )  # fmt: skip
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure] or [None]
    outputs = [event.step_output_data.metadata for event in result.all_events if event.is_successful_output]
    reason = failure.user_failure_data.description if failure and failure.user_failure_data else ""
    assert result.success or reason, "an error that is no sentence"
    return reason or "", {name: value.value for one in outputs for name, value in one.items()}


@pytest.fixture
def instance() -> Any:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_each_job_by_hand_has_a_sentence_and_typed_configuration_with_who_decides():
    *_, shared = build_use_cases([PLAIN, PLAIN.but(name="cars")], ())
    jobs: dict[str, Any] = {job.name: job for job in shared.jobs or ()}
    assert {*jobs} == {*BY_HAND}
    for job in jobs.values():
        assert job.description.endswith(".")
        (op,) = job.nodes
        assert "by" in op.definition.config_schema.config_type.fields
        config = dg.validate_run_config(job, {})["ops"][op.name]["config"]
        assert config["by"] == "", "the launchpad shows what to fill in"
        assert config["use_case"] == "one of: loans, cars", "none is likelier"


def test_a_use_case_that_does_not_exist_is_refused_with_the_legal_ones(tmp_path: Path, instance: dg.DagsterInstance):
    reason, _ = launch(tmp_path, instance, "rollback", by="ana", reason="slow", use_case="lons")
    assert reason == f"use_case = 'lons'; legal: {PLAIN.name}. Launch the job again with one of these."


def test_no_asset_names_a_store_that_depends_on_the_environment():
    assert not [key for key, spec in SPECS.items() if {"sqlite", "redis"} & spec.kinds]


def test_train_now_lets_the_sensor_start_a_training_once(tmp_path: Path, instance: dg.DagsterInstance):
    trigger = Trigger(Home(tmp_path / "home"), instance)
    root = trigger.home.root
    assert "not enough data: No row has been accepted yet" in launch(root, instance, "train_now", by="ana", because="why not")[0]
    trigger.validate(applications(1, 2, 3))
    assert launch(root, instance, "train_now", by=" ", because="x")[0].startswith("by = ' '; legal: text on one line")
    reason, metadata = launch(root, instance, "train_now", by="ana", because="a new bank")
    assert reason == "" and metadata["result"].startswith("Requested: the sensor triggers starts loans_training")
    (request,) = trigger.tick().run_requests
    assert request.tags["mlops/reason"] == "a new bank (requested by ana)"
    assert "requested already: a new bank (requested by ana)" in launch(root, instance, "train_now", by="bob", because="x")[0]


def test_promote_puts_a_blessed_version_in_force_and_says_so(tmp_path: Path, instance: dg.DagsterInstance):
    line = ModelLine(Home(tmp_path).root)
    line.bless(1, 2)
    line.promote(1)
    with running(Home(tmp_path)) as (url, service):
        service.answering.slots.start()
        reason, metadata = launch(tmp_path, instance, "promote", of=line.use_case, url=url, version=2, by="ana", why="urgent")
        service.answering.slots.stop()
    plan = line.state().plan
    assert reason == "" and plan and (plan.champion, plan.reason) == (2, "urgent")
    assert metadata["result"] == "Version 2 serves all requests." and metadata["champion"] == 2
    event = instance.get_latest_materialization_event(dg.AssetKey(names.stage(line.use_case.name, "rollout")))
    assert event and event.asset_materialization and event.asset_materialization.metadata["champion"].value == 2


@pytest.mark.parametrize(
    ("job", "config", "message"),
    [
        ("approve", {"version": 9, "why": "read"}, "version 9"),
        ("approve", {"version": 1, "why": " "}, "why = ' '; legal: text on one line"),
        ("promote", {"version": 9, "why": "urgent"}, "version 9"),
        ("rollback", {"reason": "slow"}, "no earlier champion is on record"),
        ("hand_over", {"reason": "go on"}, "no champion serves yet. Version 1 is blessed: a running platform lets it serve"),
        ("pause", {"until": "tomorrow", "why": "a move"}, "until = 'tomorrow'; legal: a moment such as 2026-12-01T06:00, in UTC."),
        ("pause", {"until": "2020-01-01", "why": "a move"}, "legal: a moment to come. Name a later end."),
        ("resume", {"why": "it has moved"}, "loans · no pause is in force; `mlops status loans` shows what holds it up."),
        ("waive", {"table": "x", "partition": "2024-03-04", "why": "a strike"}, "found table 'x'; declared: applications."),
        ("waive", {"table": "applications", "partition": "4 March", "why": "a strike"}, "Use one that `mlops status` shows."),
        ("waive", {"table": "applications", "partition": "2024-02-29", "why": "a strike"}, "applications 2024-02-29 has no file; declared: 2024-03-01 to"),
    ],
)  # fmt: skip
def test_an_impossible_action_ends_the_run_with_one_sentence_and_changes_nothing(
    tmp_path: Path, instance: dg.DagsterInstance, job: str, config: dict[str, Any], message: str
):
    line = ModelLine(Home(tmp_path).root, name=PLAIN.name)
    line.bless(1)
    before = line.state()
    reason, _ = launch(tmp_path, instance, job, by="ana", **config)
    assert message in reason and "\n" not in reason and "Traceback" not in reason
    assert line.state() == before


def test_a_pause_is_in_force_until_it_is_resumed_and_each_is_on_record(tmp_path: Path, instance: dg.DagsterInstance):
    line = ModelLine(Home(tmp_path).root, name=PLAIN.name)
    line.bless(1)
    line.promote(1)
    reason, metadata = launch(tmp_path, instance, "pause", by="ana", until="2099-12-01T06:00", why="the bank moves")
    assert reason == "" and metadata["result"].startswith("Paused by ana until 2099-12-01 06:00 UTC: the bank moves.")
    assert {*pauses_in_force(line.promotions.ledger, datetime.now(UTC))} == {PLAIN.name}
    reason, metadata = launch(tmp_path, instance, "resume", by="bob", why="it has moved")
    assert reason == "" and metadata["result"] == "The pause has ended; what was missed follows within a minute."
    assert not pauses_in_force(line.promotions.ledger, datetime.now(UTC))
    newest = line.promotions.ledger.records(PLAIN.name)[-2:]
    assert [(record.kind, record.by, record.reason) for record in newest] == [
        ("pause", "ana", "the bank moves"), ("resume", "bob", "it has moved"),
    ]  # fmt: skip


def test_a_rollback_by_hand_is_handed_over_in_the_words_of_the_command(tmp_path: Path, instance: dg.DagsterInstance):
    line = ModelLine(Home(tmp_path).root)
    line.bless(1, 2)
    line.promote(1, 2)
    with running(Home(tmp_path)) as (url, service):
        service.answering.slots.start()
        assert launch(tmp_path, instance, "rollback", of=line.use_case, url=url, by="ana", reason="slow")[0] == ""
        reason, metadata = launch(tmp_path, instance, "hand_over", of=line.use_case, url=url, by="ana", reason="fast again")
        again, _ = launch(tmp_path, instance, "hand_over", of=line.use_case, url=url, by="ana", reason="twice")
        service.answering.slots.stop()
    assert reason == "" and metadata["result"] == "Handed over: version 1 serves; no challenger, no shadow."
    assert "nothing can be handed over" in again
    assert line.promotions.ledger.records(line.use_case.name)[-1].reason == "handed over: fast again"
