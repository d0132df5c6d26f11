"""The dashboards of Grafana, from the declarations: service, model quality, data freshness, runs and cost."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mlops_assets.observability.alerts import COST, MAX_ERROR_RATIO, MAX_P99, P99, PLATFORM_JOB, REQUESTS, SERVICE_JOB, SHORT
from mlops_assets.observability.metrics import Metric
from mlops_assets.spec.monitor import Drift, Estimation, Monitor, Operations, Performance, Skew
from mlops_assets.spec.use_case import UseCase

SELECTED = 'use_case=~"$use_case"'
WIDTH, HEIGHT = 12, 8  # two panels in a row


class MissingLibrary(ImportError):
    """The extra `grafana` is not installed."""


class Panel(NamedTuple):
    """A plot of expressions by their legends, in Grafana's `unit`."""

    title: str
    unit: str
    expressions: dict[str, str]


class Board(NamedTuple):
    title: str
    panels: tuple[Panel, ...]

    @property
    def uid(self) -> str:
        return f"mlops-{self.title.lower().replace(' ', '-')}"


def build_boards(use_cases: Sequence[UseCase]) -> tuple[Board, ...]:
    """Without what no use case declares."""
    monitors = [monitor for use_case in use_cases for monitor in use_case.monitors]
    return (
        Board("Service", (*_service(),)),
        Board("Model quality", (*_quality(use_cases, monitors),)),
        Board("Data freshness", (*_freshness(),)),
        Board("Runs", (*_runs(),)),
        Board("Cost", (*_cost(monitors),)),
    )


def _of(metric: str, by: str, more: str = "") -> str:
    return f"max by ({by}) ({metric}{{{SELECTED}{more}}})"


def _service() -> Iterator[Panel]:
    window, own = "[$__rate_interval]", f"{{{SELECTED}}}"
    yield Panel("Requests per second", "reqps", {"{{use_case}}": f"{REQUESTS}{own}"})
    errors = {"{{use_case}}": f"{SHORT}{own}", "{{use_case}}, declared": f"{MAX_ERROR_RATIO}{own}"}
    yield Panel("Failed requests", "percentunit", errors)
    yield Panel(
        "99th percentile of the latency", "s", {"{{use_case}}": f"{P99}{own}", "{{use_case}}, declared": f"{MAX_P99}{own}"}
    )
    by_status = f"sum by (use_case, status) (rate(mlops_requests_total{own}{window}))"
    yield Panel("Requests by status", "reqps", {"{{use_case}} {{status}}": by_status})
    by_version = f"sum by (use_case, arm, version) (rate(mlops_predictions_total{own}{window}))"
    yield Panel("Answered rows by version", "cps", {"{{use_case}} {{arm}} {{version}}": by_version})
    shares = _of(Metric.SHARE, "use_case, role, version")
    yield Panel("Share of the requests by version", "percentunit", {"{{use_case}} {{role}} {{version}}": shares})
    serving = {"{{use_case}}": _of(Metric.SERVING, "use_case"), "{{use_case}}, configured": _of(Metric.SERVERS, "use_case")}
    yield Panel("Servers that serve the ledger's plan", "none", serving)
    processes = f'process_resident_memory_bytes{{job="{SERVICE_JOB}"}}'
    yield Panel("Memory of the servers", "bytes", {"{{instance}}": processes})


def _quality(use_cases: Sequence[UseCase], monitors: Sequence[Monitor]) -> Iterator[Panel]:
    by = "use_case, monitor, figure"
    legend = "{{use_case}} {{monitor}} {{figure}}"

    def figures(names: Sequence[str]) -> dict[str, str]:
        return {legend: _of(Metric.FIGURE, by, f', figure=~"{"|".join(sorted({*names}))}"')}

    in_alarm = _of(Metric.VERDICT, "use_case, monitor", ', verdict="alarm"')
    yield Panel("Monitors in alarm", "none", {"{{use_case}} {{monitor}}": in_alarm})
    lacking = _of(Metric.VERDICT, "use_case, monitor", ', verdict="not enough data"')
    yield Panel("Monitors without enough data", "none", {"{{use_case}} {{monitor}}": lacking})
    main = [one.task.METRICS[0] for one in use_cases]
    of_kind: dict[type[Any], tuple[str, list[str]]] = {
        Performance: ("Realised quality", [f"window_{metric}" for metric in main]),
        Estimation: ("Estimated quality", [f"estimated_{metric}" for metric in main]),
        Drift: ("Drift of the inputs", ["drifted_share", "max_psi"]),
        Skew: ("Training/serving skew", ["mismatch_rate"]),
    }
    for kind, (title, names) in of_kind.items():
        if any(isinstance(monitor, kind) for monitor in monitors):
            yield Panel(title, "none", figures(names))


def _freshness() -> Iterator[Panel]:
    by, legend = "use_case, table", "{{use_case}} {{table}}"
    yield Panel("Time since the end of the newest partition", "s", {legend: f"time() - {_of(Metric.NEWEST, by)}"})
    yield Panel("Time since the newest file was accepted", "s", {legend: f"time() - {_of(Metric.ACCEPTED, by)}"})
    yield Panel("Tables with a file that is late", "none", {legend: _of(Metric.LATE, by)})
    yield Panel("Tables with an entry that cannot be read", "none", {legend: _of(Metric.UNREADABLE, by)})


def _runs() -> Iterator[Panel]:
    by_status = f"max by (use_case, status) ({Metric.RUNS})"
    yield Panel("Runs of the last 24 hours", "none", {"{{use_case}} {{status}}": by_status})
    yield Panel("Time of the runs of the last 24 hours", "s", {"{{use_case}}": f"max by (use_case) ({Metric.RUN_SECONDS})"})
    failed = {
        "{{use_case}}, run": _of(Metric.RUN_FAILED, "use_case"),
        "{{use_case}}, training": _of(Metric.TRAINING_FAILED, "use_case"),
    }
    yield Panel("Failures that nothing has made good", "none", failed)
    yield Panel("Automation that is held", "none", {"{{use_case}}": _of(Metric.HELD, "use_case")})
    yield Panel("Time since the daemon's heartbeat", "s", {"daemon": f"time() - max({Metric.HEARTBEAT})"})


def _cost(monitors: Sequence[Monitor]) -> Iterator[Panel]:
    if any(isinstance(one, Operations) and (one.cost_per_cpu_hour or one.cost_per_server_hour) for one in monitors):
        yield Panel("Serving, per hour", "none", {"{{use_case}}": f"{COST}{{{SELECTED}}}"})
        per_1000 = _of(Metric.FIGURE, "use_case", ', figure="cost_per_1000"')
        yield Panel("Serving, per 1,000 predictions", "none", {"{{use_case}}": per_1000})
    cores = f'rate(process_cpu_seconds_total{{job="{SERVICE_JOB}"}}[$__rate_interval])'
    yield Panel("Cores that the servers use", "none", {"{{instance}}": cores})
    yield Panel("Hours of runs in the last 24 hours", "h", {"{{use_case}}": f"max by (use_case) ({Metric.RUN_SECONDS}) / 3600"})
    disk = {"used": f"max({Metric.DISK_SIZE} - {Metric.DISK_FREE})", "size": f"max({Metric.DISK_SIZE})"}
    yield Panel("Disk with the home", "bytes", disk)
    yield Panel("Reading the metrics", "s", {"{{instance}}": f'scrape_duration_seconds{{job="{PLATFORM_JOB}"}}'})


def as_grafana(board: Board, use_cases: Sequence[UseCase]) -> str:
    """The JSON that Grafana imports, with a choice of the data source and of the use cases. Raises MissingLibrary."""
    try:
        from grafana_foundation_sdk.builders import dashboard, prometheus, timeseries
    except ImportError as error:
        raise MissingLibrary("grafana-foundation-sdk is not installed. Run: pip install 'mlops-assets[grafana]'") from error
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import DataSourceRef

    source = DataSourceRef(type_val="prometheus", uid="${source}")
    names = dashboard.CustomVariable("use_case").values(",".join(one.name for one in use_cases))
    built = dashboard.Dashboard(board.title).uid(board.uid).tags(["mlops"]).refresh("30s").time("now-6h", "now")
    built = built.with_variable(dashboard.DatasourceVariable("source").type("prometheus"))
    built = built.with_variable(names.multi(True).include_all(True).all_value(".*"))
    for panel in board.panels:
        plot = timeseries.Panel().title(panel.title).unit(panel.unit).datasource(source).span(WIDTH).height(HEIGHT).min(0)
        for letter, (legend, expression) in zip("ABCD", panel.expressions.items(), strict=False):
            plot = plot.with_target(prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(letter))
        built = built.with_panel(plot)
    return JSONEncoder(sort_keys=True, indent=1).encode(built.build())
