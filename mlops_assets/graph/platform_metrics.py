"""The platform's metrics, from what `mlops status` reads: verdicts, freshness, runs, the ledger and the daemon."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.grains import calendar_of
from mlops_assets.foundation.home import Home
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.graph.failed_runs import find_failed_run
from mlops_assets.graph.history import THREADS, History, Servers, read_servers, readable_event_log
from mlops_assets.graph.kernel.check_verdict import read_verdicts
from mlops_assets.graph.landing import ALL_DELIVERED, ALL_READABLE
from mlops_assets.graph.operations import newest_heartbeat
from mlops_assets.graph.trainings import is_run_of, read_trainings
from mlops_assets.observability.metrics import Measure, Metric, measure
from mlops_assets.promotion.deployment import Plan
from mlops_assets.resources import Resources
from mlops_assets.spec.use_case import UseCase

DAY = timedelta(days=1)
MAX_RUNS = 5000  # of a day, which are read
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE)  # which are 0 without runs
NO_USE_CASE = "none"  # of a run: the label of one that several use cases share


def read_metrics(
    use_cases: Sequence[UseCase], home: Home, resources: Resources, *, not_loaded: Sequence[str], now: datetime
) -> list[Measure]:
    """Reads the ledger, the event log, the tables' logs and, all at once, what servers report; writes nothing."""
    with readable_event_log(home) as (instance, unreadable), ThreadPoolExecutor(THREADS) as threads:
        read = {one.name: threads.submit(read_servers, one, resources) for one in use_cases}
        history = History.read(instance, use_cases)
        measures = [*_of_platform(instance, home, not_loaded), measure(Metric.EVENT_LOG, not unreadable)]
        for use_case in use_cases:
            servers = read[use_case.name].result()
            measures += _of_servers(use_case.name, servers, now)
            measures += _of_tables(use_case, history, resources)
            measures += _of_monitors(use_case, history, now)
            measures += _of_failures(use_case, history, servers)
        return measures + ([*_of_runs(instance, use_cases, now)] if instance else [])


def _of_platform(instance: dg.DagsterInstance | None, home: Home, not_loaded: Sequence[str]) -> Iterator[Measure]:
    disk = shutil.disk_usage(home.root)
    yield measure(Metric.DISK_FREE, disk.free)
    yield measure(Metric.DISK_SIZE, disk.total)
    yield measure(Metric.NOT_LOADED, len(not_loaded))
    if instance:
        at = newest_heartbeat(instance)
        yield measure(Metric.HEARTBEAT, at.timestamp() if at else 0)


def _of_servers(use_case: str, servers: Servers, now: datetime) -> Iterator[Measure]:
    yield measure(Metric.SERVERS, len(servers.served), use_case=use_case)
    yield measure(Metric.AGREES, not servers.difference, use_case=use_case)
    yield measure(Metric.HELD, bool(servers.state.held_up(now)), use_case=use_case)
    if plan := servers.state.plan:
        yield measure(Metric.SERVING, sum(one.in_force for one in servers.served), use_case=use_case)
        yield measure(Metric.SINCE, datetime.fromisoformat(plan.at).timestamp(), use_case=use_case)
        yield from _shares(use_case, plan)


def _shares(use_case: str, plan: Plan) -> Iterator[Measure]:
    shares = {"champion": 1 - plan.share, "challenger": plan.share, "shadow": 0.0}
    for role, share in shares.items():
        version: int | None = getattr(plan, role)
        if version is not None:
            yield measure(Metric.SHARE, share, use_case=use_case, role=role, version=str(version))


def _of_tables(use_case: UseCase, history: History, resources: Resources) -> Iterator[Measure]:
    from mlops_assets.foundation.delta_tables import OtherGrain

    tables = resources["warehouse"].open()
    for source in use_case.sources:
        labels = {"use_case": use_case.name, "table": source.table}
        if at := history.accepted_at.get((use_case.name, source.table)):
            yield measure(Metric.ACCEPTED, at, **labels)
        landing = dg.AssetKey(names.landing(use_case.name, source.table))
        for metric, check in {Metric.LATE: ALL_DELIVERED, Metric.UNREADABLE: ALL_READABLE}.items():
            if record := history.checks.get(dg.AssetCheckKey(landing, check)):
                yield measure(metric, not record.event.asset_check_evaluation.passed, **labels)
        calendar = calendar_of(source.grain)
        try:
            partitions = tables.partitions(names.validated(use_case.name, source.table), calendar) if calendar.cron else ()
        except OtherGrain:  # which `mlops status` and the check of the landed files report
            continue
        if partitions:
            yield measure(Metric.NEWEST, calendar.end(max(partitions)).timestamp(), **labels)


def _of_monitors(use_case: UseCase, history: History, now: datetime) -> Iterator[Measure]:
    """A monitor that has never judged has no verdict and is none of them."""
    for stage, monitor, verdict in read_verdicts(use_case, history.checks, now=now):
        labels = {"use_case": use_case.name, "monitor": stage}
        for one in Verdict:
            yield measure(Metric.VERDICT, verdict is not None and verdict.verdict is one, **labels, verdict=str(one))
        failed = verdict is not None and verdict.is_failure(monitor, now=now)
        yield measure(Metric.SILENT, failed and verdict is not None and verdict.verdict is not Verdict.ALARM, **labels)
    for stage, figures in _figures(use_case, history.instance).items():
        for name, value in figures.items():
            yield measure(Metric.FIGURE, value, use_case=use_case.name, monitor=stage, figure=name)


def _figures(use_case: UseCase, instance: dg.DagsterInstance | None) -> Mapping[str, Mapping[str, float]]:
    """The numbers among the metadata of each monitor's newest look, as the asset's page shows them."""
    if instance is None:
        return {}
    stages = {dg.AssetKey(names.stage(use_case.name, stage)): stage for stage in use_case.monitor_stages}
    entries = [record.asset_entry for record in instance.get_asset_records([*stages])]
    made = {stages[entry.asset_key]: entry.last_materialization for entry in entries}
    looks = {stage: event.asset_materialization for stage, event in made.items() if event}
    return {stage: _numbers(look.metadata) for stage, look in looks.items() if look}


def _numbers(metadata: Mapping[str, Any]) -> dict[str, float]:
    values = {name: entry.value for name, entry in metadata.items()}
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float) and "/" not in name}


def _of_failures(use_case: UseCase, history: History, servers: Servers) -> Iterator[Measure]:
    if instance := history.instance:
        failure = read_trainings(use_case, instance, servers.state).failure
        yield measure(Metric.TRAINING_FAILED, bool(failure), use_case=use_case.name)
        failed = find_failed_run(use_case.name, instance, history.failed)
        yield measure(Metric.RUN_FAILED, failed is not None, use_case=use_case.name)


def _of_runs(instance: dg.DagsterInstance, use_cases: Sequence[UseCase], now: datetime) -> Iterator[Measure]:
    records = instance.get_run_records(dg.RunsFilter(created_after=now - DAY), limit=MAX_RUNS)
    counts = {(one.name, status): 0 for one in use_cases for status in ENDED}
    seconds = dict.fromkeys((one.name for one in use_cases), 0.0)
    for record in records:
        run = record.dagster_run
        name = next((one.name for one in use_cases if is_run_of(one.name, run)), NO_USE_CASE)
        key = (name, run.status)
        counts[key] = counts.get(key, 0) + 1
        if record.start_time:
            seconds[name] = seconds.get(name, 0.0) + (record.end_time or now.timestamp()) - record.start_time
    for (name, status), count in counts.items():
        yield measure(Metric.RUNS, count, use_case=name, status=status.value.lower())
    for name, value in seconds.items():
        yield measure(Metric.RUN_SECONDS, value, use_case=name)
