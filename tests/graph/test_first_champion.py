"""What prevents a use case from getting its first champion, on a real home and event log."""

import time
from collections.abc import Generator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import monotonic

import dagster as dg
import pytest
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import UTC_DAYS
from mlops_assets.foundation.home import PROJECT, Home, read_environment
from mlops_assets.graph.first_champion import QUIET_S, SETTLED_S, TAKE_OVER_S, FirstChampion
from mlops_assets.graph.kernel.dagster_internals import DATA_VERSION
from mlops_assets.graph.progress import Progress, all_stages
from mlops_assets.graph.trainings import ONE_AT_A_TIME, RequestedTraining, read_trainings
from mlops_assets.ingestion.examples import example_days
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.refusals import Refusal
from mlops_assets.promotion.promotion_state import promotion_state_of
from mlops_assets.resources import build_resources
from mlops_assets.spec.split import TimeSplit
from mlops_assets.use_cases.tumor import USE_CASE as TUMOR
from tests.cli.loans import LOANS
from tests.graph.kernel.switching import tick
from tests.graph.line import variables
from tests.graph.test_first_model import PLAIN, Trigger, applications
from tests.graph.test_operations import beat
from tests.promotion.model_line import ModelLine


@pytest.fixture
def trigger(tmp_path: Path) -> Generator[Trigger]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Trigger(Home(tmp_path / "home"), instance)


def way_of(trigger: Trigger, *, quiet_s: float = 0.0, ago_s: float = 60.0) -> FirstChampion:
    """It began `ago_s` ago, and nothing has run for `quiet_s`."""
    urls = {"MLOPS_SERVICE_URL": "http://127.0.0.1:9"}
    resources = build_resources(read_environment(variables(trigger.home.root) | urls, PROJECT))
    progress = Progress(trigger.instance, all_stages(PLAIN), lambda _line: None)
    way = FirstChampion(PLAIN, trigger.instance, resources, progress, began=time.time() - ago_s, by="ana")
    way.quiet_since = monotonic() - quiet_s
    return way


def end_of(way: FirstChampion) -> str:
    outcome = way.find_end()
    assert outcome and outcome.exit_code == 1
    return outcome.message


def test_without_enough_data_it_ends_once_nothing_has_run_for_a_while(trigger: Trigger):
    assert way_of(trigger).find_end() is None
    message = end_of(way_of(trigger, quiet_s=QUIET_S + 1))
    assert message.startswith(
        "Not enough data: No row has been accepted yet: validated_applications. Land more: `mlops land loans`"
    )


def test_while_files_are_reported_it_goes_on(trigger: Trigger):
    way = way_of(trigger, quiet_s=QUIET_S + 1)
    trigger.instance.report_runless_asset_event(
        dg.AssetMaterialization([PLAIN.name, "landed_applications"], partition="2024-03-04")
    )
    assert way.find_end() is None
    way.quiet_since -= QUIET_S + 1
    assert end_of(way).startswith("Not enough data")


def test_while_the_daemon_of_a_busy_machine_has_not_looked_at_everything_it_goes_on(tmp_path: Path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        trigger, now = Trigger(Home(tmp_path / "home"), instance), time.time()
        beat(trigger, datetime.now(UTC))
        tick(instance, "landing", now - 5, "SKIPPED")
        tick(instance, "automation_1", now - QUIET_S, "SKIPPED")
        tick(instance, "automation_1", now - 50, "STARTED")
        way = way_of(trigger, quiet_s=QUIET_S + 1)
        assert way.find_end() is None, "a tick takes long"
        tick(instance, "automation_1", now - 10, "SKIPPED")
        assert end_of(way).startswith("Not enough data")


def test_a_daemon_that_has_died_is_not_waited_for(tmp_path: Path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        trigger = Trigger(Home(tmp_path / "home"), instance)
        beat(trigger, datetime.now(UTC) - timedelta(minutes=3))
        tick(instance, "landing", time.time() - 300, "SKIPPED")
        assert end_of(way_of(trigger, quiet_s=QUIET_S + 1)).startswith("Not enough data")


def test_a_refused_file_is_named_before_the_lack_of_data(trigger: Trigger):
    refusals = Landing(trigger.home.landing).of(PLAIN.sources[0].form).refusals(PLAIN.name, "applications")
    refusals.record({"2024-03-04": "a" * 8}, {"2024-03-04": Refusal("a" * 8, {"row_count_band": "too few rows."})})
    assert end_of(way_of(trigger, quiet_s=QUIET_S + 1)).startswith("applications 2024-03-04 failed. Not used")


def test_a_training_that_fails_meanwhile_ends_it_at_once(trigger: Trigger):
    trigger.validate(applications(1, 2, 3))
    trigger.fail("the disk is full")
    way = way_of(trigger)
    assert way.find_end() is None  # a stage was complete since the last look
    message = end_of(way)
    assert "failed: ValueError: the disk is full. Remove the cause; `mlops train loans --because" in message


def test_a_training_that_the_daemon_starts_again_does_not_end_it(trigger: Trigger):
    trigger.validate(applications(1, 2, 3))
    trigger.fail("the process was killed")
    way = way_of(trigger)
    assert way.find_end() is None  # a stage was complete since the last look
    (record,) = trigger.instance.get_run_records(limit=1)
    trigger.instance.add_run_tags(record.dagster_run.run_id, {"dagster/will_retry": "true"})
    assert way.find_end() is None
    trigger.instance.add_run_tags(record.dagster_run.run_id, {"dagster/will_retry": "false"})
    assert "the process was killed" in end_of(way)


def test_after_a_training_that_has_failed_before_it_requests_another_once(trigger: Trigger):
    trigger.validate(applications(1, 2, 3))
    run = trigger.fail("the disk was full").dagster_run.run_id[:8]
    way = way_of(trigger, ago_s=0)
    assert way.find_end() is None, "a stage was complete before"
    way.quiet_since -= SETTLED_S + 1
    assert way.find_end() is None
    requested = requested_of(trigger)
    assert requested and requested.reason == f"`mlops run`, as run {run} failed (requested by ana)"
    assert way.find_end() is None, "the request is an event"
    way.quiet_since -= QUIET_S + 1
    assert "the disk was full" in end_of(way) and requested_of(trigger) == requested


def test_a_refused_candidate_is_trained_again_after_a_change_of_the_declaration_alone(trigger: Trigger):
    trigger.validate(applications(1, 2, 3))
    record_refused(trigger, code=PLAIN.fingerprint("candidate"))
    same = way_of(trigger, ago_s=0, quiet_s=QUIET_S + 1)
    same.find_end()
    same.quiet_since -= QUIET_S + 1
    assert same.find_end() and not requested_of(trigger)
    run = record_refused(trigger, code="0" * 12)
    changed = way_of(trigger, ago_s=0, quiet_s=QUIET_S + 1)
    changed.find_end()
    changed.quiet_since -= SETTLED_S + 1
    assert changed.find_end() is None
    requested = requested_of(trigger)
    assert requested and requested.reason.startswith(f"`mlops run`, as the declaration has changed since run {run}")


def requested_of(trigger: Trigger) -> RequestedTraining | None:
    return read_trainings(PLAIN, trigger.instance, promotion_state_of(PLAIN.name, ())).requested(datetime.now(UTC))


def record_refused(trigger: Trigger, *, code: str) -> str:
    """A training that ended without a version, whose candidate was made by `code`; the first characters of its run's id."""

    @dg.op
    def fit(context: dg.OpExecutionContext) -> None:
        tags = {"dagster/code_version": code}
        key = names.stage(PLAIN.name, "candidate")
        context.log_event(dg.AssetMaterialization(key, metadata={"model_version": "none"}, tags=tags))

    @dg.job
    def training() -> None:
        fit()

    result = training.execute_in_process(instance=trigger.instance, tags={ONE_AT_A_TIME: PLAIN.name})
    return result.run_id[:8]


def test_a_champion_that_no_server_loads_is_waited_for_and_then_named(trigger: Trigger):
    line = ModelLine(trigger.home.root, name=PLAIN.name)
    line.bless(1)
    line.promote(1)
    way = way_of(trigger)
    way.planned_at = monotonic()
    assert way.find_end() is None
    way.planned_at = monotonic() - TAKE_OVER_S - 1
    assert end_of(way).startswith("Version 1 is the champion, and no server follows: http://127.0.0.1:9 · it does not answer.")


def test_a_champion_whose_tables_lack_what_has_landed_is_waited_for(trigger: Trigger):
    line = ModelLine(trigger.home.root, name=PLAIN.name)
    line.bless(1)
    line.promote(1)
    way, table = way_of(trigger), [PLAIN.name, "landed_applications"]
    way.planned_at = monotonic() - TAKE_OVER_S - 1  # the end is that no server follows
    Landing(trigger.home.landing).put(PLAIN.name, "applications", day=date(2024, 3, 4), rows=applications(1))
    assert way.find_end() is None, "the file is not reported"
    (digest,) = (
        Landing(trigger.home.landing).scan(PLAIN.name, "applications", calendar=UTC_DAYS, max_bytes=10**6).digests.values()
    )
    tags = {DATA_VERSION: digest}
    trigger.instance.report_runless_asset_event(dg.AssetMaterialization(table, partition="2024-03-04", tags=tags))
    assert way.find_end() is None, "the file is not read"
    trigger.instance.report_runless_asset_event(dg.AssetMaterialization([PLAIN.name, "raw_applications"], partition="2024-03-04"))
    assert end_of(way).startswith("Version 1 is the champion")
    Landing(trigger.home.landing).put(PLAIN.name, "applications", day=date(2024, 3, 5), rows=applications(2))
    assert way.find_end() is None
    way.quiet_since -= QUIET_S + 1
    assert end_of(way).startswith("Version 1 is the champion"), "nothing reads it"


def test_the_example_days_are_enough_for_the_split_and_within_the_declared_ones():
    split = LOANS.split
    first, last = example_days(LOANS)
    assert isinstance(split, TimeSplit) and LOANS.last_day and first == LOANS.first_day
    assert last - first >= 2 * (split.test + split.validation) and last <= LOANS.last_day
    assert example_days(TUMOR)[0] == example_days(TUMOR)[1]


def test_a_use_case_with_nothing_to_read_ends_before_a_platform_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mlops_assets.cli.arguments.USE_CASES", (LOANS,))
    for name, value in variables(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["run", "loans"])
    assert (
        result.exit_code == 1
        and "loans: nothing has landed, and it declares no example. Put files into landing/" in result.output
    )
    assert not (tmp_path / "home" / "dagster").exists()
    neither = CliRunner().invoke(app, ["run"])
    assert neither.exit_code == 2 and "Use one of them" in " ".join(neither.output.split())
