"""Which days of a feature table an online asset reads: those that changed since it read last."""

from pathlib import Path

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.home import PROJECT
from mlops_assets.graph.features import LAST_EVENT, build_features, keys_to_write
from mlops_assets.resources import FeatureStoreResource
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.graph.line import failure

ONLINE = dg.AssetKey("online")
EVENTS: dict[str | None, int] = {"2013-01-01": 11, "2013-01-02": 12, "2013-01-03": 13}
EVERY_DAY = [*EVENTS]


def days(events: dict[str | None, int], **metadata: int) -> list[str]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(ONLINE, metadata=metadata))
        return keys_to_write(instance, ONLINE, events)


def test_the_first_materialization_writes_every_day() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert keys_to_write(instance, ONLINE, EVENTS) == EVERY_DAY
        assert keys_to_write(instance, ONLINE, {}) == []


def test_a_day_that_was_filled_again_is_written_from_there_on() -> None:
    assert days(EVENTS | {"2013-01-02": 20}, **{LAST_EVENT: 13}) == ["2013-01-02"]


def test_every_day_is_written_where_nothing_is_new_or_the_last_event_is_unknown() -> None:
    """A materialization by hand repairs an online store that was emptied."""
    assert days(EVENTS, **{LAST_EVENT: 13}) == days(EVENTS) == EVERY_DAY


def test_a_view_that_feast_does_not_know_ends_the_run_at_once(tmp_path: Path) -> None:
    view = USE_CASE.features.views[0].but(name="unregistered")
    use_case = USE_CASE.but(features=USE_CASE.features.but(views=(*USE_CASE.features.views, view)))
    key = dg.AssetKey(names.online(use_case.name, view.name))
    online = next(asset for asset in build_features(use_case) if asset.key == key)
    store = FeatureStoreResource(home=str(tmp_path), project=str(PROJECT), redis_url=None)
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        result = dg.materialize([online], instance=instance, resources={"feature_store": store}, raise_on_error=False)
    assert "feature view 'unregistered' · not in the registry" in failure(result)
    assert not [event for event in result.all_events if event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY]
