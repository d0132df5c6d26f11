"""The automation sensor of a use case: it evaluates the conditions of its assets and asks for few, whole runs.

Belongs here: how requests become runs. Not here: the conditions (graph/conditions.py) and the training triggers.
Why not Dagster's own backfills for several days at once: the backfill daemon looks every 30 s and starts one run per
stage, so a month that lands would take minutes of waiting; one run over the range takes none.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster_shared.record import replace  # pyright: ignore[reportUnknownVariableType]

from mlops_assets.graph.asset_metadata import CADENCE, WHEN_CHANGED

# The daemon's loop takes 5 s; a smaller interval changes nothing.
TICK_SECONDS = 5
Days = frozenset[str | None]


class WholeRuns(dg.AutomationConditionSensorDefinition):
    """Requests of several partitions become one run per range of days instead of a backfill."""

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> Any:
        evaluated = super().evaluate_tick(context)
        requests = [whole for request in evaluated.run_requests or [] for whole in _whole(request, context)]
        return replace(evaluated, run_requests=requests)


def build_automation(use_case: str, target: dg.AssetSelection) -> dg.AutomationConditionSensorDefinition:
    """Running by default and evaluated with user code, without which a condition of ours silently never runs."""
    return WholeRuns(
        f"{use_case}_automation",
        target=target,
        use_user_code_server=True,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=TICK_SECONDS,
        run_tags={"mlops/reason": "a parent has newer data"},
    )


def _whole(request: dg.RunRequest, context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest]:
    from dagster._core.definitions import automation_tick_evaluation_context as tick  # opens what only the daemon needs

    subset = request.asset_graph_subset
    if subset is None or context.repository_def is None:
        yield request
        return
    graph = context.repository_def.asset_graph
    wanted = {key: _days(subset.get_asset_subset(key), graph.get(key)) for key in subset.asset_keys}
    together = _together(wanted, {key: graph.get(key).parent_keys for key in wanted}, graph.toposorted_asset_keys)
    partitions = [AssetKeyPartitionKey(key, day) for key in together for day in wanted[key]]
    for whole in tick.build_run_requests_with_backfill_policies(partitions, graph, context.instance):
        yield whole.with_replaced_attrs(tags={**request.tags, **whole.tags})


def _together(wanted: Mapping[Any, Days], parents: Mapping[Any, Iterable[Any]], order: Iterable[Any]) -> list[Any]:
    """The assets whose wanted parents run in the same request. The others, and what follows from them, wait for the next
    tick: their conditions stay true until they have run."""
    kept: list[Any] = []
    for key in order:
        if key in wanted and all(wanted[parent] == wanted[key] and parent in kept for parent in parents[key] if parent in wanted):
            kept.append(key)
    return kept


def _days(wanted: Any, asset: Any) -> Days:
    """The wanted days; of a table that lands now and then those between them too: one run then, and not twenty.

    Where a file is due each day, a day that has not landed must not hold up the others.
    """
    definition = asset.partitions_def
    if definition is None:
        return frozenset([None])
    days = sorted(wanted.value.get_partition_keys())
    if asset.tags.get(CADENCE) != WHEN_CHANGED:
        return frozenset(days)
    return frozenset(definition.get_partition_keys_in_range(dg.PartitionKeyRange(days[0], days[-1])))
