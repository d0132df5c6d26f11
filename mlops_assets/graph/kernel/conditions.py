"""When an asset materializes by itself: level-triggered conditions on what its last materialization was made from."""

# Not `AutomationCondition.eager()`: an upstream update in the same tick in which the request is handled is dropped for good
# (dagster-io/dagster#24650, #33586). The event log records when a run was planned, which is before the run reads anything;
# a later event of a parent from another run may not have been read.

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import dagster as dg

from mlops_assets.foundation.durations import is_over
from mlops_assets.graph.kernel.dagster_internals import (
    MADE,
    PLANNED,
    At,
    is_requested,
    newest_events,
    newest_partitioned,
    newest_unpartitioned,
)  # fmt: skip
from mlops_assets.graph.kernel.dagster_runs import assets_of, begins_of, codes_of, failed_runs, failing_since, runs_of
from mlops_assets.graph.kernel.reads import newest_reads
from mlops_assets.graph.kernel.settled import SETTLE, Settled
from mlops_assets.spec.code_version import is_outdated

AC = dg.AutomationCondition
UNFINISHED = [status for status in dg.DagsterRunStatus if status.name not in ("SUCCESS", "FAILURE", "CANCELED")]
# While files never stop arriving, a cascade starts this often.
LONGEST_WAIT = timedelta(minutes=5)
# Its cause may be gone by then, such as a full disk. A failing run takes 10 s. Then after as long as it has been failing.
RETRY, LONGEST_RETRY = timedelta(minutes=30), timedelta(days=1)
# Of a few bad partitions so many failed runs at most have several; of a fault of all of them 365 days would be 730 failed runs.
FEW_RUNS, RUNS_A_RETRY = 4, 8


class Attempt(NamedTuple):
    """The newest run that was to make a partition, the event before which it had read nothing, and whether it made it, by which
    version of the code.
    """

    run: str
    began: int
    is_made: bool
    code: str | None = None


class InputsStale(dg.AutomationCondition[dg.AssetKey]):
    """True for partitions that are missing, or whose newest run cannot have read the newest event of a parent, or has made them
    by another version of the code.

    A run that failed for one partition is tried again once a parent or the code has changed. Where its failure does not last
    (lasting_failures.py), also after RETRY, and then after pauses that double: a fault must not start a storm of runs. One that
    failed for several is tried again at once, in two halves (automation.py), unless the mistake is one that every partition has,
    or so many of them have failed that the fault is not that of a few partitions: then the later, the more they are.
    """

    # Not `AC.execution_failed()`: one query per asset without partitions in each tick (dagster-io/dagster#34168). And not
    # `newly_updated()`, which is true in one tick only, in which another condition may still wait.

    @property
    def name(self) -> str:
        return "inputs_stale"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        if context.candidate_subset.is_empty:  # while a run is near; reading the events takes half of a tick's CPU time
            return dg.AutomationResult(context, context.candidate_subset)
        attempts, code = _attempts(context), context.asset_graph_view.asset_graph.get(context.key).code_version
        waiting = _waiting(context, attempts, code or "")
        finished = [at for at, attempt in attempts.items() if attempt.is_made or attempt.run in waiting]
        current = [at for at in finished if not is_outdated(attempts[at].code, code)]
        stale = context.candidate_subset.compute_difference(_subset(context, context.key, current))
        for parent in context.asset_graph_view.asset_graph.get(context.key).parent_keys:
            stale = stale.compute_union(_behind(context, parent, attempts))
        return dg.AutomationResult(context, context.candidate_subset.compute_intersection(stale))


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
        touched = not near.isdisjoint(_touched(view))
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
class Aged(dg.AutomationCondition[dg.AssetKey]):
    """True for an asset without partitions whose newest run began `age` ago or earlier, whether or not it made the asset: what is
    judged by the clock changes although no parent does.
    """

    age: timedelta

    @property
    def name(self) -> str:
        return f"aged_{self.age / timedelta(hours=1):g}_hours"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        attempt = None if context.candidate_subset.is_empty else _attempts(context).get(None)
        record = attempt and context.asset_graph_view.instance.get_run_record_by_id(attempt.run)
        is_due = record is not None and is_over(context.evaluation_time - record.create_timestamp, self.age)
        return dg.AutomationResult(context, context.candidate_subset if is_due else context.get_empty_subset())


# What was read in a tick, by the view that Dagster makes for it: an asset is the parent of several others.
_READ: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()


def _touched(view: Any) -> set[dg.AssetKey]:
    """The assets of the unfinished runs, read before any event of the tick."""
    read = _READ.setdefault(view, {})
    if Quiet not in read:
        read[Quiet] = assets_of(view.instance, view.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)))
    return read[Quiet]


def _newest_events(context: Any, key: dg.AssetKey, kind: dg.DagsterEventType) -> dict[At, int]:
    """Read at once for all assets of the use case, with partitions or without: a query for each takes 3 ms, whatever it reads."""
    view, graph = context.asset_graph_view, context.asset_graph_view.asset_graph
    read, place = _READ.setdefault(view, {}), (key.path[:-1], graph.get(key).is_partitioned)
    if (at := str(place)) not in read:
        keys = [one for one in graph.get_all_asset_keys() if (one.path[:-1], graph.get(one).is_partitioned) == place]
        read[at] = (newest_partitioned if place[1] else newest_unpartitioned)(view.instance, keys)
    return read[at].get((key, kind), {})


def _partition_keys(view: Any, definition: Any) -> set[str]:
    """Those up to now. Dagster walks through the calendar at every call: 10 ms for a year of days."""
    read = _READ.setdefault(view, {})
    if definition not in read:
        read[definition] = {*definition.get_partition_keys()}
    return read[definition]


def _attempts(context: Any) -> dict[At, Attempt]:
    made, planned = (_newest_events(context, context.key, kind) for kind in (MADE, PLANNED))
    return _attempts_of(context.asset_graph_view.instance, context.key, made, planned)


def _attempts_of(
    instance: dg.DagsterInstance, key: dg.AssetKey, made: Mapping[At, int], planned: Mapping[At, int]
) -> dict[At, Attempt]:
    unmade = {at: event for at, event in planned.items() if event > made.get(at, 0)}
    made_by, planned_by = runs_of(instance, key, made.values()), runs_of(instance, key, unmade.values(), PLANNED)
    # Not the newest planned event of a partition: that may be of a run by hand, which has ended first and was overwritten.
    begins, codes = begins_of(instance, key, made_by.values()), codes_of(instance, key, made_by)
    attempts = {
        at: Attempt(run := made_by[event], begins.get(run, event), True, codes[run])
        for at, event in made.items()
        if at not in unmade
    }
    return attempts | {at: Attempt(planned_by[event], event, False) for at, event in unmade.items()}


def _waiting(context: Any, attempts: Mapping[At, Attempt], code: str) -> set[str]:
    """The failed runs that are not tried again yet, or not with this code."""
    instance, now, waiting = context.asset_graph_view.instance, context.evaluation_time.timestamp(), set[str]()
    failed = failed_runs(instance, context.key, (one.run for one in attempts.values() if not one.is_made))
    sizes = Counter(one.run for one in attempts.values())
    together = sum(sizes[run] > 1 and not one.is_of_every_partition for run, one in failed.items())
    shared = RETRY.total_seconds() * together / RUNS_A_RETRY if together > FEW_RUNS else 0.0
    for at, run in ((at, one.run) for at, one in attempts.items() if one.run in failed):
        end, mistake, is_of_every, _ = failed[run]
        if mistake not in (None, code):
            continue
        is_waiting = mistake == code and (sizes[run] == 1 or is_of_every)
        pause_s = inf if is_waiting else shared if sizes[run] > 1 else RETRY.total_seconds()
        if sizes[run] == 1 and now - end >= pause_s:  # a query, which most failures do not need
            made = _newest_events(context, context.key, MADE).get(at, 0)
            pause_s = min(end - failing_since(instance, context.key, at, made), LONGEST_RETRY.total_seconds())
        # A clock that was set back ends every pause but that of a mistake.
        is_waiting = pause_s == inf or not is_over(timedelta(seconds=now - end), timedelta(seconds=pause_s))
        waiting |= {run} if is_waiting else set()
    return waiting


def longest_retry(instance: dg.DagsterInstance, key: dg.AssetKey, partitions: Collection[str]) -> int:
    """How many of these partitions one run may make: half of those that failed together, where not every one had to fail."""
    made, planned = (newest_events(instance, key, kind, partitioned=True) for kind in (MADE, PLANNED))
    attempts = _attempts_of(instance, key, made, planned)
    failed = failed_runs(instance, key, (one.run for one in attempts.values() if not one.is_made))
    sizes = Counter(one.run for one in attempts.values())
    wanted = {attempts[at].run for at in partitions if at in attempts}
    halved = [run for run in wanted & failed.keys() if sizes[run] > 1 and failed[run].has_parts]
    return min((sizes[run] // 2 for run in halved), default=len(partitions))


def _behind(context: Any, parent: dg.AssetKey, attempts: Mapping[At, Attempt]) -> Any:
    """The partitions whose run began before an event of `parent` that another run wrote."""
    events, graph = _newest_events(context, parent, MADE), context.asset_graph_view.asset_graph
    run_of = runs_of(context.asset_graph_view.instance, parent, events.values())
    definitions = graph.get(context.key).partitions_def, graph.get(parent).partitions_def
    newest = newest_reads(definitions, graph.get_partition_mapping(context.key, parent), events, run_of)
    behind = [at for at, attempt in attempts.items() if newest(at).but_of(attempt.run) > attempt.began]
    return _subset(context, context.key, behind)


def _subset(context: Any, key: dg.AssetKey, partitions: Iterable[At]) -> Any:
    view, keys = context.asset_graph_view, set(partitions)
    definition = view.asset_graph.get(key).partitions_def
    if definition is None:
        return view.get_full_subset(key=key) if keys else view.get_empty_subset(key=key)
    return view.get_subset_from_partition_keys(key, definition, keys & _partition_keys(view, definition))


def build_cascade(parents_ready: Any, settle: timedelta = SETTLE, longest: timedelta = LONGEST_WAIT) -> Any:
    # Quiet comes first: a run that ends while the others evaluate has then already written everything that they read.
    wanted = InputsStale() | AC.any_deps_match(AC.will_be_requested()) | ParentsRequested()
    return Quiet() & wanted & parents_ready & Settled(settle, longest)


EVERY_PARENT = ~AC.any_deps_missing()
CASCADE = build_cascade(EVERY_PARENT)
# Assets that read every day landed so far cannot wait for the days that have not landed yet.
LANDED_PARENTS = AC.all_deps_match(~AC.missing() | AC.will_be_requested()) | ParentsRequested()
LOOK_BACK_CASCADE = build_cascade(LANDED_PARENTS)


def build_watch(age: timedelta) -> Any:
    """Of an asset that is behind its parents, or was not looked at for `age`."""
    return LOOK_BACK_CASCADE | (Quiet() & ~AC.missing() & Aged(age) & LANDED_PARENTS)


# What depends on the time, such as the ages on a page. Dagster's on_cron waits until every parent has changed since midnight.
DAILY = AC.cron_tick_passed("@daily").since_last_handled() & ~AC.in_progress() & ~AC.missing()
