"""Every alert fires for its own condition and for nothing else, as promtool evaluates the rules over series of a test."""

import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from mlops_assets.foundation.home import PROJECT
from mlops_assets.observability.alerts import ALERTS
from mlops_assets.observability.configuration import Places, write_configuration
from mlops_assets.observability.dashboards import build_boards
from mlops_assets.observability.metrics import Metric
from mlops_assets.observability.rules import UNDECLARED_ERROR_RATIO, USUAL, build_rules
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.spec.monitor import Operations, Skew
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.cli.loans import LOANS
from tests.servers.prometheus_server import check, needs_prometheus

WITHOUT_BOUNDS = LOANS.but(name="plain", owner="ana@example.org")
USE_CASES = (USE_CASE, WITHOUT_BOUNDS)
PLACES = Places(("a:3000", "b:3000"), "status:3002")
OF = '{use_case="flight_delay"}'
OF_PLAIN = '{use_case="plain"}'
TABLE = '{use_case="flight_delay",table="weather"}'
MONITOR = '{use_case="flight_delay",monitor="drift"'
PLATFORM_UP = ('up{job="mlops_platform",instance="status:3002"}', "1x30")


class Case(NamedTuple):
    """Series with their values each minute for half an hour, and what fires then: the labels other than name and severity."""

    alert: str
    fires: dict[str, str] | None
    series: dict[str, str]


def of_flights(**more: str) -> dict[str, str]:
    return {"use_case": "flight_delay", "owner": USE_CASE.owner, **more}


def requests(failed: str, use_case: str = OF) -> dict[str, str]:
    """100 requests a minute, and so many failed ones."""
    inner = use_case.strip("{}")
    return {f'mlops_requests_total{{{inner},status="200"}}': "0+100x30", f'mlops_requests_total{{{inner},status="503"}}': failed}


CASES = (
    Case("ErrorRate", of_flights(), requests("0+2x30")),  # 1% is declared
    Case("ErrorRate", None, requests("0+0.5x30")),
    Case("ErrorRate", None, requests("0+0x15 100+0x15")),  # an old burst: the short window has no failure
    Case("ErrorRate", None, requests("0+4x30", OF_PLAIN)),  # 5% where nothing is declared
    Case("ErrorRate", {"use_case": "plain", "owner": "ana@example.org"}, requests("0+6x30", OF_PLAIN)),
    Case(
        "SlowAnswers", of_flights(),
        {'mlops_answer_seconds_bucket{use_case="flight_delay",le="0.05"}': "0+90x30",
         'mlops_answer_seconds_bucket{use_case="flight_delay",le="+Inf"}': "0+100x30",
         'mlops_answer_seconds_bucket{use_case="flight_delay",le="0.1"}': "0+100x30"},
    ),
    Case(
        "SlowAnswers", None,
        {'mlops_answer_seconds_bucket{use_case="flight_delay",le="0.05"}': "0+100x30",
         'mlops_answer_seconds_bucket{use_case="flight_delay",le="+Inf"}': "0+100x30"},
    ),
    Case("NobodyServes", of_flights(), {Metric.SERVING + OF: "0x30", Metric.SERVERS + OF: "2x30"}),
    Case("NobodyServes", None, {Metric.SERVING + OF: "1x30", Metric.SERVERS + OF: "2x30"}),
    Case("ServerBehind", of_flights(), {Metric.SERVING + OF: "1x30", Metric.SERVERS + OF: "2x30"}),
    Case("ServerBehind", None, {Metric.SERVING + OF: "0x30", Metric.SERVERS + OF: "2x30"}),  # NobodyServes has it
    Case("PlanDiffers", of_flights(), {Metric.AGREES + OF: "0x30"}),
    Case("PlanDiffers", None, {Metric.AGREES + OF: "0x28 1 1"}),
    Case("AnswersNotLogged", of_flights(), {"mlops_log_failures_total" + OF: "0x25 1x5", "mlops_unlogged_total" + OF: "0x30"}),
    Case("AnswersNotLogged", None, {"mlops_log_failures_total" + OF: "1x30", "mlops_unlogged_total" + OF: "0x30"}),
    Case("PlanNotTaken", of_flights(), {"mlops_model_load_failures_total" + OF: "0x25 3x5"}),
    Case("PlanNotTaken", None, {"mlops_model_load_failures_total" + OF: "3x30"}),
    Case("OnlineStoreDown", of_flights(), {'mlops_predictions_total{use_case="flight_delay",features_from="last_known"}': "0+1x30"}),
    Case("OnlineStoreDown", None, {'mlops_predictions_total{use_case="flight_delay",features_from="online"}': "0+1x30"}),
    Case("MonitorAlarm", of_flights(monitor="drift", verdict="alarm"), {Metric.VERDICT + MONITOR + ',verdict="alarm"}': "1x30"}),
    Case("MonitorAlarm", None, {Metric.VERDICT + MONITOR + ',verdict="not enough data"}': "1x30"}),
    Case("MonitorSilent", of_flights(monitor="drift"), {Metric.SILENT + MONITOR + "}": "1x30"}),
    Case("MonitorSilent", None, {Metric.SILENT + MONITOR + "}": "0x30"}),
    Case("TableLate", of_flights(table="weather"), {Metric.LATE + TABLE: "1x30"}),
    Case("TableLate", None, {Metric.LATE + TABLE: "0x29 1"}),  # for less than two minutes
    Case("EntryUnreadable", of_flights(table="weather"), {Metric.UNREADABLE + TABLE: "1x30"}),
    Case("EntryUnreadable", None, {Metric.UNREADABLE + TABLE: "0x30"}),
    Case("TrainingFailed", of_flights(), {Metric.TRAINING_FAILED + OF: "1x30"}),
    Case("TrainingFailed", None, {Metric.TRAINING_FAILED + OF: "0x30"}),
    Case("RunFailed", of_flights(), {Metric.RUN_FAILED + OF: "1x30"}),
    Case("RunFailed", None, {Metric.RUN_FAILED + OF: "0x30"}),
    Case("DaemonDead", {}, {Metric.HEARTBEAT: "0x30"}),
    Case("DaemonDead", None, {Metric.HEARTBEAT: "0+60x30"}),
    Case("EventLogUnreadable", {}, {Metric.EVENT_LOG: "0x30"}),
    Case("EventLogUnreadable", None, {Metric.EVENT_LOG: "1x30"}),
    Case("DeclarationNotLoaded", {}, {Metric.NOT_LOADED: "2x30"}),
    Case("DeclarationNotLoaded", None, {Metric.NOT_LOADED: "0x30"}),
    Case("DiskFull", {}, {Metric.DISK_FREE: "9x30", Metric.DISK_SIZE: "100x30"}),
    Case("DiskFull", None, {Metric.DISK_FREE: "11x30", Metric.DISK_SIZE: "100x30"}),
    Case("TargetDown", {"job": "mlops_service", "instance": "a:3000"}, {'up{job="mlops_service",instance="a:3000"}': "0x30"}),
    Case("TargetDown", {"job": "mlops_platform"}, {PLATFORM_UP[0]: "_x30"}),
    Case("TargetDown", None, {'up{job="mlops_service",instance="a:3000"}': "1x30", 'up{job="others"}': "0x30"}),
)  # fmt: skip


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    for fires in (True, False):
        assert {case.alert for case in CASES if (case.fires is not None) == fires} == {alert.name for alert in ALERTS}


@needs_prometheus
def test_alerts_fire_for_what_they_are_about(tmp_path: Path) -> None:
    rules = build_rules(USE_CASES, USUAL, "docs")
    for rule in rules["groups"][0]["rules"]:
        rule.pop("annotations", None)  # which promtool would compare, too
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    severities = {alert.name: alert.severity for alert in ALERTS}
    tests: list[dict[str, Any]] = []
    for number, case in enumerate(CASES):
        series = dict([PLATFORM_UP]) | case.series
        expected = [] if case.fires is None else [{"exp_labels": {"severity": severities[case.alert], **case.fires}}]
        tests.append(
            {
                "name": f"{number} {case.alert}",
                "interval": "1m",
                "input_series": [{"series": str(name), "values": values} for name, values in series.items()],
                "alert_rule_test": [{"eval_time": "30m", "alertname": case.alert, "exp_alerts": expected}],
            }
        )
    (tmp_path / "tests.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": tests}))
    result = check("promtool", "test", "rules", tmp_path / "tests.yml")
    assert result.returncode == 0, result.stdout + result.stderr


@needs_prometheus
def test_prometheus_and_alertmanager_accept_their_configuration(tmp_path: Path) -> None:
    written = write_configuration(tmp_path, USE_CASES, PLACES)
    for name, command in {"prometheus.yml": "config", "rules.yml": "rules"}.items():
        result = check("promtool", "check", command, tmp_path / name)
        assert result.returncode == 0, result.stdout + result.stderr
    for owner in (USE_CASE.owner, WITHOUT_BOUNDS.owner):
        routed = check("amtool", "config", "routes", "test", f"--config.file={tmp_path / 'alertmanager.yml'}", f"owner={owner}")
        assert (routed.returncode, routed.stdout.strip()) == (0, owner)
    again = {path: path.read_bytes() for path in written}
    assert write_configuration(tmp_path, USE_CASES, PLACES) == written
    assert {path: path.read_bytes() for path in written} == again


def test_bounds_are_those_of_the_declaration() -> None:
    strict = USE_CASE.but(
        monitors=(Skew(), Operations(max_error_rate=0.002, max_latency_p99_ms=80), Operations(max_error_rate=0.1)), triggers=()
    )
    (group,) = build_rules((strict, WITHOUT_BOUNDS), USUAL, "docs")["groups"]
    constants = {
        (rule["record"], rule["labels"]["use_case"]): float(rule["expr"].removeprefix("vector(")[:-1])
        for rule in group["rules"]
        if rule.get("expr", "").startswith("vector(")
    }
    assert constants == {
        ("mlops:owner", "flight_delay"): 1, ("mlops:owner", "plain"): 1,
        ("mlops:max_error_ratio", "flight_delay"): 0.002, ("mlops:max_error_ratio", "plain"): UNDECLARED_ERROR_RATIO,
        ("mlops:max_p99_seconds", "flight_delay"): 0.08,
    }  # fmt: skip


def test_rules_and_dashboards_read_metrics_that_exist() -> None:
    (group,) = build_rules(USE_CASES, USUAL, "docs")["groups"]
    recorded = {rule["record"] for rule in group["rules"] if "record" in rule}
    families = [family for family in Telemetry().registry.collect()]
    exported = {*Metric} | {family.name + suffix for family in families for suffix in ("", "_total", "_bucket")}
    expressions = [rule["expr"] for rule in group["rules"]]
    expressions += [query for board in build_boards(USE_CASES) for panel in board.panels for query in panel.expressions.values()]
    named = {name for expression in expressions for name in re.findall(r"\bmlops[_:][\w:]+", expression)}
    assert named - exported - recorded == {"mlops_platform", "mlops_service"}, "which are jobs"


def test_every_link_of_an_alert_is_a_page_of_the_documentation() -> None:
    for alert in ALERTS:
        page, _, anchor = alert.page.partition("#")
        titles = re.findall(r"^#+ (.*)$", (PROJECT / "docs" / page).read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
        assert not anchor or anchor in anchors, alert.name


def test_the_operator_of_kubernetes_gets_the_same_rules(tmp_path: Path) -> None:
    write_configuration(tmp_path, USE_CASES, PLACES)
    rule = yaml.safe_load((tmp_path / "prometheus-rule.yml").read_text())
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((tmp_path / "rules.yml").read_text())


def test_without_the_library_of_grafana_nothing_is_written_and_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk.builders", None)
    with pytest.raises(ImportError, match=r"grafana-foundation-sdk is not installed. Run: pip install 'mlops-assets\[grafana\]'"):
        write_configuration(tmp_path, USE_CASES, PLACES)
    assert not [*tmp_path.iterdir()]
