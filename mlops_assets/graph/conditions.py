"""When an asset materializes by itself: level-triggered on what its last materialization was made from.

Belongs here: our one condition and the cascade built from it. Not here: sensors (graph/triggers.py).
Why not `AutomationCondition.eager()`: an upstream update that falls in the tick in which the request is handled is
dropped for good (dagster-io/dagster#24650, #33586). Dagster records on every materialization the newest event of each
parent that it could have read (`dagster/input_event_pointer/…`); comparing that with the parent's events loses nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.definitions.data_version import CODE_VERSION_TAG, get_input_event_pointer_tag

AC = dg.AutomationCondition
Ids = Mapping[str | None, int]


class InputsStale(dg.AutomationCondition[dg.AssetKey]):
    """True for partitions that are missing, were made before a parent's newest event, or by other code."""

    @property
    def name(self) -> str:
        return "inputs_stale"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        view, key = context.asset_graph_view, context.key
        node = view.asset_graph.get(key)
        made = _made(view.instance, key, [*node.parent_keys])
        stale = context.get_empty_subset()
        for parent in node.parent_keys:
            stale = stale.compute_union(_behind(context, parent, made))
        old_code = [at for at, tags in made.items() if tags.get(CODE_VERSION_TAG) != node.code_version]
        stale = stale.compute_union(_subset(context, key, old_code))
        missing = context.candidate_subset.compute_difference(_subset(context, key, made))
        return dg.AutomationResult(context, context.candidate_subset.compute_intersection(stale.compute_union(missing)))


def _behind(context: Any, parent: dg.AssetKey, made: Mapping[str | None, Mapping[str, str]]) -> Any:
    """The partitions whose materialization could not have read the newest event of `parent`."""
    tag = get_input_event_pointer_tag(parent)
    events = _newest(context.asset_graph_view.instance, parent)
    behind = context.get_empty_subset()
    for pointer in {tags.get(tag, "NULL") for tags in made.values()}:
        seen = int(pointer) if pointer.isdigit() else 0
        newer = _subset(context, parent, [at for at, event in events.items() if event > seen])
        same_read = _subset(context, context.key, [at for at, tags in made.items() if tags.get(tag, "NULL") == pointer])
        behind = behind.compute_union(newer.compute_child_subset(context.key).compute_intersection(same_read))
    return behind


def _newest(instance: dg.DagsterInstance, key: dg.AssetKey) -> Ids:
    by_partition = instance.event_log_storage.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
    if by_partition:
        return dict(by_partition)
    event = instance.get_latest_materialization_event(key)
    return {None: _record_id(instance, key)} if event else {}


def _record_id(instance: dg.DagsterInstance, key: dg.AssetKey) -> int:
    return instance.fetch_materializations(key, limit=1).records[0].storage_id


def _made(
    instance: dg.DagsterInstance, key: dg.AssetKey, parents: Iterable[dg.AssetKey]
) -> Mapping[str | None, Mapping[str, str]]:
    """Provenance tags of the last materialization, by partition (None: unpartitioned)."""
    tags = [CODE_VERSION_TAG, *map(get_input_event_pointer_tag, parents)]
    by_partition = instance.event_log_storage.get_latest_tags_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION, tags
    )
    if by_partition:
        return dict(by_partition)
    event = instance.get_latest_materialization_event(key)
    materialization = event.asset_materialization if event else None
    return {None: materialization.tags or {}} if materialization else {}


def _subset(context: Any, key: dg.AssetKey, partitions: Iterable[str | None]) -> Any:
    view, keys = context.asset_graph_view, set(partitions)
    definition = view.asset_graph.get(key).partitions_def
    if definition is None:
        return view.get_full_subset(key=key) if keys else view.get_empty_subset(key=key)
    legal = keys & set(definition.get_partition_keys())
    return view.get_asset_subset_from_asset_partitions(key, {AssetKeyPartitionKey(key, at) for at in legal})


# A failed run is not tried again until a parent has changed, so that a broken delivery does not start a storm of runs.
RETRY_WORTHWHILE = ~AC.execution_failed() | AC.any_deps_match(AC.newly_updated())
CASCADE = (
    ((InputsStale() & RETRY_WORTHWHILE) | AC.any_deps_match(AC.will_be_requested()))
    & ~AC.any_deps_missing()
    & ~AC.any_deps_in_progress()
    & ~AC.in_progress()
    & AC.all_deps_blocking_checks_passed()
)
# Assets that read every day landed so far cannot wait for the days that have not landed yet.
LOOK_BACK_CASCADE = (
    ((InputsStale() & RETRY_WORTHWHILE) | AC.any_deps_match(AC.will_be_requested()))
    & ~AC.any_deps_in_progress()
    & ~AC.in_progress()
    & AC.all_deps_blocking_checks_passed()
)
