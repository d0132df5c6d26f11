"""When an asset materializes by itself: level-triggered on what its last materialization was made from.

Belongs here: our one condition and the cascades built from it. Not here: sensors (graph/triggers.py).
Why not `AutomationCondition.eager()`: an upstream update that falls in the tick in which the request is handled is
dropped for good (dagster-io/dagster#24650, #33586). The event log tells when a run was planned, which is before it read
anything; a parent's event after that, from another run, was not read for certain.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.definitions.events import AssetKeyPartitionKey

AC = dg.AutomationCondition
MADE, PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
At = str | None  # a partition, or None for an asset without partitions
UNFINISHED = [status for status in dg.DagsterRunStatus if status.name not in ("SUCCESS", "FAILURE", "CANCELED")]
# The run of an event never changes, so it is asked for once: (instance, event id) -> run id.
RUN_OF: dict[tuple[str, int], str] = {}


class InputsStale(dg.AutomationCondition[dg.AssetKey]):
    """True for partitions that are missing, or made by a run that cannot have read the newest event of a parent."""

    @property
    def name(self) -> str:
        return "inputs_stale"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        log = _Log(context.asset_graph_view.instance)
        made, planned = log.newest(context.key, MADE), log.newest(context.key, PLANNED)
        # Planned again and not made: that run has failed, was cancelled or still runs; the other conditions tell which.
        unfinished = [at for at in made if planned.get(at, 0) > made[at]]
        stale = _subset(context, context.key, unfinished)
        for parent in context.asset_graph_view.asset_graph.get(context.key).parent_keys:
            stale = stale.compute_union(_behind(context, log, parent, made, planned))
        missing = context.candidate_subset.compute_difference(_subset(context, context.key, made))
        return dg.AutomationResult(context, context.candidate_subset.compute_intersection(stale.compute_union(missing)))


class Quiet(dg.AutomationCondition[dg.AssetKey]):
    """True while no unfinished run touches the asset or a parent, whatever its partitions.

    Dagster's own `in_progress()` looks at single partitions, and those of a long run end one by one: what was missing
    when one condition looked is made when the next one looks, and is asked for again.
    """

    @property
    def name(self) -> str:
        return "quiet"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        view = context.asset_graph_view
        near = {context.key, *view.asset_graph.get(context.key).parent_keys}
        runs = view.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        touched = any(near & (run.asset_selection or set()) for run in runs)
        return dg.AutomationResult(context, context.get_empty_subset() if touched else context.candidate_subset)


@dataclass(frozen=True)
class _Log:
    """The event log, by partition."""

    instance: dg.DagsterInstance

    def newest(self, key: dg.AssetKey, kind: dg.DagsterEventType) -> dict[At, int]:
        found: dict[At, int] = {**self.instance.event_log_storage.get_latest_storage_id_by_partition(key, kind)}
        return found or self._unpartitioned(key, kind)

    def runs(self, key: dg.AssetKey, events: Iterable[int]) -> dict[int, str]:
        place = self.instance.root_directory
        unknown = [event for event in events if (place, event) not in RUN_OF]
        if unknown:
            asked = dg.EventRecordsFilter(event_type=MADE, asset_key=key, storage_ids=unknown)
            for record in self.instance.event_log_storage.get_event_records(asked):
                RUN_OF[place, record.storage_id] = record.run_id
        return {event: RUN_OF[place, event] for event in events}

    def _unpartitioned(self, key: dg.AssetKey, kind: dg.DagsterEventType) -> dict[At, int]:
        asked = dg.EventRecordsFilter(event_type=kind, asset_key=key)
        records = self.instance.event_log_storage.get_event_records(asked, limit=1)
        return {None: records[0].storage_id} if records else {}


def _behind(context: Any, log: _Log, parent: dg.AssetKey, made: Mapping[At, int], planned: Mapping[At, int]) -> Any:
    """The partitions whose run was planned before an event of `parent` that another run wrote."""
    events = log.newest(parent, MADE)
    run_of = log.runs(context.key, made.values()) | log.runs(parent, events.values())
    by_run: defaultdict[str, list[At]] = defaultdict(list)
    for at, event in made.items():
        by_run[run_of[event]].append(at)
    behind = context.get_empty_subset()
    for run, partitions in by_run.items():
        began = min(planned.get(at, made[at]) for at in partitions)
        newer = _subset(context, parent, [at for at, event in events.items() if event > began and run_of[event] != run])
        if not newer.is_empty:
            reached = newer.compute_child_subset(context.key)
            behind = behind.compute_union(reached.compute_intersection(_subset(context, context.key, partitions)))
    return behind


def _subset(context: Any, key: dg.AssetKey, partitions: Iterable[At]) -> Any:
    view, keys = context.asset_graph_view, set(partitions)
    definition = view.asset_graph.get(key).partitions_def
    if definition is None:
        return view.get_full_subset(key=key) if keys else view.get_empty_subset(key=key)
    legal = keys & set(definition.get_partition_keys())
    return view.get_asset_subset_from_asset_partitions(key, {AssetKeyPartitionKey(key, at) for at in legal})


# A failed run is not tried again until a parent has changed, so that a broken delivery does not start a storm of runs.
RETRY_WORTHWHILE = ~AC.execution_failed() | AC.any_deps_match(AC.newly_updated())
# `all_deps_blocking_checks_passed()` never holds for partitioned parents that are about to run: their inline checks have no
# partitions. A parent that runs again takes its checks along, and a failed one stops the run.
GATES_HOLD = ~AC.any_deps_match(AC.any_checks_match(AC.check_failed(), blocking_only=True) & ~AC.will_be_requested())
# Quiet stands first: a run that ends while the others look has then already written everything that they see.
CASCADE = (
    Quiet()
    & ((InputsStale() & RETRY_WORTHWHILE) | AC.any_deps_match(AC.will_be_requested()))
    & ~AC.any_deps_missing()
    & GATES_HOLD
)
# Assets that read every day landed so far cannot wait for the days that have not landed yet.
LOOK_BACK_CASCADE = (
    Quiet()
    & ((InputsStale() & RETRY_WORTHWHILE) | AC.any_deps_match(AC.will_be_requested()))
    & AC.all_deps_match(~AC.missing() | AC.will_be_requested())
    & GATES_HOLD
)
