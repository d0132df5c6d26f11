"""The platform's metrics, on a real ledger, event log and tables."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mlops_assets.foundation import names
from mlops_assets.foundation.home import PROJECT, Home, read_environment
from mlops_assets.graph.landing import ALL_DELIVERED
from mlops_assets.graph.platform_metrics import read_metrics
from mlops_assets.home_claim import claim
from mlops_assets.observability.metrics import Metric, as_page
from mlops_assets.resources import build_resources
from mlops_assets.spec.monitor import Drift, Performance
from tests.graph.line import variables
from tests.graph.test_first_model import Trigger, applications
from tests.graph.test_overview import WATCHED, report
from tests.graph.test_overview import trigger as trigger  # noqa: PLC0414 - a fixture
from tests.promotion.model_line import ModelLine

NOW = datetime.now(UTC)
TABLE = WATCHED.sources[0].table


def scrape(home: Home, *, now: datetime | None = None, not_loaded: tuple[str, ...] = ()) -> dict[tuple[str, ...], float]:
    """As Prometheus reads it: values by the name and the texts of the labels but the use case, by the names of these."""
    settings = read_environment(variables(home.root) | {"MLOPS_SERVICE_URL": "loans=http://127.0.0.1:9"}, PROJECT)
    page = as_page(
        read_metrics([WATCHED], home, build_resources(settings), not_loaded=not_loaded, now=now or datetime.now(UTC))
    ).decode()
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    assert {sample.labels.get("use_case", "loans") for sample in samples} <= {"loans", "none"}
    return {(one.name, *(text for name, text in one.labels.items() if name != "use_case")): one.value for one in samples}


def test_a_verdict_is_one_of_three_and_a_monitor_that_has_not_judged_has_none(trigger: Trigger):
    report(trigger, "drift", Drift.CHECK, "3 of 4 inputs drifted", passed=False)
    report(trigger, "performance", Performance.CHECK, "auc 0.9", passed=True)
    values = scrape(trigger.home)
    verdicts = ("healthy", "alarm", "not enough data")
    by_stage = {
        stage: [values[Metric.VERDICT, stage, verdict] for verdict in verdicts]
        for stage in ("drift", "performance", "own_monitor")
    }
    assert by_stage == {"drift": [0, 1, 0], "performance": [1, 0, 0], "own_monitor": [0, 0, 0]}
    assert values[Metric.SILENT, "drift"] == values[Metric.SILENT, "performance"] == 0, "an alarm is not a silence"
    later = scrape(trigger.home, now=NOW + timedelta(days=121))
    assert later[Metric.VERDICT, "performance", "not enough data"] == later[Metric.SILENT, "performance"] == 1
    assert later[Metric.VERDICT, "drift", "alarm"] == 1


def test_the_numbers_of_a_monitor_are_those_of_its_newest_look(trigger: Trigger):
    key = dg.AssetKey(names.stage(WATCHED.name, "own_monitor"))
    for share in (0.2, 0.6):
        metadata = {"share": share, "rows": 12, "verdict": "healthy: fine", "dagster/row_count": 3}
        trigger.instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=metadata))
    values = scrape(trigger.home)
    figures = {key[1]: value for key, value in values.items() if key[0] == Metric.FIGURE}
    assert figures == {"share": 0.6, "rows": 12}


def test_a_table_has_the_time_of_its_newest_partition_and_is_late_while_a_due_file_is_missing(trigger: Trigger):
    assert (Metric.LATE, TABLE) not in scrape(trigger.home), "nothing has been looked at yet"
    trigger.validate(applications(1, 2, 3))
    landing = dg.AssetKey(names.landing(WATCHED.name, TABLE))
    for passed in (False, True):
        trigger.instance.report_runless_asset_event(dg.AssetCheckEvaluation(landing, ALL_DELIVERED, passed=passed))
        assert scrape(trigger.home)[Metric.LATE, TABLE] == (not passed)
    values = scrape(trigger.home)
    assert abs(values[Metric.ACCEPTED, TABLE] - datetime.now(UTC).timestamp()) < 60
    assert values[Metric.NEWEST, TABLE] == datetime(2024, 3, 4, tzinfo=UTC).timestamp(), "the end of its last day"


def test_failed_runs_and_trainings_count_until_they_are_made_good(trigger: Trigger):
    before = scrape(trigger.home)
    assert before[Metric.TRAINING_FAILED,] == before[Metric.RUN_FAILED,] == before[Metric.RUNS, "failure"] == 0
    trigger.validate(applications(1, 2, 3))
    trigger.fail("the disk is full")
    values = scrape(trigger.home)
    assert (values[Metric.TRAINING_FAILED,], values[Metric.RUN_FAILED,], values[Metric.RUNS, "failure"]) == (1, 0, 1)
    assert 0 < values[Metric.RUN_SECONDS,] < 60
    assert scrape(trigger.home, now=NOW + timedelta(days=2))[Metric.RUNS, "failure"] == 0


def test_shares_add_up_to_one_and_a_plan_that_differs_from_the_ledger_is_counted(trigger: Trigger):
    values = scrape(trigger.home)
    assert (Metric.SERVING,) not in values, "before the first champion nothing has to serve"
    line = ModelLine(trigger.home.root, name=WATCHED.name)
    line.bless(1, 2)
    line.promote(1)
    values = scrape(trigger.home)
    assert values[Metric.SHARE, "champion", "1"] == 1
    assert (values[Metric.SERVING,], values[Metric.SERVERS,], values[Metric.AGREES,]) == (0, 1, 1)
    (trigger.home.deployments / WATCHED.name / "plan.json").unlink()
    assert scrape(trigger.home)[Metric.AGREES,] == 0


def test_the_daemon_the_disk_and_what_does_not_load_are_of_the_whole_platform(trigger: Trigger):
    values = scrape(trigger.home, not_loaded=("b · does not load",))
    assert values[Metric.HEARTBEAT,] == 0 and values[Metric.NOT_LOADED,] == 1 and values[Metric.EVENT_LOG,] == 1
    assert 0 < values[Metric.DISK_FREE,] <= values[Metric.DISK_SIZE,]


def test_an_event_log_that_cannot_be_read_is_counted_and_hides_nothing_else(trigger: Trigger):
    (trigger.home.dagster / "dagster.yaml").write_text("storage: {sqlite: {base_dir: 5}}\n")
    values = scrape(trigger.home)
    assert values[Metric.EVENT_LOG,] == 0 and (Metric.HEARTBEAT,) not in values and values[Metric.AGREES,] == 1


def test_a_pod_reads_the_event_log_of_dagster_home_unless_it_is_that_of_another_home(
    trigger: Trigger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere, home, other = tmp_path / "dagster", Home(tmp_path / "pod"), Home(tmp_path / "other")
    for folder in (elsewhere, home.root, other.root):
        folder.mkdir()
    (elsewhere / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    assert (Metric.HEARTBEAT,) not in scrape(home) and scrape(home)[Metric.EVENT_LOG,] == 1, "there is none"
    monkeypatch.setenv("DAGSTER_HOME", str(elsewhere))
    assert scrape(home)[Metric.HEARTBEAT,] == 0 and not [*home.root.glob("home.id")], "nothing is written"
    with dg.DagsterInstance.from_config(str(elsewhere)) as instance:
        claim(other.root, instance)
    values = scrape(home)
    assert values[Metric.EVENT_LOG,] == 0 and (Metric.HEARTBEAT,) not in values
    assert scrape(other)[Metric.HEARTBEAT,] == 0
    assert scrape(trigger.home)[Metric.EVENT_LOG,] == 1, "which has its own"
