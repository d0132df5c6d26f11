"""Recording and alert rules of Prometheus, and the routes of Alertmanager, from the declarations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlops_assets.observability.alerts import (
    ALERTS,
    COST,
    LONG,
    MAX_ERROR_RATIO,
    MAX_P99,
    OWNER,
    P99,
    PLATFORM_JOB,
    REQUESTS,
    SERVICE_JOB,
    SHORT,
    Alert,
)  # fmt: skip
from mlops_assets.observability.metrics import Metric
from mlops_assets.spec.monitor import Operations
from mlops_assets.spec.use_case import UseCase

UNDECLARED_ERROR_RATIO = 0.05  # of a use case whose monitor Operations, if any, declares no bound
GROUP = "mlops"
Rule = dict[str, Any]


@dataclass(frozen=True)
class Pace:
    """How soon Prometheus notices and alerts, as its durations. Errors count in the `window` and in the `long` one, so that a
    burst alerts within minutes and ends its alert when it is over.
    """

    scrape: str = "15s"
    window: str = "5m"
    long: str = "1h"
    hold: str = "2m"
    group_wait: str = "30s"
    repeat: str = "12h"


USUAL = Pace()


def build_rules(use_cases: Sequence[UseCase], pace: Pace, docs: str) -> dict[str, Any]:
    """`docs` is the address of the pages that alerts link to."""
    recorded = [*_declared(use_cases), *_measured(pace)]
    return {"groups": [{"name": GROUP, "rules": [*recorded, *(_alert_rule(alert, pace, docs) for alert in ALERTS)]}]}


def _declared(use_cases: Sequence[UseCase]) -> Iterator[Rule]:
    """Owners and bounds, which expressions and dashboards compare with."""
    for use_case in use_cases:
        of_one = {"use_case": use_case.name}
        bounds = [monitor for monitor in use_case.monitors if isinstance(monitor, Operations)]
        ratios = [one.max_error_rate for one in bounds if one.max_error_rate is not None]
        latencies = [one.max_latency_p99_ms for one in bounds if one.max_latency_p99_ms is not None]
        yield {"record": OWNER, "expr": "vector(1)", "labels": of_one | {"owner": use_case.owner}}
        yield _constant(MAX_ERROR_RATIO, min(ratios, default=UNDECLARED_ERROR_RATIO), of_one)
        if latencies:
            yield _constant(MAX_P99, min(latencies) / 1000, of_one)


def _constant(name: str, value: float, labels: dict[str, str]) -> Rule:
    return {"record": name, "expr": f"vector({value:g})", "labels": labels}


def _measured(pace: Pace) -> Iterator[Rule]:
    def requests(window: str, status: str = "") -> str:
        return f"sum by (use_case) (rate(mlops_requests_total{status}[{window}]))"

    yield {"record": REQUESTS, "expr": requests(pace.window)}
    for name, window in {SHORT: pace.window, LONG: pace.long}.items():
        failed = requests(window, '{status=~"5.."}')
        # A server that has not failed yet has no counter of failures.
        yield {"record": name, "expr": f"({failed} or 0 * {requests(window)}) / ({requests(window)} > 0)"}
    buckets = f"sum by (use_case, le) (rate(mlops_answer_seconds_bucket[{pace.window}]))"
    yield {"record": P99, "expr": f"histogram_quantile(0.99, {buckets}) >= 0"}
    rows = f"sum by (use_case) (rate(mlops_predictions_total[{pace.window}]))"
    price = f'max by (use_case) ({Metric.FIGURE}{{figure="cost_per_1000"}})'
    yield {"record": COST, "expr": f"{rows} * 3.6 * on (use_case) {price}"}


def _alert_rule(alert: Alert, pace: Pace, docs: str) -> Rule:
    texts = {"summary": alert.summary, "description": alert.remedy, "runbook_url": f"{docs.rstrip('/')}/{alert.page}"}
    holds = {"for": pace.hold} if alert.is_lasting else {}
    expression = alert.expression.replace("WINDOW", pace.window)
    return {"alert": alert.name, "expr": expression, **holds, "labels": {"severity": alert.severity}, "annotations": texts}


def build_prometheus(*, services: Sequence[str], platform: str, alertmanager: str, pace: Pace) -> dict[str, Any]:
    """Addresses are host:port."""
    return {
        "global": {"scrape_interval": pace.scrape, "evaluation_interval": pace.scrape},
        "rule_files": ["rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            {"job_name": SERVICE_JOB, "static_configs": [{"targets": [*services]}]},
            {"job_name": PLATFORM_JOB, "static_configs": [{"targets": [platform]}]},
        ],
    }


def build_alertmanager(use_cases: Sequence[UseCase], pace: Pace, webhook: str) -> dict[str, Any]:
    """A route for each owner, and one message for all alerts of a use case. Other targets than the webhook are for people to add:
    their addresses have secrets.
    """
    owners = sorted({use_case.owner for use_case in use_cases})
    receivers = [{"name": name, "webhook_configs": [{"url": webhook}]} for name in ("platform", *owners)]
    weaker = 'alertname=~"ErrorRate|ServerBehind|SlowAnswers"'
    return {
        "route": {
            "receiver": "platform",
            "group_by": ["owner", "use_case"],
            "group_wait": pace.group_wait,
            "group_interval": pace.window,
            "repeat_interval": pace.repeat,
            "routes": [{"receiver": owner, "matchers": [f'owner="{owner}"']} for owner in owners],
        },
        "inhibit_rules": [{"source_matchers": ['alertname="NobodyServes"'], "target_matchers": [weaker], "equal": ["use_case"]}],
        "receivers": receivers,
    }


def build_collector(endpoint: str) -> dict[str, Any]:
    """Of OpenTelemetry's collector, which passes spans on to `endpoint`: all that failed or were slow, and a few others."""
    policies = [
        {"name": "failed", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
        {"name": "slow", "type": "latency", "latency": {"threshold_ms": 100}},
        {"name": "some", "type": "probabilistic", "probabilistic": {"sampling_percentage": 1}},
    ]
    return {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": "0.0.0.0:4318"}}}},
        "processors": {
            "memory_limiter": {"check_interval": "1s", "limit_mib": 400},
            "tail_sampling": {"decision_wait": "10s", "policies": policies},
            "batch": {},
        },
        "exporters": {"otlphttp": {"endpoint": endpoint}},
        "service": {
            "pipelines": {
                "traces": {
                    "receivers": ["otlp"], "processors": ["memory_limiter", "tail_sampling", "batch"], "exporters": ["otlphttp"],
                }
            }
        },
    }  # fmt: skip
