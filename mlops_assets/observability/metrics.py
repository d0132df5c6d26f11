"""The metrics of the platform besides those of its servers (serving/telemetry.py), and how Prometheus reads them."""

from collections.abc import Iterable
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple


class Metric(StrEnum):
    """The name of a gauge; `help_text` says what it counts."""

    help_text: str

    def __new__(cls, name: str, help_text: str) -> "Metric":
        metric = str.__new__(cls, name)
        metric._value_, metric.help_text = name, help_text
        return metric

    VERDICT = "mlops_monitor_verdict", "1 for the newest verdict of a monitor, 0 for the others."
    SILENT = "mlops_monitor_silent", "1 where a monitor has lacked data for longer than declared."
    FIGURE = "mlops_monitor_figure", "A number of a monitor's newest look: a metric, a cost, a share."
    ACCEPTED = "mlops_table_accepted_timestamp_seconds", "When a table last accepted a file, in Unix time."
    NEWEST = "mlops_table_newest_partition_timestamp_seconds", "The end of a table's newest partition, in Unix time."
    LATE = "mlops_table_late", "1 where a file that is due has not landed."
    UNREADABLE = "mlops_table_unreadable_entries", "1 where a landed entry cannot be read."
    SHARE = "mlops_version_traffic_share", "The part of the requests that a version serves, by role; a shadow serves none."
    SINCE = "mlops_plan_timestamp_seconds", "When the plan in force was made, in Unix time."
    SERVING = "mlops_servers_serving", "Live servers that serve the plan of the ledger."
    SERVERS = "mlops_servers_configured", "Addresses of servers in MLOPS_SERVICE_URL."
    AGREES = "mlops_plan_agrees", "0 where the plan that servers read is not that of the ledger."
    HELD = "mlops_automation_held", "1 where a pause or a person holds the automation."
    TRAINING_FAILED = "mlops_training_failed", "1 where the newest training has failed."
    RUN_FAILED = "mlops_run_failed", "1 where a run has failed that no later run of its tables has made good."
    RUNS = "mlops_day_runs", "Runs that were created in the last 24 hours, by status."
    RUN_SECONDS = "mlops_day_run_seconds", "How long the runs that began in the last 24 hours have taken together."
    HEARTBEAT = "mlops_daemon_heartbeat_timestamp_seconds", "The daemon's newest heartbeat, in Unix time; 0 before the first."
    EVENT_LOG = "mlops_event_log_readable", "0 where Dagster's event log cannot be read."
    NOT_LOADED = "mlops_declarations_not_loaded", "Problems that keep declarations from loading or compiling."
    DISK_FREE = "mlops_home_free_bytes", "Free bytes of the disk with the home."
    DISK_SIZE = "mlops_home_size_bytes", "Size of the disk with the home."


class Measure(NamedTuple):
    """One value; `labels` are pairs of a name and a text."""

    metric: Metric
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def measure(metric: Metric, value: float, **labels: str) -> Measure:
    return Measure(metric, float(value), tuple(labels.items()))


def as_page(measures: Iterable[Measure]) -> bytes:
    """In the text format of Prometheus."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    for metric, values in groupby(sorted(measures, key=lambda one: one.metric), lambda one: one.metric):
        series = [*values]
        gauge = Gauge(metric, metric.help_text, [name for name, _ in series[0].labels], registry=registry)
        for one in series:
            (gauge.labels(**dict(one.labels)) if one.labels else gauge).set(one.value)
    return generate_latest(registry)
