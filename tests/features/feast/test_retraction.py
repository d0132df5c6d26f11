"""Rows that a table no longer has disappear online as well: after every change online equals offline."""

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import feast
import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlops_assets.features.feast.feature_registry import feast_config
from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.foundation import names
from mlops_assets.foundation.home import Home
from tests.features.feast.lookups import lookup
from tests.features.feast.test_feature_store import DAY, HOUR, KEYS, LEGAL, REPO, START, features_of, fill, flights_at
from tests.servers.redis_server import RedisServer

VIEW, FEATURE, TAILS = "plane", "seats", LEGAL["tailnum"]  # its values never expire
END = START + 5 * DAY
Delivery = tuple[int, dict[str, int]]  # a day, and by aircraft the hour of its arrival


def deliver(home: Home, day: int, arrivals: dict[str, int], value: float) -> None:
    """Replaces the rows of one day, as the run of that day does."""
    rows = [(tail, START + day * DAY + hour * HOUR, value + hour) for tail, hour in arrivals.items()]
    schema = {"tailnum": pl.String(), "event_timestamp": pl.Datetime("us", "UTC"), FEATURE: pl.Float64()}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(built=1990.0, day=pl.lit((START + day * DAY).date()))
    path = home.tables / names.feature_source("flight_delay", VIEW)
    options = {"partition_by": "day", "predicate": f"day = DATE '{(START + day * DAY).date()}'"}
    frame.write_delta(path, mode="overwrite", delta_write_options=options)


def assert_online_equals_offline(store: FeatureStore, home: Home) -> None:
    rows = pl.concat([flights_at([END], tailnum=tail) for tail in TAILS])
    online, offline = lookup(store, rows), store.historical(rows)
    assert online[FEATURE].to_list() == offline[FEATURE].to_list()
    theirs = feast.FeatureStore(config=feast_config(home, store.redis_url))
    answer = theirs.get_online_features([f"flight_delay__{VIEW}:{FEATURE}"], [{"tailnum": tail} for tail in TAILS]).to_dict()
    assert answer[FEATURE] == offline[FEATURE].to_list(), "for other clients of Feast too"


def assert_follows(root: Path, deliveries: list[Delivery], redis_url: str | None = None) -> FeatureStore:
    home = Home(root)
    store = FeatureStore(home, service="flight_delay_v1", redis_url=redis_url)
    store.apply(REPO)
    for view, features in features_of(store).items():
        if view != VIEW:  # the others have a table, as history is read from all
            fill(root, view, [{key: LEGAL[key][0] for key in KEYS[view]} | {"at": START, "value": 1.0}], features)
    for number, (day, arrivals) in enumerate(deliveries):
        deliver(home, day, arrivals, 100.0 * number)
        store.materialize(VIEW, START + day * DAY)
        assert_online_equals_offline(store, home)
    return store


RETRACTED: list[Delivery] = [
    (0, {"N1": 12, "N2": 9}), (1, {"N1": 0, "N3": 1}), (1, {}), (0, {"N2": 9}), (1, {"N3": 5}), (0, {"N2": 3}), (0, {})
]  # fmt: skip
ARRIVALS = st.dictionaries(st.sampled_from(TAILS), st.integers(0, 23))


@given(deliveries=st.lists(st.tuples(st.integers(0, 3), ARRIVALS), min_size=2, max_size=5))
@example(deliveries=RETRACTED)
@settings(deadline=None, max_examples=3)
def test_online_equals_offline_after_any_deliveries(deliveries: list[Delivery]) -> None:
    with TemporaryDirectory() as folder:
        assert_follows(Path(folder), deliveries)


def test_rows_disappear_from_redis_too(tmp_path: Path, redis_server: RedisServer) -> None:
    """Feast's store for Redis drops older values unless an option forbids it."""
    assert_follows(tmp_path, RETRACTED, redis_server.url)


def test_a_pushed_value_that_the_run_of_its_day_does_not_confirm_disappears(tmp_path: Path) -> None:
    store = assert_follows(tmp_path, [(0, {"N1": 12}), (1, {"N2": 3})])
    pushed = {"tailnum": ["N1"], "event_timestamp": [START + DAY + timedelta(hours=4)], FEATURE: [999.0], "built": [1990.0]}
    store.push(VIEW, pl.DataFrame(pushed, schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")}))
    assert lookup(store, flights_at([END]))[FEATURE].item() == 999.0
    deliver(Home(tmp_path), 1, {"N2": 3}, 0.0)
    store.materialize(VIEW, START + DAY)
    assert_online_equals_offline(store, Home(tmp_path))
    assert lookup(store, flights_at([END]))[FEATURE].item() == 12.0
