"""Reports landed files to the event log, with alarms about entries that cannot be read and files that do not come."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import Partition
from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.grains import calendar_of, declared_partitions
from mlops_assets.foundation.wording import counted, some
from mlops_assets.graph.kernel.assets import asset_check
from mlops_assets.graph.kernel.changes import read_changes
from mlops_assets.graph.kernel.dagster_internals import (
    DATA_VERSION,
    MADE,
    data_versions,
    newest_check,
    newest_events,
    newest_observation,
    until_next_event,
)
from mlops_assets.graph.kernel.shared_sensors import MAX_EVENTS, shared_sensor
from mlops_assets.ingestion.due import missing_partitions
from mlops_assets.resources import LandingResource, WarehouseResource
from mlops_assets.spec.source import Files
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.foundation.delta_tables import DeltaTables
    from mlops_assets.ingestion.landing import Landed, Landing
    from mlops_assets.ingestion.misplaced import Misplaced

ALL_READABLE, ALL_DELIVERED = "landed_entries_readable", "due_files_landed"
COMPLETED = "mlops/delivery_completed"  # the tag of an observation: the time of the file that says so, in nanoseconds
SHOWN_UNREAD = 3
SOUND = {ALL_READABLE: "Every entry can be read.", ALL_DELIVERED: "Every file that is due has landed."}
MAX_FAULTS = 20


def landing_sensor(use_case: UseCase) -> dg.SensorDefinition:
    @shared_sensor(
        use_case, "landing", description="Reports every file that has landed or changed; the automation sensor requests the runs."
    )
    def report(
        context: dg.SensorEvaluationContext, landing: LandingResource, warehouse: WarehouseResource
    ) -> dg.SensorResult | dg.SkipReason:
        from mlops_assets.ingestion.delivery import completed_at

        port, tables, instance = landing.open(), warehouse.open(), context.instance
        newest = read_changes(instance).newest(use_case.name).event
        misplaced = [*read_misplaced(use_case, port.root)]
        events, alarms = list[dg.AssetMaterialization](), list[dg.AssetCheckEvaluation]()
        completed = completed_at(port.root, use_case.name)  # before the files are read, as others may land meanwhile
        for source in use_case.sources:
            landed = scan_landed(use_case, source, port, tables, fetches=True)
            table = names.job(use_case.name, source.table)
            reported, results = until_next_event(instance, table, newest, partial(_reported, instance, use_case.name, source))
            events += _landed(reported, landed.digests, use_case.name, source)
            problems = _find_problems(use_case, source, landed, misplaced)
            alarms += _changed_alarms(results, problems, dg.AssetKey(names.landing(use_case.name, source.table)))
        whole = until_next_event(instance, names.job(use_case.name, "whole"), newest, partial(_newest_whole, instance, use_case))
        ended = [*_whole(use_case, port.root, completed)] if completed != whole and len(events) <= MAX_EVENTS else []
        if not events and not alarms and not ended:
            return dg.SkipReason("No file has landed or changed since the last report.")
        oldest_first = sorted(events, key=lambda event: event.partition or "")[:MAX_EVENTS]
        return dg.SensorResult(asset_events=[*alarms, *oldest_first, *ended])

    return report


def _newest_whole(instance: dg.DagsterInstance, use_case: UseCase) -> int:
    newest = newest_observation(instance, _first_table(use_case))
    return int((newest.tags or {}).get(COMPLETED, 0)) if newest else 0


def _whole(use_case: UseCase, landing: Path, at: int) -> Iterator[dg.AssetObservation]:
    """That the delivery which ended at a moment is whole, where no file has landed since."""
    from mlops_assets.ingestion.delivery import has_changed

    if not has_changed(landing, use_case.name, [source.table for source in use_case.sources], at):
        whole = "Every file of a delivery has landed."
        yield dg.AssetObservation(_first_table(use_case), description=whole, tags={COMPLETED: str(at)})


def _first_table(use_case: UseCase) -> dg.AssetKey:
    return dg.AssetKey(names.landing(use_case.name, use_case.sources[0].table))


def landing_check_keys(use_case: UseCase) -> list[dg.AssetCheckKey]:
    tables = [dg.AssetKey(names.landing(use_case.name, source.table)) for source in use_case.sources]
    return [dg.AssetCheckKey(table, name) for table in tables for name in SOUND]


def landed_checks(use_case: UseCase) -> list[dg.AssetChecksDefinition]:
    rules = {
        ALL_READABLE: "Every entry that looks like a delivery is a readable file of a declared time, in the folder of its table; "
        "none that was read is gone.",
        ALL_DELIVERED: f"Every file has landed that is due: by {in_words(use_case.freshness.raw)} after its end.",
    }
    return [_check(use_case, source, name, rule) for source in use_case.sources for name, rule in rules.items()]


def _check(use_case: UseCase, source: Files, name: str, rule: str) -> dg.AssetChecksDefinition:
    @asset_check(asset=names.landing(use_case.name, source.table), name=name, description=rule)
    def landed(landing: LandingResource, warehouse: WarehouseResource) -> dg.AssetCheckResult:
        port = landing.open()
        entries = scan_landed(use_case, source, port, warehouse.open(), fetches=True)
        problem = _find_problems(use_case, source, entries, read_misplaced(use_case, port.root))[name]
        return dg.AssetCheckResult(passed=not problem, description=problem or SOUND[name])

    return landed


def _find_problems(use_case: UseCase, source: Files, landed: "Landed", misplaced: "Iterable[Misplaced]") -> dict[str, str]:
    """By the name of a check; empty where it passes."""
    unread = _describe(landed.faults, misplaced, source.table)
    missing = describe_missing(use_case, source, landed.digests, now=datetime.now(UTC))
    return {ALL_READABLE: unread, ALL_DELIVERED: missing}


def scan_landed(
    use_case: UseCase, source: Files, landing: "Landing", tables: "DeltaTables", *, fetches: bool = False
) -> "Landed":
    """The entries of one table's folder; a file outside the declared days is a fault, and so is a deleted one that was read.
    `fetches`: those of another address are copied into it first.
    """
    from mlops_assets.foundation.delta_tables import OtherGrain
    from mlops_assets.ingestion.landed_file import DELETED
    from mlops_assets.ingestion.landing import Landed
    from mlops_assets.ingestion.remote_files import fetch

    calendar, suffix, files = calendar_of(source.grain), source.form.SUFFIX, landing.of(source.form)
    try:
        stored = tables.partitions(names.raw(use_case.name, source.table), calendar)
    except OtherGrain as error:
        return Landed({}, {"*": str(error).partition(" · ")[2].removesuffix(".")})
    unfetched = fetch(source, files, use_case.name, copies=fetches)
    landed = files.scan(use_case.name, source.table, calendar=calendar, max_bytes=source.max_bytes)
    first, last = declared_partitions(use_case, calendar)

    def is_declared(partition: Partition) -> bool:
        return (first is None or first <= partition) and (last is None or partition <= last)

    digests = {key: digest for key, digest in landed.digests.items() if is_declared(calendar.parse(key))}
    legal = f"the declared days are {use_case.first_day} to {use_case.last_day or 'today'}. Correct the name or the declaration"
    deleted = {f"{key}{suffix}": DELETED for key in {*map(calendar.key, filter(is_declared, stored))} - landed.digests.keys()}
    outside = {f"{key}{suffix}": f"it is not read: {legal}" for key in landed.digests.keys() - digests.keys()}
    return landed._replace(digests=digests, faults=unfetched | deleted | landed.faults | outside)


def read_misplaced(use_case: UseCase, landing: Path) -> "Iterator[Misplaced]":
    """The entries of the landing folder that this use case probably was to read."""
    from mlops_assets.ingestion.misplaced import find_misplaced
    from mlops_assets.use_cases import USE_CASES

    return find_misplaced(use_case, landing, {use_case.name, *(one.name for one in USE_CASES)})


def _describe(faults: Mapping[str, str], misplaced: "Iterable[Misplaced]", table: str) -> str:
    """Empty where there is no fault."""
    sentences = [*describe_faults(faults, table), *(f"{one.sentence}." for one in misplaced if one.table == table)]
    more = [f"{len(sentences) - MAX_FAULTS} more."] if len(sentences) > MAX_FAULTS else []
    return " ".join([*sentences[:MAX_FAULTS], *more])


def describe_faults(faults: Mapping[str, str], table: str) -> Iterator[str]:
    """A sentence for each fault, however many entries have it."""
    entries: dict[str, list[str]] = {}
    for name, fault in sorted(faults.items()):
        entries.setdefault(fault, []).append(name)
    for fault, (first, *others) in entries.items():
        yield f"{table}/{first}{f' and {len(others)} more' * bool(others)} · {fault}."


def describe_missing(use_case: UseCase, source: Files, landed: Collection[str], *, now: datetime) -> str:
    """The due files of a table that have not landed, and what to do; empty without any."""
    missing = missing_partitions(use_case, source, landed, now=now)
    if not missing:
        return ""
    shown = f"{', '.join(missing[:MAX_FAULTS])}{f' and {len(missing) - MAX_FAULTS} more' * (len(missing) > MAX_FAULTS)}"
    remedy = f"Deliver them, or, where nothing is to come, `mlops waive {use_case.name} {source.table} {missing[0]} --why …`."
    ended = _describe_open_end(use_case, source, landed, missing)
    return f"{source.table} · no file has landed for {shown}, and what looks back on them waits. {remedy}{ended}"


def _describe_open_end(use_case: UseCase, source: Files, landed: Collection[str], missing: Collection[str]) -> str:
    """Empty where a few files are late, or where the declaration says which day is the last."""
    calendar = calendar_of(source.grain)
    newest = max(map(calendar.parse, landed))
    late = sum(calendar.parse(key) > newest for key in missing)
    if use_case.last_day is not None or late <= MAX_FAULTS:
        return ""
    last_day = calendar.known_at(newest).astimezone(calendar.zone).date()
    found = f"{late:,} of them are after the newest file, as without a last_day every {calendar.noun} up to now is due"
    return f" {found}. Where no more come, declare last_day=date{last_day.timetuple()[:3]}."


def has_landed(use_case: UseCase, landing: Path) -> bool:
    """Whether the folder of any table has an entry: without one, no library that reads tables needs to be loaded."""
    return any(next((landing / use_case.name / source.table).glob("*"), None) for source in use_case.sources)


def describe_unread(
    use_case: UseCase, instance: dg.DagsterInstance, landing: "Landing", tables: "DeltaTables", *, fetches: bool = False
) -> Iterator[str]:
    """A sentence for each table of which files have landed, or changed, since the landing sensor last looked."""
    for source in use_case.sources:
        digests = scan_landed(use_case, source, landing, tables, fetches=fetches).digests
        key, has_partitions = dg.AssetKey(names.landing(use_case.name, source.table)), bool(calendar_of(source.grain).cron)
        unread = _landed(data_versions(instance, key, partitioned=has_partitions), digests, use_case.name, source)
        if unread:
            partitions = sorted(filter(None, (event.partition for event in unread)))
            which = f" ({some(partitions, SHOWN_UNREAD)})" if partitions else ""
            has = f"{counted(len(unread), 'landed file')}{which} {'has' if len(unread) == 1 else 'have'}"
            yield f"{source.table} · {has} not been read yet. A running platform reads them within seconds: `mlops up`."


def is_raw_behind(use_case: UseCase, instance: dg.DagsterInstance) -> bool:
    """Whether a landed file has been reported, and its table has not been made since then."""

    def newest(key: names.AssetPath) -> int:
        return newest_events(instance, dg.AssetKey(key), MADE, partitioned=False).get(None, 0)

    tables = [source.table for source in use_case.sources]
    return any(newest(names.landing(use_case.name, one)) > newest(names.raw(use_case.name, one)) for one in tables)


def _reported(instance: dg.DagsterInstance, use_case: str, source: Files) -> tuple[dict[str | None, str], dict[str, Any]]:
    """What the event log has of a table's files: the digest of each, and the newest results of their checks."""
    asset = dg.AssetKey(names.landing(use_case, source.table))
    records = {name: newest_check(instance, dg.AssetCheckKey(asset, name)) for name in SOUND}
    results = {name: one.event.asset_check_evaluation for name, one in records.items() if one and one.event}
    return data_versions(instance, asset, partitioned=bool(calendar_of(source.grain).cron)), results


def _changed_alarms(
    reported: Mapping[str, Any], problems: Mapping[str, str], key: dg.AssetKey
) -> Iterator[dg.AssetCheckEvaluation]:
    """The results of a table's checks that are not the newest ones in the event log; a first one that passes is none."""
    for name, problem in problems.items():
        before, description = reported.get(name), problem or SOUND[name]
        if before.description != description if before else problem:
            yield dg.AssetCheckEvaluation(key, name, passed=not problem, description=description)


def _landed(
    reported: Mapping[str | None, str], digests: Mapping[str, str], use_case: str, source: Files
) -> list[dg.AssetMaterialization]:
    """Files whose content differs from the last report, which is read from the event log: a report cannot be lost."""
    asset, has_partitions = dg.AssetKey(names.landing(use_case, source.table)), bool(calendar_of(source.grain).cron)
    at = {key: key if has_partitions else None for key in digests}
    return [
        dg.AssetMaterialization(asset, partition=at[key], tags={DATA_VERSION: digest})
        for key, digest in digests.items()
        if reported.get(at[key]) != digest
    ]
