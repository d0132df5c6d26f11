"""The automation sensor of a use case: it evaluates the conditions of its assets and requests one run per range of days."""

# Not Dagster's own backfills for several days at once: the backfill daemon evaluates every 30 s and starts one run per
# stage, so a month that lands would wait for minutes. One run over the range does not wait.

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

from mlops_assets.graph.kernel.asset_metadata import CADENCE, WHEN_CHANGED
from mlops_assets.graph.kernel.dagster_internals import RANGE_END, RANGE_START, requested_subset, with_run_requests

# The daemon's loop takes 5 s; a smaller interval changes nothing.
TICK_SECONDS = 5
Days = frozenset[str | None]


class WholeRuns(dg.AutomationConditionSensorDefinition):
    """Requests of several partitions become one run per range of days instead of a backfill."""

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> Any:
        evaluated = super().evaluate_tick(context)
        requests = [run for request in evaluated.run_requests or [] for run in _runs_of(request, context)]
        return with_run_requests(evaluated, requests)


def build_automation(use_case: str, target: dg.AssetSelection) -> dg.AutomationConditionSensorDefinition:
    """Running by default."""
    return WholeRuns(
        f"{use_case}_automation",
        target=target,
        use_user_code_server=True,  # without it, conditions of our own never run, silently
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=TICK_SECONDS,
        run_tags={"mlops/reason": "a parent has newer data"},
    )


def _runs_of(request: dg.RunRequest, context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest]:
    subset = requested_subset(request)
    if subset is None or context.repository_def is None:
        yield request
        return
    graph: Any = context.repository_def.asset_graph
    wanted: dict[Any, Days] = {key: _days(subset.get_asset_subset(key), graph.get(key)) for key in subset.asset_keys}
    together = _together(wanted, {key: graph.get(key).parent_keys for key in wanted}, graph.toposorted_asset_keys)
    for days in dict.fromkeys(wanted[key] for key in together):
        keys = [key for key in together if wanted[key] == days]
        for tags in _ranges(days, graph.get(keys[0]).partitions_def):
            checks = [*graph.get_check_keys_for_assets(set(keys))]
            yield dg.RunRequest(asset_selection=keys, asset_check_keys=checks, tags={**request.tags, **tags})


def _ranges(days: Days, definition: dg.PartitionsDefinition[str] | None) -> Iterator[dict[str, str]]:
    """The tags of one run per unbroken range of days."""
    if definition is None:
        yield {}
        return
    for days_between in definition.subset_with_partition_keys(filter(None, days)).get_partition_key_ranges(definition):
        yield {RANGE_START: days_between.start, RANGE_END: days_between.end}


def _together(wanted: Mapping[Any, Days], parents: Mapping[Any, Iterable[Any]], order: Iterable[Any]) -> list[Any]:
    """The assets whose wanted parents run in the same request, in order."""
    # The others and their children wait for the next tick: their conditions stay true until they have run.
    kept: list[Any] = []
    for key in order:
        if key in wanted and all(wanted[parent] == wanted[key] and parent in kept for parent in parents[key] if parent in wanted):
            kept.append(key)
    return kept


def _days(wanted: Any, asset: Any) -> Days:
    """The wanted days; for a table without a daily file also those between them, so that one run covers all."""
    definition = asset.partitions_def
    if definition is None:
        return frozenset([None])
    days = sorted(wanted.value.get_partition_keys())
    if asset.tags.get(CADENCE) != WHEN_CHANGED:
        # Where a file is due each day, a day that has not landed must not hold up the others.
        return frozenset(days)
    return frozenset(definition.get_partition_keys_in_range(dg.PartitionKeyRange(days[0], days[-1])))
