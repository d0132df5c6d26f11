"""The alerts of Prometheus: when each fires, how urgent it is, where to look and what to do."""

from dataclasses import dataclass
from typing import Literal

from mlops_assets.observability.metrics import Metric

PLATFORM_JOB, SERVICE_JOB = "mlops_platform", "mlops_service"
OWNER = "mlops:owner"  # 1 for each declared use case, with its owner
MAX_ERROR_RATIO, MAX_P99 = "mlops:max_error_ratio", "mlops:max_p99_seconds"  # as declared
SHORT, LONG = "mlops:error_ratio:short", "mlops:error_ratio:long"
REQUESTS, P99 = "mlops:requests:per_second", "mlops:answer_seconds:p99"
COST = "mlops:serving_cost:per_hour"
SILENCE_S = 120  # of the daemon, as graph/operations.py has it
DISK_SHARE = 0.1

INCIDENTS, MONITORS, FRESHNESS = "operating.md#incidents", "monitors.md", "operating.md#freshness"
Severity = Literal["critical", "warning"]


@dataclass(frozen=True)
class Alert:
    """`condition` is true while it is to fire; `is_lasting` ones wait until it has been true for a while. `summary` and `remedy`
    are texts with Prometheus' fields, and `page` is of the documentation.
    """

    name: str
    condition: str
    severity: Severity
    summary: str
    remedy: str
    page: str
    is_of_use_case: bool = True
    is_lasting: bool = True

    @property
    def expression(self) -> str:
        """With the owner as a label, for the routes of Alertmanager."""
        return f"({self.condition}) * on (use_case) group_left (owner) {OWNER}" if self.is_of_use_case else self.condition


UNLOGGED = "increase(mlops_log_failures_total[WINDOW]) + increase(mlops_unlogged_total[WINDOW])"
LAST_KNOWN = 'mlops_predictions_total{features_from="last_known"}'
STATUS = "Run `mlops status {{ $labels.use_case }}`"
ALERTS = (
    Alert(
        "ErrorRate", f"({SHORT} > on (use_case) {MAX_ERROR_RATIO}) and on (use_case) ({LONG} > on (use_case) {MAX_ERROR_RATIO})",
        "critical", "{{ $value | humanizePercentage }} of the requests of {{ $labels.use_case }} fail, more than is declared.",
        f"The service's log has the cause. {STATUS}; if a new version causes it, `mlops rollback {{{{ $labels.use_case }}}}`.",
        INCIDENTS, is_lasting=False,
    ),
    Alert(
        "SlowAnswers", f"{P99} > on (use_case) {MAX_P99}",
        "warning", "1 of 100 answers of {{ $labels.use_case }} takes longer than {{ $value | humanizeDuration }}.",
        "Compare load and latency in the dashboard of the service. Add a server, or roll a slow version back.", "serving.md",
    ),
    Alert(
        "NobodyServes", f"{Metric.SERVING} == 0",
        "critical", "No server of {{ $labels.use_case }} serves the version that the ledger names.",
        f"{STATUS}: it has the problem of each server. Start a server, or restore the model's folder.", INCIDENTS,
    ),
    Alert(
        "ServerBehind", f"{Metric.SERVERS} - {Metric.SERVING} > 0 and on (use_case) {Metric.SERVING} > 0",
        "warning", "{{ $value }} servers of {{ $labels.use_case }} do not serve the plan of the ledger.",
        f"{STATUS}: it has the problem of each server, and its last load error.", INCIDENTS,
    ),
    Alert(
        "PlanDiffers", f"1 - {Metric.AGREES} > 0",
        "critical", "The plan that the servers of {{ $labels.use_case }} read is not that of the ledger.",
        f"{STATUS} and `mlops ledger verify`; then `mlops ledger mirror {{{{ $labels.use_case }}}}`.", INCIDENTS,
    ),
    Alert(
        "AnswersNotLogged", f"sum by (use_case) ({UNLOGGED}) > 0",
        "critical", "The prediction log of {{ $labels.use_case }} cannot be written.",
        "Free the disk of the home, or let the service write the folder prediction_log.", INCIDENTS, is_lasting=False,
    ),
    Alert(
        "PlanNotTaken", "sum by (use_case) (increase(mlops_model_load_failures_total[WINDOW])) > 0",
        "warning", "A server of {{ $labels.use_case }} cannot load a version; the previous one serves.",
        f"{STATUS}: it has the last load error. Restore the version's folder, or `mlops rollback {{{{ $labels.use_case }}}}`.",
        INCIDENTS, is_lasting=False,
    ),
    Alert(
        "OnlineStoreDown", f"sum by (use_case) (rate({LAST_KNOWN}[WINDOW])) > 0",
        "warning", "Answers of {{ $labels.use_case }} use the last known features: the online store does not answer.",
        "Start the online store (MLOPS_ONLINE_STORE), or free the load on it.", "serving.md", is_lasting=False,
    ),
    Alert(
        "MonitorAlarm", f'{Metric.VERDICT}{{verdict="alarm"}} == 1',
        "warning", "The monitor {{ $labels.monitor }} of {{ $labels.use_case }} is in alarm.",
        f"{STATUS}: it has the evidence, and what follows by itself.", MONITORS,
    ),
    Alert(
        "MonitorSilent", f"{Metric.SILENT} == 1",
        "warning", "The monitor {{ $labels.monitor }} of {{ $labels.use_case }} has lacked data for longer than declared.",
        "Look whether requests and labels arrive; declare a wider window or fewer rows where there will never be more.", MONITORS,
    ),
    Alert(
        "TableLate", f"{Metric.LATE} == 1",
        "warning", "A file of the table {{ $labels.table }} of {{ $labels.use_case }} is due and has not landed.",
        f"{STATUS}: it names the days. Ask the owner of the table, or `mlops waive` where nothing is to come.", FRESHNESS,
    ),
    Alert(
        "EntryUnreadable", f"{Metric.UNREADABLE} == 1",
        "warning", "A landed entry of the table {{ $labels.table }} of {{ $labels.use_case }} cannot be read.",
        f"{STATUS}: it names the entry and the reason. Correct or rename it.", INCIDENTS,
    ),
    Alert(
        "TrainingFailed", f"{Metric.TRAINING_FAILED} == 1",
        "warning", "The newest training of {{ $labels.use_case }} has failed.",
        f"{STATUS}: it has the error, and when it is tried again.", INCIDENTS,
    ),
    Alert(
        "RunFailed", f"{Metric.RUN_FAILED} == 1",
        "warning", "A run of {{ $labels.use_case }} has failed, and no later run has made its tables.",
        f"{STATUS}: it has the error, and what the run waits for: a pause, or a correction.", INCIDENTS,
    ),
    Alert(
        "DaemonDead", f"time() - {Metric.HEARTBEAT} > {SILENCE_S}",
        "critical", "Dagster's daemon has been silent for {{ $value | humanizeDuration }}: nothing runs by itself.",
        "Its log is logs/daemon.log of the home. Start it with `mlops up`, or restart its pod.", INCIDENTS, is_of_use_case=False,
    ),
    Alert(
        "EventLogUnreadable", f"{Metric.EVENT_LOG} == 0",
        "critical", "Dagster's event log cannot be read, so that verdicts, runs and freshness are not known.",
        "`mlops status` has the error. Start its database, or restore it from its backup.", INCIDENTS, is_of_use_case=False,
    ),
    Alert(
        "DeclarationNotLoaded", f"{Metric.NOT_LOADED} > 0",
        "warning", "{{ $value }} problems keep declarations from loading or compiling; their use cases are not in the graph.",
        "`mlops check` has a line for each problem.", INCIDENTS, is_of_use_case=False,
    ),
    Alert(
        "DiskFull", f"{Metric.DISK_FREE} / {Metric.DISK_SIZE} < {DISK_SHARE}",
        "critical", "{{ $value | humanizePercentage }} of the disk with the home is free.",
        "Enlarge the disk, or remove what may be removed.", "operating.md#what-grows-and-what-removes-it", is_of_use_case=False,
    ),
    Alert(
        "TargetDown", f'up{{job=~"{PLATFORM_JOB}|{SERVICE_JOB}"}} == 0 or absent(up{{job="{PLATFORM_JOB}"}})',
        "critical", "Prometheus cannot read {{ $labels.job }} {{ $labels.instance }}: what it has measured is not known.",
        "Start the server, or `mlops status --serve`; an answer of 500 has the cause in its text.", "observability.md",
        is_of_use_case=False,
    ),
)  # fmt: skip
