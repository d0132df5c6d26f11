"""Reads of Dagster beyond its public API: the event log by partition, and the requests of an automation tick.

tests/graph/kernel/test_dagster_internals.py fails when an upgrade of Dagster changes one of them, and explains what to do.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from math import inf
from typing import Any, TypeVar, cast

import dagster as dg
from dagster_shared.record import replace  # pyright: ignore[reportUnknownVariableType]

DATA_VERSION = "dagster/data_version"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
T = TypeVar("T")
At = str | None  # a partition, or None for an asset without partitions
MADE, PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
# By instance and asset, the newest planned event with what it was read for; what the last call did not need is dropped.
_PLANNED: dict[tuple[str, dg.AssetKey], tuple[Any, dict[At, int]]] = {}
Newest = defaultdict[tuple[dg.AssetKey, dg.DagsterEventType], dict[At, int]]
# By instance and assets, the newest events up to an event, as long as the same assets have been wiped.
_NEWEST: dict[tuple[str, tuple[dg.AssetKey, ...]], tuple[Any, int, Newest]] = {}
# With Postgres, an event may become visible after those with a higher id, which were written at the same time.
OVERLAP = 100

# By instance and name: the newest event, and what was read after it.
_READ: dict[tuple[str, str], tuple[int, Any]] = {}


def newest_events(
    instance: dg.DagsterInstance, key: dg.AssetKey, kind: dg.DagsterEventType, *, partitioned: bool
) -> dict[At, int]:
    """The id of the newest event of each partition; of an asset without partitions, of the newest event alone."""
    log = instance.event_log_storage
    if partitioned:  # the public `fetch_materializations` reads whole events, page by page
        return {**log.get_latest_storage_id_by_partition(key, kind)}
    records = log.get_event_records(dg.EventRecordsFilter(event_type=kind, asset_key=key), limit=1)
    return {None: records[0].storage_id} if records else {}


def newest_partitioned(instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey]) -> Newest:
    """`newest_events` of both kinds of these assets, in three queries. Those up to the last call are remembered, until any of the
    assets is wiped: 9,000 partitions of nine assets take 0.6 s of CPU.
    """
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
    from sqlalchemy import func, select

    event, log = SqlEventLogStorageTable.c, cast(Any, instance.event_log_storage)
    place, last, details = (instance.root_directory, tuple(keys)), newest_event_id(instance) or 0, log._get_assets_details(keys)
    wiped, read_until, newest = _NEWEST.get(place, (None, 0, None))
    if newest is None or wiped != details or last < read_until:
        read_until, newest = 0, Newest(dict)
    columns = event.asset_key, event.dagster_event_type, event.partition
    of_keys = event.asset_key.in_([key.to_string() for key in keys]), event.dagster_event_type.in_([MADE.value, PLANNED.value])
    new = *of_keys, event.partition.is_not(None), event.id > read_until - OVERLAP
    not_wiped = log._add_assets_wipe_filter_to_query(select(*columns, func.max(event.id)).where(*new), details, keys)
    places = {(key.to_string(), kind.value): (key, kind) for key in keys for kind in (MADE, PLANNED)}
    with log.index_connection() as connection:
        for asset, kind, partition, number in connection.execute(not_wiped.group_by(*columns)).all():
            newest[places[asset, kind]][partition] = number
    _NEWEST[place] = details, last, newest
    return newest


def newest_unpartitioned(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey]
) -> dict[tuple[dg.AssetKey, dg.DagsterEventType], dict[At, int]]:
    """`newest_events` of both kinds of these assets, in one query, and two for each asset with an event since the last call."""
    newest: dict[tuple[dg.AssetKey, dg.DagsterEventType], dict[At, int]] = {}
    for entry in (record.asset_entry for record in instance.get_asset_records(keys)):
        key, made, place = entry.asset_key, entry.last_materialization_record, (instance.root_directory, entry.asset_key)
        newest[key, MADE] = {None: made.storage_id} if made else {}
        at = entry.last_run_id, newest[key, MADE]  # the run of the newest event of either kind, so that any event changes it
        if place not in _PLANNED or _PLANNED[place][0] != at:
            _PLANNED[place] = at, newest_events(instance, key, PLANNED, partitioned=False)
        newest[key, PLANNED] = _PLANNED[place][1]
    return newest


def data_versions(instance: dg.DagsterInstance, key: dg.AssetKey, *, partitioned: bool) -> dict[At, str]:
    """The newest reported data version of each partition; of an asset without partitions, of the newest event alone."""
    if not partitioned:
        event = instance.get_latest_materialization_event(key)
        version = (event.asset_materialization.tags or {}).get(DATA_VERSION) if event and event.asset_materialization else None
        return {None: version} if version else {}
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    tags = instance.event_log_storage.get_latest_tags_by_partition(key, kind, [DATA_VERSION])
    return {partition: of_partition[DATA_VERSION] for partition, of_partition in tags.items()}


def first_made(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, datetime]:
    """When each partition was materialized for the first time."""
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
    from sqlalchemy import func, select

    event = SqlEventLogStorageTable.c
    of_key = event.asset_key == key.to_string(), event.dagster_event_type == MADE.value, event.partition.is_not(None)
    with cast(Any, instance.event_log_storage).index_connection() as connection:
        rows = connection.execute(
            select(event.partition, func.min(event.timestamp)).where(*of_key).group_by(event.partition)
        ).all()
    return {partition: first.replace(tzinfo=UTC) for partition, first in rows}


def newest_observation(instance: dg.DagsterInstance, key: dg.AssetKey) -> dg.AssetObservation | None:
    records = instance.fetch_observations(key, limit=1).records
    return records[0].asset_observation if records else None


def newest_check(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> Any:
    """The record of the newest result of a check; None before the first."""
    return newest_checks(instance, [key]).get(key)


def newest_checks(instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]) -> dict[dg.AssetCheckKey, Any]:
    """`newest_check` of many, in one query, and one for each whose newest execution has no result, as it runs or has crashed."""
    from dagster._core.storage.asset_check_execution_record import COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES as ENDED

    log = instance.event_log_storage
    newest = log.get_latest_asset_check_execution_by_key(keys)
    running = {
        key: log.get_asset_check_execution_history(key, 1, status=ENDED) for key, one in newest.items() if one.status not in ENDED
    }
    return {key: record for key, one in newest.items() for record in running.get(key, [one])}


def passed_checks(instance: dg.DagsterInstance, key: dg.AssetCheckKey, limit: int) -> list[Any]:
    """The records of the newest executions of a check that passed, the newest first."""
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

    passed = {AssetCheckExecutionRecordStatus.SUCCEEDED}
    return [*instance.event_log_storage.get_asset_check_execution_history(key, limit=limit, status=passed)]


def next_cron_time(cron: str, now: datetime) -> datetime:
    """When a schedule in UTC ticks next."""
    from dagster._utils.schedules import cron_string_iterator

    return next(time for time in cron_string_iterator(now.timestamp(), cron, "UTC") if time > now)


def last_cron_time(cron: str, now: datetime) -> datetime:
    """When a schedule in UTC ticked last."""
    from dagster._utils.schedules import reverse_cron_string_iterator

    return next(time for time in reverse_cron_string_iterator(now.timestamp(), cron, "UTC") if time <= now)


def until_next_event(instance: dg.DagsterInstance, name: str, newest: int, read: Callable[[], T]) -> T:
    """What `read` returns, read once for each newest event."""
    place = instance.root_directory, name
    if place not in _READ or _READ[place][0] != newest:
        _READ[place] = newest, read()
    return _READ[place][1]


def is_requested(context: Any, key: dg.AssetKey) -> bool:
    """Whether any partition of an asset is requested in the tick that is being evaluated."""
    requested = context.request_subsets_by_key.get(key)
    return requested is not None and not requested.is_empty


def newest_event_id(instance: dg.DagsterInstance) -> int | None:
    """It grows with every event of an asset or a check, and whenever the status of a run changes."""
    return instance.event_log_storage.get_maximum_record_id()


def newest_by_asset(instance: dg.DagsterInstance, after: int) -> Iterator[tuple[dg.AssetKey | None, int]]:
    """The assets of the events after this one, each with the newest event; an event without an asset, such as the end of a run,
    is of all assets of its run, and of None where the run has none. Changes of freshness are no events.
    """
    from dagster._core.events.log import EventLogEntry
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
    from dagster._serdes import deserialize_value
    from sqlalchemy import func, select

    event, log = SqlEventLogStorageTable.c, cast(Any, instance.event_log_storage)
    new = event.id > after, event.dagster_event_type != dg.DagsterEventType.FRESHNESS_STATE_CHANGE.value
    newest = select(event.run_id, event.asset_key, func.max(event.id)).where(*new).group_by(event.run_id, event.asset_key)
    of_runs = select(event.run_id, event.asset_key).where(event.asset_key.is_not(None)).distinct()
    checks = select(event.id, event.event).where(*new, event.run_id == "", event.asset_key.is_(None))
    with log.index_connection() as connection:
        rows: list[tuple[str, str | None, int]] = connection.execute(newest).all()
        runs = {run: last for run, key, last in rows if not key}
        assets: list[tuple[str, str]] = connection.execute(of_runs.where(event.run_id.in_({*runs} - {""}))).all() if runs else []
        reported: list[tuple[int, str]] = connection.execute(checks).all() if "" in runs else []
    yield from ((dg.AssetKey.from_db_string(key), last) for _, key, last in rows if key)
    yield from ((dg.AssetKey.from_db_string(key), runs[run]) for run, key in assets)
    yield from ((None, runs[run]) for run in runs.keys() - {run for run, _ in assets} - {""})
    for last, body in reported:  # the result of a check that no run has written
        data: Any = deserialize_value(body, EventLogEntry).get_dagster_event().event_specific_data
        yield getattr(data, "asset_key", None), last


def stopped_sensors(instance: dg.DagsterInstance) -> set[str]:
    """The names of the sensors that somebody has stopped; an instance in memory has none."""
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.scheduler.instigation import InstigatorStatus

    if instance.schedule_storage is None:
        return set()
    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR, instigator_statuses={InstigatorStatus.STOPPED})
    return {state.instigator_name for state in states}


def oldest_tick(instance: dg.DagsterInstance, max_interval_s: float) -> float:
    """Since when each running sensor with at most this interval has evaluated: the start, in seconds of the epoch, of the newest
    completed tick of the one that is most behind. Infinite where the instance has no sensor.
    """
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.scheduler.instigation import InstigatorStatus, TickStatus

    def newest(state: Any) -> float:
        completed = [TickStatus.SKIPPED, TickStatus.SUCCESS]
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1, statuses=completed)
        return max((tick.timestamp for tick in ticks), default=0.0)

    if instance.schedule_storage is None:
        return inf
    states: Any = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    running = [state for state in states if state.status is not InstigatorStatus.STOPPED and state.instigator_data]
    return min((newest(one) for one in running if one.instigator_data.min_interval <= max_interval_s), default=inf)


def set_cursor(context: dg.SensorEvaluationContext, cursor: str | None) -> None:
    """Prepares a context for one more sensor: after `update_cursor`, the result of a sensor may have no cursor."""
    of_context: Any = context
    of_context._cursor, of_context._cursor_updated = cursor, False


def with_run_requests(evaluated: Any, requests: Sequence[dg.RunRequest], reason: str | None = None) -> Any:
    """The result of an automation tick with other run requests, or why there is none; its cursor and evaluations stay."""
    return replace(evaluated, run_requests=requests, skip_message=reason)


def requested_subset(request: dg.RunRequest) -> Any:
    """The assets and partitions of a request that would become a backfill; None for one that names its assets."""
    return request.asset_graph_subset


def keep_status_cache(instance: dg.DagsterInstance) -> None:
    """Lets conditions be evaluated without a write: Dagster stores which partitions are there as soon as it has counted them."""
    storage: Any = instance.event_log_storage
    storage.can_write_asset_status_cache = lambda: False


def forget_ticks_to_come(instance: dg.DagsterInstance, now: float) -> None:
    """Lets sensors tick again whose last tick is after `now`, for which Dagster would wait: the clock was set back since."""
    from dagster._core.definitions.run_request import InstigatorType

    if instance.schedule_storage is None:
        return
    states: Any = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    for state in (one for one in states if one.instigator_data):
        last = state.instigator_data.last_tick_timestamp, state.instigator_data.last_tick_start_timestamp
        if max(one or 0.0 for one in last) > now:
            anew = state.instigator_data._replace(last_tick_timestamp=None, last_tick_start_timestamp=None)
            instance.update_instigator_state(state.with_data(anew))
