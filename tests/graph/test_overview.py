"""Every use case at a glance, on a real ledger and event log."""

import shutil
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.home import PROJECT, Home, read_environment
from mlops_assets.graph.landing import ALL_READABLE
from mlops_assets.graph.overview import Overview, Platform, as_html, read_overview
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.refusals import Refusal
from mlops_assets.resources import build_resources
from mlops_assets.spec.monitor import Drift, OwnMonitor, Performance
from mlops_assets.spec.trigger import OnDrift, OnSchedule
from mlops_assets.training.feature_code import record_feature_code
from tests.cli.loans import LOANS
from tests.graph.line import variables
from tests.graph.test_first_model import PLAIN, Trigger, applications
from tests.promotion.model_line import ModelLine

WATCHED = PLAIN.but(monitors=(Drift(), Performance(), OwnMonitor()), triggers=(OnSchedule(cron="0 6 * * 1"), OnDrift()))
OTHER = LOANS.but(name="other")
NOW = datetime.now(UTC)


@pytest.fixture
def trigger(tmp_path: Path) -> Generator[Trigger]:
    home = Home(tmp_path / "home")
    home.dagster.mkdir(parents=True)
    (home.dagster / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
        yield Trigger(home, instance, WATCHED)


def read(home: Home, now: datetime | None = None) -> Platform:
    resources = build_resources(
        read_environment(variables(home.root) | {"MLOPS_SERVICE_URL": "loans=http://127.0.0.1:9"}, PROJECT)
    )
    return read_overview([WATCHED, OTHER], home, resources, not_loaded=["b · does not load"], now=now or datetime.now(UTC))


def row(home: Home) -> Overview:
    return read(home).use_cases[0]


def report(trigger: Trigger, stage: str, check: str, description: str, *, passed: bool, **metadata: str) -> None:
    key = dg.AssetKey(names.stage(WATCHED.name, stage))
    texts = {name: dg.MetadataValue.text(text) for name, text in metadata.items()}
    evaluation = dg.AssetCheckEvaluation(key, check, passed=passed, description=description, metadata=texts)
    trigger.instance.report_runless_asset_event(evaluation)


def test_a_home_without_a_platform_of_its_own_shows_what_the_ledger_has(tmp_path: Path):
    line = ModelLine(Home(tmp_path).root, name=WATCHED.name)
    line.bless(1, 2)
    line.promote(1)
    other_line = ModelLine(Home(tmp_path).root, name=OTHER.name)
    assert read(Home(tmp_path)).use_cases[1].next_trigger == "first model, with enough data"
    other_line.bless(1)
    loans, other = read(Home(tmp_path)).use_cases
    assert (loans.champion, loans.rollout, loans.drift, loans.data) == (1, "–", "not yet", "not yet")
    assert (other.champion, other.drift, other.next_trigger) == (None, "–", "none: by hand"), (
        "a version that waits is the first model"
    )
    assert other.rollout == "version 1 waits"


def test_changed_code_of_the_champions_features_is_a_problem_with_what_to_do(tmp_path: Path):
    line, code = ModelLine(Home(tmp_path).root, name=WATCHED.name), record_feature_code(WATCHED)
    (feature,) = (name for name in code if name.endswith("event_timestamp"))
    line.bless(1, training=code)
    line.bless(2, training=code | {feature: "a-000000000000"})
    for version, problems in (
        (1, []),
        (2, ["The code of event_timestamp has changed since the champion was trained, as its answers warn. "
             f"`mlops train {WATCHED.name} --because …` trains a version with the present code."]),
    ):  # fmt: skip
        line.promote(version)
        assert [one for one in row(Home(tmp_path)).problems if "has changed since the champion" in one] == problems


def test_a_monitor_without_enough_data_is_never_healthy_and_the_worst_of_several_counts(trigger: Trigger):
    assert (row(trigger.home).drift, row(trigger.home).performance) == ("not yet", "not yet")
    report(trigger, "drift", Drift.CHECK, "12 rows in the window.", passed=True, verdict="not enough data")
    report(trigger, "performance", Performance.CHECK, "auc 0.9", passed=True)
    assert (row(trigger.home).drift, row(trigger.home).performance) == ("not enough data", "healthy")
    report(trigger, "drift", Drift.CHECK, "3 of 4 inputs drifted", passed=False)
    assert row(trigger.home).drift == "ALARM"


def test_health_that_is_not_confirmed_for_a_whole_window_is_not_enough_data_and_then_a_problem(trigger: Trigger):
    report(trigger, "drift", Drift.CHECK, "0 of 4 inputs have drifted", passed=True)
    for days, verdict, is_named in ((29, "healthy", False), (31, "not enough data", False), (121, "not enough data", True)):
        loans = read(trigger.home, now=NOW + timedelta(days=days)).use_cases[0]
        assert loans.drift == verdict
        assert any(one.startswith("Monitor drift: Not enough data: nothing has been") for one in loans.problems) is is_named


def test_the_alarm_of_a_monitor_is_a_problem_until_it_passes(trigger: Trigger):
    for passed in (False, True):
        report(trigger, "own_monitor", OwnMonitor.CHECK, "60% are decided yes.", passed=passed)
        assert ("Monitor own_monitor: 60% are decided yes." in row(trigger.home).problems) is not passed


def test_a_refused_first_candidate_is_a_problem_with_its_reason_and_what_starts_the_next_training(trigger: Trigger):
    trigger.validate(applications(1, 2, 3))
    run = trigger.fail("a gate").dagster_run.run_id[:8]
    promotions = ModelLine(trigger.home.root, name=WATCHED.name).promotions
    promotions.refuse(1, reason="it reads the label.", by=f"run {run}", at=NOW, evidence={"gates": [{"gate": "no_leak"}]})
    loans = row(trigger.home)
    assert loans.next_trigger == "new data, or mlops train"
    assert loans.problems[0].startswith(
        f"Version 1 is refused: it reads the label. Run {run} trained no version that may serve; the next starts when"
    )


def test_the_newest_failure_is_one_sentence_with_what_to_do_until_its_cause_is_removed(trigger: Trigger):
    trigger.validate(applications(1, 2, 3))
    trigger.fail("the disk is\nfull")
    (failed, *_) = row(trigger.home).problems
    assert "failed: ValueError: the disk is full. It is tried again from 20" in failed
    assert "or by `mlops train loans --because …`" in failed
    refusals = Landing(trigger.home.landing).of(WATCHED.sources[0].form).refusals(WATCHED.name, "applications")
    refusals.record({"2024-03-04": "a" * 8}, {"2024-03-04": Refusal("a" * 8, {"row_count_band": "too few rows."})})
    assert any(
        problem.startswith("applications 2024-03-04 failed. Not used") and "`mlops waive loans applications 2024-03-04" in problem
        for problem in row(trigger.home).problems
    )


def test_a_run_of_a_table_that_failed_is_named_until_a_later_one_of_the_same_assets(trigger: Trigger):
    @dg.asset(key=names.validated(WATCHED.name, "applications"), config_schema={"fails": bool})
    def table(context: dg.AssetExecutionContext) -> None:
        if context.op_execution_context.op_config["fails"]:
            raise ValueError("the table is locked")

    job = dg.Definitions([table, dg.asset(name="another")(lambda: None)]).resolve_implicit_global_asset_job_def()
    for fails in (True, False):
        config = {"ops": {"loans__validated_applications": {"config": {"fails": fails}}}}
        job.execute_in_process(config, trigger.instance, asset_selection=[table.key], raise_on_error=False)
        named = [problem for problem in row(trigger.home).problems if "of validated_applications failed: ValueError" in problem]
        assert len(named) == fails


def test_a_monitor_that_failed_stays_named_while_what_it_reads_is_made_again(trigger: Trigger):
    predictions = dg.asset(key=names.stage(WATCHED.name, "predictions"))(lambda: None)

    @dg.asset(key=names.stage(WATCHED.name, "drift"), deps=[predictions])
    def drift() -> None:
        raise ValueError("no page can be drawn")

    job = dg.Definitions([predictions, drift]).resolve_implicit_global_asset_job_def()
    for keys in ([predictions.key, drift.key], [predictions.key]):
        job.execute_in_process(instance=trigger.instance, asset_selection=keys, raise_on_error=False)
        assert any("of drift failed: ValueError: no page can be drawn" in problem for problem in row(trigger.home).problems)


def test_a_misspelt_landing_folder_is_named_once_before_and_after_its_alarm(trigger: Trigger):
    name, table = WATCHED.name, WATCHED.sources[0].table
    where = f"{name}/{table}_/"
    (trigger.home.landing / where).mkdir(parents=True)
    sentence = f"{where} is the folder of no table, so nothing in it is read. Is it {table}? Rename it."
    assert [one for one in row(trigger.home).problems if where in one] == [sentence]
    description = f"{table}/x.csv · gone. {sentence}"
    key = dg.AssetKey(names.landing(name, table))
    trigger.instance.report_runless_asset_event(dg.AssetCheckEvaluation(key, ALL_READABLE, passed=False, description=description))
    assert [one for one in row(trigger.home).problems if where in one] == [description]


def test_files_that_have_not_been_read_yet_and_models_that_are_gone_are_a_problem_each(trigger: Trigger):
    line = ModelLine(trigger.home.root, name=WATCHED.name)
    line.bless(1)
    line.promote(1)
    assert not [one for one in row(trigger.home).problems if "not been read" in one or "not placed" in one]
    Landing(trigger.home.landing).put(WATCHED.name, "applications", day=WATCHED.first_day, rows=applications(1))
    shutil.rmtree(trigger.home.deployments / WATCHED.name / "models" / "1")
    unread, gone = (one for one in row(trigger.home).problems if "not been read" in one or "not placed" in one)
    assert unread == (
        "applications · 1 landed file (2024-03-01) has not been read yet. A running platform reads them within seconds: `mlops up`."
    )
    assert gone == (
        "loans · version 1 is not placed, and it serves, waits or can be rolled back to. "
        "`mlops ledger mirror loans` places the model that the ledger blessed."
    )


def test_age_next_trigger_and_last_decision_are_in_words(trigger: Trigger):
    line = ModelLine(trigger.home.root, name=WATCHED.name)
    line.bless(1)
    line.promote(1)
    trigger.validate(applications(1))
    loans = row(trigger.home)
    assert not loans.recent, "both records are years old"
    loans_then = read(trigger.home, now=line.now()).use_cases[0]
    assert [decision.partition(" UTC · ")[2].partition(" by ")[0] for decision in loans_then.recent] == [
        "promotion of version 1", "blessing of version 1",
    ]  # fmt: skip
    assert loans.champion == 1 and loans.data == "0 min" and loans.last_decision.startswith("promotion of version 1 by ")
    day, _, rest = loans.next_trigger.partition(" ")
    following = datetime.fromisoformat(day)
    assert following.weekday() == 0 and timedelta(0) <= following.date() - NOW.date() <= timedelta(7)
    assert rest == "06:00 UTC, on drift"


def test_the_page_names_what_concerns_all_and_escapes_what_others_wrote(trigger: Trigger):
    trigger.validate(applications(1, 2, 3))
    trigger.fail("<script>")
    html = as_html(read(trigger.home), now=NOW, dagster_url="http://dagster:3001")
    assert "by <code>mlops train loans --because …</code>" in html
    assert "not loaded: b · does not load" in html and "no heartbeat yet" in html
    assert 'href="http://dagster:3001/assets/loans/service"' in html and "<script>" not in html and "&lt;script&gt;" in html
