"""Feast's objects as feature_repo builds them: use cases side by side, and homes that were written under other names."""

import runpy
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import feast
import polars as pl
import pytest

from feature_repo.objects import build_objects
from mlops_assets import use_cases
from mlops_assets.features.feast.feature_registry import feast_config
from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.foundation import names
from mlops_assets.foundation.home import PROJECT, Home
from tests.cli.loans import LOANS, VIEW
from tests.features.feast.lookups import lookup
from tests.servers.redis_server import RedisServer

START, DAY = datetime(2024, 3, 1, 6, tzinfo=UTC), timedelta(days=1)
BUILT = """
from feature_repo.objects import build_objects
from tests.cli.loans import LOANS
for use_case in (LOANS, LOANS.but(name="cards", features=LOANS.features.but(service="cards_v1"))){chosen}:
    globals().update(build_objects(use_case))
"""
BOTH, LOANS_ALONE = BUILT.format(chosen=""), BUILT.format(chosen="[:1]")
MARKET = """
from feature_repo.objects import build_objects
from tests.cli.loans import LOANS, MARKET
features = LOANS.features.but(views=(MARKET,), numeric=("amount", "all_paid"))
globals().update(build_objects(LOANS.but(features=features)))
"""
# As a project wrote them by hand: the names of views and entities had no use case, and features any order.
BY_HAND = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.data_format import DeltaFormat
from feast.types import Float64, String

customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.STRING, description="customer")
table = FileSource(
    name="last_payment_table", path="loans/feature/last_payment.delta", file_format=DeltaFormat(),
    timestamp_field="event_timestamp",
)
last_payment = FeatureView(
    name="last_payment", entities=[customer], ttl=timedelta(0),
    schema=[Field(name="customer", dtype=String), {features}],
    source=PushSource(name="last_payment_push", batch_source=table),
)
service = FeatureService(name="loans_v1", features=[last_payment])
"""
SAME, OTHER = (
    'Field(name="last_paid", dtype=Float64)',
    'Field(name="rate", dtype=Float64), Field(name="last_paid", dtype=Float64)',
)


@pytest.fixture(params=["sqlite", "redis"])
def redis_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    server: RedisServer | None = request.getfixturevalue("redis_server") if request.param == "redis" else None
    yield server.url if server else None


def declare(root: Path, text: str, service: str = "loans_v1", redis_url: str | None = None) -> FeatureStore:
    (root / "repo").mkdir(exist_ok=True)
    (root / "repo" / "declared.py").write_text(text)
    store = FeatureStore(Home(root / "home"), service=service, redis_url=redis_url)
    store.apply(root / "repo")
    return store


def fill(root: Path, use_case: str, day: int, **paid: float) -> None:
    rows = pl.DataFrame({"customer": [*paid], "last_paid": [*paid.values()]})
    at = START + day * DAY
    rows = rows.with_columns(event_timestamp=pl.lit(at), day=pl.lit(at.date()))
    path = Home(root / "home").tables / names.feature_source(use_case, "last_payment")
    rows.write_delta(path, mode="append", delta_write_options={"partition_by": "day"})


def requests(*customers: str) -> pl.DataFrame:
    return pl.DataFrame({"customer": customers}).with_columns(event_timestamp=pl.lit(START + 9 * DAY))


def paid_online(store: FeatureStore, *customers: str) -> list[float | None]:
    answer = lookup(store, requests(*customers))
    assert set(answer["features_from"]) == {"online"}
    return answer["last_paid"].to_list()


def paid_in_feast(root: Path, redis_url: str | None, service: str, *customers: str) -> list[float | None]:
    """As another client of Feast reads its own online store."""
    theirs = feast.FeatureStore(config=feast_config(Home(root / "home"), redis_url))
    rows = [{"customer": customer} for customer in customers]
    return theirs.get_online_features(features=theirs.get_feature_service(service), entity_rows=rows).to_dict()["last_paid"]


def test_views_of_one_name_in_two_use_cases_have_their_own_values(tmp_path: Path, redis_url: str | None) -> None:
    loans, cards = (declare(tmp_path, BOTH, service, redis_url) for service in ("loans_v1", "cards_v1"))
    fill(tmp_path, "loans", 0, a=1.0, b=2.0)
    fill(tmp_path, "cards", 0, a=10.0, c=30.0)
    assert loans.materialize("last_payment", START) == cards.materialize("last_payment", START) == 2
    fresh = pl.DataFrame({"customer": ["a"], "event_timestamp": [START + DAY], "last_paid": [11.0]})
    assert cards.push("last_payment", fresh) == 1
    for store, values in ((loans, [1.0, 2.0, None]), (cards, [11.0, None, 30.0])):
        assert store.historical(requests("a", "b", "c"))["last_paid"].to_list() == values
        assert paid_online(store, "a", "b", "c") == values
        assert paid_in_feast(tmp_path, redis_url, store.service, "a", "b", "c") == values


@pytest.mark.parametrize("features", [SAME, OTHER])
def test_a_home_with_views_of_other_names_serves_on_and_fills_feasts_own_store(
    tmp_path: Path, redis_url: str | None, features: str
) -> None:
    before = declare(tmp_path, BY_HAND.format(features=features), redis_url=redis_url)
    fill(tmp_path, "loans", 0, a=1.0, b=2.0)
    fill(tmp_path, "loans", 1, a=3.0)
    before.materialize("last_payment", START)
    assert paid_online(before, "a", "b") == [3.0, 2.0]
    after = declare(tmp_path, LOANS_ALONE, redis_url=redis_url)
    assert paid_online(after, "a", "b") == [3.0, 2.0], "before anything is materialized"
    if features == SAME:
        assert paid_online(before, "a", "b") == [3.0, 2.0], "a process that was started before serves on"
    assert [view.name for view in after.registry.open().list_feature_views()] == ["loans__last_payment"]
    after.materialize("last_payment", START + DAY)  # b has no row since then
    assert paid_in_feast(tmp_path, redis_url, "loans_v1", "a", "b") == [3.0, 2.0]


def test_a_view_without_entities_alone_is_read_online_within_milliseconds(tmp_path: Path) -> None:
    store = declare(tmp_path, MARKET)
    rows = pl.DataFrame({"all_paid": [5.0], "event_timestamp": [START], "day": [START.date()]})
    path = Home(tmp_path / "home").tables / names.feature_source("loans", "market")
    rows.write_delta(path, delta_write_options={"partition_by": "day"})
    assert store.materialize("market", START) == 1
    seconds = list[float]()
    for _ in range(20):
        began = time.process_time()
        answer = store.look_up({"event_timestamp": [START + DAY]})
        seconds.append(time.process_time() - began)
        assert (answer.features, answer.features_from) == ({"all_paid": [5.0]}, ["online"])
    assert min(seconds) < 0.005, "a join with the table takes 0.03 s"


def test_a_use_case_whose_transform_fails_is_left_out_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = LOANS.but(name="broken", features=LOANS.features.but(views=(VIEW.but(transform=lambda *_: 1 / 0),)))
    monkeypatch.setattr(use_cases, "USE_CASES", (broken, LOANS))
    with pytest.warns(UserWarning, match="broken · is left out: ValueError: .*ZeroDivisionError.* · Run `mlops check`"):
        objects = runpy.run_path(str(PROJECT / "feature_repo" / "objects.py"))
    object_names = {
        one.name for one in objects.values() if isinstance(one, feast.FeatureView | feast.Entity | feast.FeatureService)
    }
    assert object_names == {"loans__last_payment", "loans__customer", "loans_v1"}


def test_types_follow_from_the_transform_and_descriptions_from_the_contract() -> None:
    def typed(tables: Any, start: datetime, end: datetime) -> pl.LazyFrame:
        exact = pl.lit(2**60).alias("exact"), pl.lit("car", pl.Categorical).alias("kind"), pl.lit(True).alias("paid_all")
        rows = tables["payments"].filter(pl.col("paid_at").is_between(start, end, closed="left"))
        return rows.select("customer", "paid", *exact, event_timestamp="paid_at")

    view = VIEW.but(transform=typed, descriptions={"exact": "A number beyond 2^53."}, ttl=DAY)
    objects = build_objects(LOANS.but(features=LOANS.features.but(views=(view,), numeric=("amount", "paid"))))
    built = objects["FeatureView loans__last_payment"]
    columns = {field.name: (str(field.dtype), field.description) for field in built.features}
    assert columns == {
        "paid": ("Float64", "Euros."), "exact": ("Int64", "A number beyond 2^53."), "kind": ("String", ""), "paid_all": ("Bool", "")
    }  # fmt: skip
    assert (built.ttl, built.owner, built.tags) == (DAY, LOANS.owner, {"use_case": "loans"})
    assert objects["Entity loans__customer"].description == "Who asks."


def test_a_use_case_that_does_not_load_keeps_its_views_and_values(tmp_path: Path) -> None:
    declare(tmp_path, BOTH)
    fill(tmp_path, "cards", 0, a=10.0)
    declare(tmp_path, BOTH, "cards_v1").materialize("last_payment", START)
    declare(tmp_path, LOANS_ALONE)
    assert paid_online(FeatureStore(Home(tmp_path / "home"), service="cards_v1"), "a") == [10.0]
