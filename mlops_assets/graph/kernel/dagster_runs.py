"""What the event log has about the runs that made an asset, or were to make it: their begin, their code, and how they ended.

tests/graph/kernel/test_dagster_internals.py fails when an upgrade of Dagster changes what this builds on.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from typing import Any, NamedTuple, Self, cast

import dagster as dg

from mlops_assets.graph.kernel.dagster_internals import MADE, PLANNED, At, newest_events
from mlops_assets.graph.kernel.lasting_failures import CORRECTED, is_of_every_partition, mistake_in, tag_of
from mlops_assets.spec.code_version import is_outdated

CODE_VERSION = re.compile(r'"dagster/code_version": "([^"]+)"')  # a tag in the text of an event
MAX_VARIABLES = 10_000  # of a query: SQLite has 32,766
# What never changes is read once, and what the last call did not need is dropped: by instance, asset and kind of event, the run
# of an event; by instance and asset, of each run its first event, its code, and when it failed.
_RUN_OF: dict[tuple[str, dg.AssetKey, dg.DagsterEventType], dict[int, str]] = {}
_BEGAN: dict[tuple[str, dg.AssetKey], dict[str, int]] = {}
_CODE: dict[tuple[str, dg.AssetKey], dict[str, str | None]] = {}
_FAILED: dict[tuple[str, dg.AssetKey], dict[str, "FailedRun | None"]] = {}


class FailedRun(NamedTuple):
    """When it ended, and for an asset whose failure in it lasts, the version of the code that has failed, and whether every
    partition fails so. `has_parts`: a part of its partitions may be made where all were not.
    """

    end: float
    mistake: str | None
    is_of_every_partition: bool
    has_parts: bool

    @classmethod
    def of(cls, record: dg.RunRecord, key: dg.AssetKey) -> Self:
        tags = record.dagster_run.tags
        mistake, is_of_every = mistake_in(key, tags), is_of_every_partition(tags, key)
        return cls(record.end_time or 0.0, mistake, is_of_every, not is_of_every_partition(tags))


def runs_of(
    instance: dg.DagsterInstance, key: dg.AssetKey, events: Iterable[int], kind: dg.DagsterEventType = MADE
) -> dict[int, str]:
    """The run that wrote each of these events of `key`."""
    known, ids = _RUN_OF.get(place := (instance.root_directory, key, kind), {}), set(events)
    if unknown := [event for event in ids if event not in known]:
        known = known | _read_runs(instance, unknown)
    _RUN_OF[place] = {event: known[event] for event in ids}
    return _RUN_OF[place]


def _read_runs(instance: dg.DagsterInstance, events: Sequence[int]) -> dict[int, str]:
    """Not as whole records, each of which takes 1 ms."""
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
    from sqlalchemy import select

    event, runs = SqlEventLogStorageTable.c, dict[int, str]()
    with cast(Any, instance.event_log_storage).index_connection() as connection:
        for at in range(0, len(events), MAX_VARIABLES):
            of_part = select(event.id, event.run_id).where(event.id.in_(events[at : at + MAX_VARIABLES]))
            runs |= dict(connection.execute(of_part).all())
    return runs


def begins_of(instance: dg.DagsterInstance, key: dg.AssetKey, runs: Iterable[str]) -> dict[str, int]:
    """The event that planned `key` in each of these runs, before any of them had read anything; none of what no run has made."""
    known, ids = _BEGAN.get(place := (instance.root_directory, key), {}), set(runs)
    if unknown := [run for run in ids if run not in known]:
        known = known | _read_begins(instance, key, unknown)
    _BEGAN[place] = {run: known[run] for run in ids & known.keys()}
    return _BEGAN[place]


def _read_begins(instance: dg.DagsterInstance, key: dg.AssetKey, runs: Sequence[str]) -> dict[str, int]:
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
    from sqlalchemy import func, select

    event, begins = SqlEventLogStorageTable.c, dict[str, int]()
    planned = event.asset_key == key.to_string(), event.dagster_event_type == PLANNED.value
    query = select(event.run_id, func.min(event.id)).where(*planned).group_by(event.run_id)
    with cast(Any, instance.event_log_storage).index_connection() as connection:
        for at in range(0, len(runs), MAX_VARIABLES):
            begins |= dict(connection.execute(query.where(event.run_id.in_(runs[at : at + MAX_VARIABLES]))).all())
    return begins


def codes_of(instance: dg.DagsterInstance, key: dg.AssetKey, run_of: Mapping[int, str]) -> dict[str, str | None]:
    """By which version of its code each run has made `key`; `run_of` has the run of each event. None where it is not recorded."""
    known, runs = _CODE.get(place := (instance.root_directory, key), {}), {run: event for event, run in run_of.items()}
    if unknown := {run: event for run, event in runs.items() if run not in known}:
        recorded = _read_codes(instance, [*unknown.values()])
        known = known | {run: recorded.get(event) for run, event in unknown.items()}
    _CODE[place] = {run: known[run] for run in runs}
    return _CODE[place]


def is_made_by_other_code(instance: dg.DagsterInstance, key: dg.AssetKey, code: str | None, *, partitioned: bool) -> bool:
    """Whether any of its partitions is."""
    made = newest_events(instance, key, MADE, partitioned=partitioned)
    codes = codes_of(instance, key, runs_of(instance, key, made.values()))
    return any(is_outdated(recorded, code) for recorded in codes.values())


def _read_codes(instance: dg.DagsterInstance, events: Sequence[int]) -> dict[int, str]:
    """From the text of the events, as a whole record takes 1 ms. Dagster's index of tags has data versions alone."""
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
    from sqlalchemy import select

    event, codes = SqlEventLogStorageTable.c, dict[int, str]()
    with cast(Any, instance.event_log_storage).index_connection() as connection:
        for at in range(0, len(events), MAX_VARIABLES):
            of_part = select(event.id, event.event).where(event.id.in_(events[at : at + MAX_VARIABLES]))
            codes |= {number: match[1] for number, text in connection.execute(of_part) if (match := CODE_VERSION.search(text))}
    return codes


def assets_of(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> set[dg.AssetKey]:
    """What these runs make. The run of a whole job has no selection: its assets are those that it has planned."""
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
    from sqlalchemy import select

    runs = [*runs]
    selected = {key for run in runs for key in run.asset_selection or ()}
    if not (whole := [run.run_id for run in runs if not run.asset_selection]):
        return selected
    event = SqlEventLogStorageTable.c
    query = select(event.asset_key).where(event.run_id.in_(whole), event.dagster_event_type == PLANNED.value).distinct()
    with cast(Any, instance.event_log_storage).index_connection() as connection:
        planned = connection.execute(query).scalars().all()
    return selected | {key for one in planned if (key := dg.AssetKey.from_db_string(one))}


def failed_runs(instance: dg.DagsterInstance, key: dg.AssetKey, runs: Iterable[str]) -> dict[str, FailedRun]:
    """Those of the finished runs of `key` that failed or were canceled."""
    known, ids = _FAILED.get(place := (instance.root_directory, key), {}), set(runs)
    if unknown := [run for run in ids if run not in known]:
        filter_ = dg.RunsFilter(run_ids=unknown, statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
        failed = {record.dagster_run.run_id: FailedRun.of(record, key) for record in instance.get_run_records(filter_)}
        known = known | {run: failed.get(run) for run in unknown}
    _FAILED[place] = {run: known[run] for run in ids}
    return {run: failed for run in ids if (failed := known[run]) is not None}


def record_correction(instance: dg.DagsterInstance, use_case: str) -> None:
    """What mistakes have ended in a use case is tried again at the next look, as after a change of its code. For a correction
    that is no event of a table, such as a migration.
    """
    tags = [tag_of(key) for key in instance.get_asset_keys(prefix=[use_case])]
    recorded: Any = instance.get_run_tags(tag_keys=tags) if tags else []
    for tag, codes in recorded:
        for run in instance.get_runs(dg.RunsFilter(tags={tag: [*codes]})):
            instance.add_run_tags(run.run_id, {tag: CORRECTED})
    _FAILED.clear()


def failing_since(instance: dg.DagsterInstance, key: dg.AssetKey, partition: At, made: int) -> float:
    """When the first run of a partition was planned after the event that has made it last, which is 0 where none has."""
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
    from sqlalchemy import func, select

    event = SqlEventLogStorageTable.c
    of_key = event.asset_key == key.to_string(), event.dagster_event_type == PLANNED.value
    # The event of an asset without partitions has that of its run.
    of_partition = () if partition is None else (event.partition == partition,)
    query = select(func.min(event.timestamp)).where(*of_key, *of_partition, event.id > made)
    with cast(Any, instance.event_log_storage).index_connection() as connection:
        return connection.execute(query).scalar_one().replace(tzinfo=UTC).timestamp()
