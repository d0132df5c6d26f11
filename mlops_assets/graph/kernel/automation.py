"""The automation sensor: it evaluates the conditions of its assets and requests one run per use case and range of partitions."""

# Not Dagster's own backfills for several partitions at once: the backfill daemon evaluates every 30 s and starts one run per
# stage, so a month that lands would wait for minutes. One run over the range does not wait.

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import dagster as dg

from mlops_assets.graph.kernel.asset_metadata import CADENCE, WHEN_CHANGED
from mlops_assets.graph.kernel.conditions import longest_retry
from mlops_assets.graph.kernel.dagster_internals import RANGE_END, RANGE_START, requested_subset, with_run_requests  # fmt: skip
from mlops_assets.graph.kernel.settled import SETTLE

# The daemon looks every 5 s for sensors whose interval has passed. With an interval of 5 s it comes a moment too early each
# second time: ticks are then 10.0 s apart, and 5.0 s with this one.
TICK_SECONDS = 4
# Conditions wait for a pause without a new file (conditions.py); the next evaluation is then the last one that is needed.
SETTLED_SECONDS = SETTLE.total_seconds() + 2
# The tag of a sensor whose result holds until the next event of its use case, or for a minute; the value is after how many
# seconds without an event it does.
BY_EVENT = "mlops/by_event"
MAX_PARTITIONS = 1000  # of a run, which holds their rows in memory: after a change of code it is the whole history of a table
MUTED = "mlops/muted"  # the tag of a sensor that a pause of its use case stops


class Wanted(NamedTuple):
    """The partitions of assets with one definition; none of an asset without partitions."""

    definition: dg.PartitionsDefinition[str] | None
    keys: frozenset[str]


UNPARTITIONED = Wanted(None, frozenset())


class WholeRuns(dg.AutomationConditionSensorDefinition):
    """Requests of several partitions become one run per range of partitions instead of a backfill."""

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> Any:
        evaluated = super().evaluate_tick(context)
        if context.repository_def is None or not evaluated.run_requests:
            return with_run_requests(evaluated, [], "Every asset is up to date, waits for a parent, or is being made.")
        graph = context.repository_def.asset_graph
        requests = _whole_runs(evaluated.run_requests, graph, context.instance, self.run_tags or {})
        return with_run_requests(evaluated, [*requests])


def build_automation(name: str, target: dg.AssetSelection) -> dg.AutomationConditionSensorDefinition:
    """Running by default."""
    return WholeRuns(
        name,
        target=target,
        use_user_code_server=True,  # without it, conditions of our own never run, silently
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=TICK_SECONDS,
        tags={BY_EVENT: str(SETTLED_SECONDS), MUTED: "by a pause"},
        run_tags={"mlops/reason": "a parent has newer data, or a window has passed"},
    )


def _whole_runs(
    requests: Iterable[dg.RunRequest], graph: Any, instance: dg.DagsterInstance, tags: Mapping[str, str]
) -> Iterator[dg.RunRequest]:
    requests = [*requests]
    yield from (request for request in requests if requested_subset(request) is None and not request.asset_selection)  # checks
    together = _together(_wanted(requests, graph), graph)
    # A run has assets of one use case, the prefix of their keys: otherwise one that fails takes others with it.
    of_a_run = {key: (tuple(key.path[:-1]), wanted) for key, wanted in together.items()}
    for use_case, wanted in dict.fromkeys(of_a_run.values()):
        keys = [key for key in together if of_a_run[key] == (use_case, wanted)]
        partitioned = [key for key in keys if graph.get(key).is_partitioned]
        longest = min([MAX_PARTITIONS, *(longest_retry(instance, key, wanted.keys) for key in partitioned)])
        if longest < len(wanted.keys):  # a child may look back on a partition of another run: it waits for the next tick
            keys = [key for key in keys if graph.get(key).parent_keys.isdisjoint(keys)]
        checks = [*graph.get_check_keys_for_assets(set(keys))]
        for first, last in _ranges(wanted, longest):
            bounds = {RANGE_START: first, RANGE_END: last} if first else {}
            yield dg.RunRequest(asset_selection=keys, asset_check_keys=checks, tags={**tags, **bounds})


def _wanted(requests: Iterable[dg.RunRequest], graph: Any) -> dict[Any, Wanted]:
    """A request with a subset has assets of several partitions, any other has assets of its one partition or without any."""
    wanted: dict[Any, Wanted] = {}
    for request in requests:
        subset = requested_subset(request)
        for key in subset.asset_keys if subset else request.asset_selection or []:
            asset = graph.get(key)
            if asset.partitions_def is None:
                wanted[key] = UNPARTITIONED
            else:
                keys = subset.get_asset_subset(key).value.get_partition_keys() if subset else [request.partition_key]
                wanted[key] = Wanted(asset.partitions_def, _filled(keys, asset))
    return wanted


def _together(wanted: Mapping[Any, Wanted], graph: Any) -> dict[Any, Wanted]:
    """The assets whose wanted parents run in the same request, with the partitions of their run, parents first. A run has
    partitions of one definition.

    The others and their children wait for the next tick: their conditions stay true until they have run.
    """
    kept: dict[Any, Wanted] = {}
    for key in (key for key in graph.toposorted_asset_keys if key in wanted):
        parents, own = graph.get(key).parent_keys, wanted[key]
        of_parents = {kept.get(parent, UNPARTITIONED) for parent in parents}
        # An asset without partitions joins the run that makes all of its parents: a run of its own starts in 8 s.
        if own == UNPARTITIONED and len(of_parents) == 1 and parents <= wanted.keys():
            (theirs,) = of_parents
            own = theirs if len(_ranges(theirs)) == 1 else own
        if all(kept.get(parent) == own for parent in parents if parent in wanted):
            kept[key] = own
    return kept


def _ranges(wanted: Wanted, longest: int | None = None) -> list[tuple[str | None, str | None]]:
    """The first and last partition of each unbroken range, of at most `longest` partitions: one run each."""
    definition, keys = wanted
    if definition is None:
        return [(None, None)]
    ranges = definition.subset_with_partition_keys(keys).get_partition_key_ranges(definition)
    parts = [definition.get_partition_keys_in_range(unbroken) for unbroken in ranges]
    step = longest or len(keys)
    return [(part[at], part[min(at + step, len(part)) - 1]) for part in parts for at in range(0, len(part), step)]


def _filled(keys: Iterable[str | None], asset: Any) -> frozenset[str]:
    """The wanted partitions; of a table that lands now and then those between them too: one run then, and not twenty.

    Where every file is due, one that has not landed must not hold up the others.
    """
    wanted = sorted(filter(None, keys))
    if asset.tags.get(CADENCE) != WHEN_CHANGED:
        return frozenset(wanted)
    return frozenset(asset.partitions_def.get_partition_keys_in_range(dg.PartitionKeyRange(wanted[0], wanted[-1])))
