"""The feature store with its online values in a real Redis that is killed, restarts, and restarts empty."""

from pathlib import Path

import feast
import pytest

from mlops_assets.features.feast.feature_registry import feast_config
from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.features.online.key_value_stores import OnlineStoreDown
from mlops_assets.foundation.home import Home
from mlops_assets.spec.feature import WhenDown
from tests.features.feast.lookups import lookup
from tests.features.feast.test_feature_store import FEATURES, HOUR, KEYS, LEGAL, REPO, START, features_of, fill, flights_at
from tests.servers.redis_server import RedisServer

VIEWS = list(KEYS)


def opened(root: Path, redis_server: RedisServer, when_down: WhenDown = "refuse") -> FeatureStore:
    store = FeatureStore(Home(root), service="flight_delay_v1", redis_url=redis_server.url, when_down=when_down)
    store.apply(REPO)
    return store


def materialize(store: FeatureStore, *views: str) -> None:
    for view in views:
        store.materialize(view, START)


@pytest.fixture
def root(tmp_path: Path, redis_server: RedisServer) -> Path:
    """Every view has one row of every entity, an hour after the start, and it is online."""
    store = opened(tmp_path, redis_server)
    known = features_of(store)
    for number, (view, keys) in enumerate(KEYS.items()):
        entities = [{keys[0]: first} for first in LEGAL[keys[0]]]
        entities = [{**entity, keys[1]: second} for entity in entities for second in LEGAL[keys[1]]] if keys[1:] else entities
        rows = [{**entity, "at": START + HOUR, "value": 100.0 * number + place} for place, entity in enumerate(entities)]
        fill(tmp_path, view, rows, known[view])
    materialize(store, *VIEWS)
    return tmp_path


def test_training_serving_and_other_feast_clients_get_the_same_values(root: Path, redis_server: RedisServer) -> None:
    store, rows = opened(root, redis_server), flights_at([START + 2 * HOUR])
    answer = lookup(store, rows)
    assert answer["features_from"].to_list() == ["online"]
    assert answer.drop("features_from", "feature_age_s").equals(store.historical(rows))
    theirs = feast.FeatureStore(config=feast_config(Home(root), redis_server.url))
    service = theirs.get_feature_service(store.service)
    held = theirs.get_online_features(features=service, entity_rows=rows.drop("event_timestamp").to_dicts()).to_dict()
    assert answer.select(FEATURES).row(0, named=True) == {name: held[name][0] for name in FEATURES}


def test_while_it_is_down_lookups_do_what_is_declared_and_writes_raise(root: Path, redis_server: RedisServer) -> None:
    refusing, remembering, rows = (
        opened(root, redis_server),
        opened(root, redis_server, "last_known"),
        flights_at([START + 2 * HOUR]),
    )
    before = lookup(remembering, rows)
    redis_server.kill()
    with pytest.raises(OnlineStoreDown, match="does not answer"):
        lookup(refusing, rows)
    with pytest.raises(OnlineStoreDown, match="does not answer"):
        materialize(refusing, "plane")
    known = lookup(remembering, rows)
    assert known["features_from"].to_list() == ["last_known"]
    assert known.select(FEATURES).equals(before.select(FEATURES))
    redis_server.start()
    materialize(refusing, "plane")
    assert lookup(refusing, rows).equals(before) and lookup(remembering, rows).equals(before)


def test_after_an_empty_restart_lookups_use_history_until_the_next_materialization(root: Path, redis_server: RedisServer) -> None:
    store, rows = opened(root, redis_server), flights_at([START + 2 * HOUR])
    before = lookup(store, rows)
    redis_server.kill()
    redis_server.start()
    emptied = lookup(store, rows)
    assert emptied["features_from"].to_list() == ["point_in_time"]
    assert emptied.select(FEATURES).equals(before.select(FEATURES))
    materialize(store, "plane")
    assert lookup(store, rows).equals(before)
