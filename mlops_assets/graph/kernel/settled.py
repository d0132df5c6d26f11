"""The condition that a delivery has ended."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from mlops_assets.foundation.durations import is_over
from mlops_assets.foundation.names import LANDING
from mlops_assets.graph.kernel.asset_metadata import STAGE

# The landing sensor looks again 5 s after it has reported files; on a busy machine 10 s after: a delivery may then be two runs.
SETTLE = timedelta(seconds=8)


@dataclass(frozen=True)
class Settled(dg.AutomationCondition[dg.AssetKey]):
    """True once no file of the use case has been reported for `settle`, or the delivery is known to be whole, so that it becomes
    one cascade, and at the latest `longest` after the first tick that waited. Only an asset that reads files waits; the others
    follow their parents.
    """

    settle: timedelta
    longest: timedelta

    @property
    def name(self) -> str:
        return "settled"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        now = context.evaluation_time
        if context.candidate_subset.is_empty or not self._is_arriving(context, now):
            return dg.AutomationResult(context, context.candidate_subset)
        since = datetime.fromtimestamp(float(context.cursor or now.timestamp()), UTC)
        if is_over(now - since, self.longest):
            return dg.AutomationResult(context, context.candidate_subset)
        return dg.AutomationResult(context, context.get_empty_subset(), cursor=str(since.timestamp()))

    def _is_arriving(self, context: dg.AutomationContext[dg.AssetKey], now: datetime) -> bool:
        view, graph = context.asset_graph_view, context.asset_graph_view.asset_graph
        prefix = context.key.path[:-1]  # the use case
        files = [
            key for key in graph.external_asset_keys if key.path[:-1] == prefix and graph.get(key).tags.get(STAGE) == LANDING
        ]
        if graph.get(context.key).parent_keys.isdisjoint(files):
            return False
        events = [view.instance.get_latest_materialization_event(key) for key in files]
        newest = max((event.timestamp for event in events if event), default=0.0)
        since = now - datetime.fromtimestamp(newest, UTC)
        return not is_over(since, self.settle) and not any(_observed(view, key, newest) for key in files)


def _observed(view: Any, key: dg.AssetKey, since: float) -> bool:
    """Whether the landing sensor has noticed the end of a delivery, and no file after it."""
    records = view.instance.fetch_observations(key, limit=1).records
    return bool(records) and records[0].timestamp >= since
