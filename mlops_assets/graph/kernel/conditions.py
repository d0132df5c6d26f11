"""When an asset materializes by itself: level-triggered conditions on what its last materialization was made from."""

# Not `AutomationCondition.eager()`: an upstream update in the same tick in which the request is handled is dropped for good
# (dagster-io/dagster#24650, #33586). The event log records when a run was planned, which is before the run reads anything;
# a later event of a parent from another run may not have been read.

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg

from mlops_assets.graph.kernel.dagster_internals import At, is_requested, newest_events, runs_of

AC = dg.AutomationCondition
MADE, PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
UNFINISHED = [status for status in dg.DagsterRunStatus if status.name not in ("SUCCESS", "FAILURE", "CANCELED")]
# The daemon reports the files of a delivery in 17 ms each.
SETTLE = timedelta(seconds=1)


class InputsStale(dg.AutomationCondition[dg.AssetKey]):
    """True for partitions that are missing, or made by a run that cannot have read the newest event of a parent."""

    @property
    def name(self) -> str:
        return "inputs_stale"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        if context.candidate_subset.is_empty:  # while a run is near; reading the events takes half of a tick's CPU time
            return dg.AutomationResult(context, context.candidate_subset)
        made, planned = (_newest_events(context, context.key, kind) for kind in (MADE, PLANNED))
        # Planned again and not made: that run has failed, was cancelled or still runs; the other conditions know which.
        unfinished = [at for at in made if planned.get(at, 0) > made[at]]
        stale = _subset(context, context.key, unfinished)
        for parent in context.asset_graph_view.asset_graph.get(context.key).parent_keys:
            stale = stale.compute_union(_behind(context, parent, made, planned))
        missing = context.candidate_subset.compute_difference(_subset(context, context.key, made))
        return dg.AutomationResult(context, context.candidate_subset.compute_intersection(stale.compute_union(missing)))


class Quiet(dg.AutomationCondition[dg.AssetKey]):
    """True while no unfinished run touches the asset or a parent, whatever its partitions."""

    # Dagster's own `in_progress()` looks at single partitions, and those of a long run end one by one: a partition that was
    # missing for one condition exists for the next one, and would be requested again.

    @property
    def name(self) -> str:
        return "quiet"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        view = context.asset_graph_view
        near = {context.key, *view.asset_graph.get(context.key).parent_keys}
        runs = view.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        touched = any(near & (run.asset_selection or set()) for run in runs)
        return dg.AutomationResult(context, context.get_empty_subset() if touched else context.candidate_subset)


class ParentsRequested(dg.AutomationCondition[dg.AssetKey]):
    """True for an asset without partitions, all of whose parents are requested in this tick: it joins their run.

    Dagster's own `will_be_requested()` holds only where parent and child have the same partitions.
    """

    @property
    def name(self) -> str:
        return "parents_requested"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        asset = context.asset_graph_view.asset_graph.get(context.key)
        parents = [] if asset.is_partitioned else [is_requested(context, parent) for parent in asset.parent_keys]
        joins = bool(parents) and all(parents)
        return dg.AutomationResult(context, context.candidate_subset if joins else context.get_empty_subset())


@dataclass(frozen=True)
class Settled(dg.AutomationCondition[dg.AssetKey]):
    """True once no file of the use case has been reported for a moment, so that one delivery becomes one run."""

    settle: timedelta

    @property
    def name(self) -> str:
        return "settled"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        view, graph = context.asset_graph_view, context.asset_graph_view.asset_graph
        if context.candidate_subset.is_empty or not self.settle:
            return dg.AutomationResult(context, context.candidate_subset)
        prefix = context.key.path[:-1]  # the use case
        files = [key for key in graph.external_asset_keys if key.path[:-1] == prefix and graph.get(key).is_partitioned]
        newest = [event.timestamp for key in files if (event := view.instance.get_latest_materialization_event(key))]
        arriving = newest and max(newest) > (context.evaluation_time - self.settle).timestamp()
        return dg.AutomationResult(context, context.get_empty_subset() if arriving else context.candidate_subset)


# What was read in a tick, by the view that Dagster makes for it: an asset is the parent of several others.
_READ: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()


def _newest_events(context: Any, key: dg.AssetKey, kind: dg.DagsterEventType) -> dict[At, int]:
    view = context.asset_graph_view
    read = _READ.setdefault(view, {})
    if (key, kind) not in read:
        read[key, kind] = newest_events(view.instance, key, kind, partitioned=view.asset_graph.get(key).is_partitioned)
    return read[key, kind]


def _partition_keys(view: Any, definition: Any) -> set[str]:
    """Those up to now. Dagster walks through the calendar at every call: 10 ms for a year of days."""
    read = _READ.setdefault(view, {})
    if definition not in read:
        read[definition] = {*definition.get_partition_keys()}
    return read[definition]


def _behind(context: Any, parent: dg.AssetKey, made: Mapping[At, int], planned: Mapping[At, int]) -> Any:
    """The partitions whose run was planned before an event of `parent` that another run wrote."""
    instance = context.asset_graph_view.instance
    events = _newest_events(context, parent, MADE)
    run_of = runs_of(instance, context.key, made.values()) | runs_of(instance, parent, events.values())
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
    return view.get_subset_from_partition_keys(key, definition, keys & _partition_keys(view, definition))


# A failed run is not tried again until a parent has changed, so that a broken delivery does not start a storm of runs.
RETRY_WORTHWHILE = ~AC.execution_failed() | AC.any_deps_match(AC.newly_updated())


def build_cascade(parents_ready: Any, settle: timedelta = SETTLE) -> Any:
    # Quiet comes first: a run that ends while the others evaluate has then already written everything that they read.
    wanted = (InputsStale() & RETRY_WORTHWHILE) | AC.any_deps_match(AC.will_be_requested()) | ParentsRequested()
    return Quiet() & wanted & parents_ready & Settled(settle)


EVERY_PARENT = ~AC.any_deps_missing()
CASCADE = build_cascade(EVERY_PARENT)
# Assets that read every day landed so far cannot wait for the days that have not landed yet.
LANDED_PARENTS = AC.all_deps_match(~AC.missing() | AC.will_be_requested()) | ParentsRequested()
LOOK_BACK_CASCADE = build_cascade(LANDED_PARENTS)
