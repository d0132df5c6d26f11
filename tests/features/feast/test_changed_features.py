"""Features and views are added, removed and retyped on a live line: until the tables are computed again, old rows give null."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.features.offline.point_in_time import MissingFeatureTable
from mlops_assets.foundation.home import Home
from mlops_assets.foundation.stored_schema import IncompatibleRows
from tests.features.feast.lookups import lookup

START, DAY = datetime(2024, 3, 1, 6, tzinfo=UTC), timedelta(days=1)
REPO = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.data_format import DeltaFormat
from feast.types import Bool, Float32, Float64, Int64, String

shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING, description="A shop.")
VIEWS = {{}}
for name, features in {views}.items():
    table = FileSource(
        name=name + "_table", path=name + ".delta", file_format=DeltaFormat(), timestamp_field="event_timestamp"
    )
    VIEWS[name] = FeatureView(
        name=name, entities=[shop], ttl=timedelta(0),
        schema=[Field(name="shop", dtype=String), *(Field(name=n, dtype=globals()[d]) for n, d in features.items())],
        source=PushSource(name=name + "_push", batch_source=table),
    )
    globals()[name] = VIEWS[name]
service = FeatureService(name="sales_v1", features=[*VIEWS.values()])
"""
Views = dict[str, dict[str, str]]
SALES: Views = {"sales": {"sold": "Float64"}}
CHANGES: dict[str, tuple[Views, dict[str, Any]]] = {
    "a feature is added": ({"sales": {"sold": "Float64", "refunds": "Int64", "best": "String"}}, {"refunds": 2, "best": "tea"}),
    "a feature is replaced": ({"sales": {"refunds": "Float64"}}, {"refunds": 2.5}),
    "a view is added": (SALES | {"visits": {"visitors": "Int64", "open": "Bool"}}, {"visitors": 9, "open": True}),
}
changes = pytest.mark.parametrize(("views", "values"), CHANGES.values(), ids=[*CHANGES])


def declare(root: Path, views: Views) -> FeatureStore:
    (root / "repo").mkdir(exist_ok=True)
    (root / "repo" / "declared.py").write_text(REPO.format(views=views))
    store = FeatureStore(Home(root / "home"), service="sales_v1")
    store.apply(root / "repo")
    return store


def fill(root: Path, view: str = "sales", shops: str = "ab", **values: Any) -> None:
    rows = pl.DataFrame({"shop": [*shops]}).with_columns(event_timestamp=pl.lit(START), day=pl.lit(START.date()))
    columns = [pl.lit(value).alias(name) for name, value in values.items()]
    path = Home(root / "home").tables / f"{view}.delta"
    options = {"partition_by": "day", "schema_mode": "overwrite"}
    rows.with_columns(columns).write_delta(path, mode="overwrite", delta_write_options=options)


def requests(*shops: str, days: int = 2) -> pl.DataFrame:
    return pl.DataFrame({"shop": shops}).with_columns(event_timestamp=pl.lit(START + days * DAY))


def fresh(shop: str = "a", **values: Any) -> pl.DataFrame:
    return pl.DataFrame({"shop": [shop], "event_timestamp": [START + DAY], **{name: [value] for name, value in values.items()}})


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """The root of a line whose `sales` are online."""
    store = declare(tmp_path, SALES)
    fill(tmp_path, sold=1.5)
    store.materialize("sales", START)
    assert lookup(store, requests("a"))["sold"].to_list() == [1.5]
    return tmp_path


def assert_online_equals_offline(store: FeatureStore) -> pl.DataFrame:
    rows = requests("a", "b")
    online, offline = lookup(store, rows), store.historical(rows)
    assert online.drop("features_from", "feature_age_s").equals(offline)
    return online


@changes
def test_old_rows_are_read_before_anything_is_computed_again(live: Path, views: Views, values: dict[str, Any]) -> None:
    store = declare(live, views)
    answer = assert_online_equals_offline(store)
    assert [answer[name].to_list() for name in values] == [[None, None]] * len(values)
    assert "sold" not in answer.columns or answer["sold"].to_list() == [1.5, 1.5]


@changes
def test_old_rows_go_online_under_the_changed_declaration(live: Path, views: Views, values: dict[str, Any]) -> None:
    store = declare(live, views)
    assert store.materialize("sales", START) == 2
    answer = assert_online_equals_offline(store)
    assert answer["features_from"].to_list() == ["online", "online"]
    assert [answer[name].to_list() for name in values] == [[None, None]] * len(values)


@changes
def test_the_first_push_after_the_change_gives_the_new_values(live: Path, views: Views, values: dict[str, Any]) -> None:
    store, (view, features) = declare(live, views), [*views.items()][-1]
    sold = {"sold": 3.0} if "sold" in features else {}
    for shop in "ab":
        assert store.push(view, fresh(shop, **sold, **values)) == 1
        answer = assert_online_equals_offline(store)
        assert [answer[name].to_list() for name in values] == [
            [value, None if shop == "a" else value] for value in values.values()
        ]
    assert store.materialize(view, START) == 2
    assert assert_online_equals_offline(store).equals(answer)


def test_a_new_feature_may_be_missing_in_every_pushed_row(live: Path) -> None:
    store = declare(live, {"sales": {"sold": "Float64", "refunds": "Int64"}})
    assert store.push("sales", fresh(sold=3.0, refunds=None)) == 1
    assert store.push("sales", fresh("b", sold=4.0, refunds=5)) == 1
    assert assert_online_equals_offline(store)["refunds"].to_list() == [None, 5]


def test_a_view_is_removed(live: Path) -> None:
    both = declare(live, SALES | {"visits": {"visitors": "Int64"}})
    fill(live, "visits", visitors=7)
    both.materialize("visits", START)
    store = declare(live, SALES)
    assert assert_online_equals_offline(store)["sold"].to_list() == [1.5, 1.5]
    assert store.push("sales", fresh(sold=3.0)) == 1 and store.materialize("sales", START) == 2
    assert assert_online_equals_offline(store)["sold"].to_list() == [3.0, 1.5]


def test_a_push_may_lack_a_feature_that_is_removed_later_from_the_repo(live: Path) -> None:
    store = declare(live, {"sales": {"sold": "Float64", "refunds": "Int64"}})
    assert store.push("sales", fresh(refunds=2)) == 1
    answer = assert_online_equals_offline(store)
    assert answer["sold"].to_list() == [None, 1.5] and answer["refunds"].to_list() == [2, None]


def test_a_fraction_is_pushed_to_a_table_of_whole_numbers(live: Path) -> None:
    fill(live, sold=1)
    store = declare(live, SALES)
    store.materialize("sales", START)
    assert store.push("sales", fresh(sold=2.5)) == 1
    assert assert_online_equals_offline(store)["sold"].to_list() == [2.5, 1.0]


def test_text_that_is_no_number_is_null_once_the_feature_is_a_number_and_new_values_wait_for_a_migration(live: Path) -> None:
    fill(live, sold="many")
    store = declare(live, SALES)
    store.materialize("sales", START)
    assert assert_online_equals_offline(store)["sold"].to_list() == [None, None]
    with pytest.raises(IncompatibleRows, match="sold is Float64 in new rows and String in the table.*`mlops migrate`"):
        store.push("sales", fresh(sold=2.5))


def test_a_small_float_is_the_nearest_one(live: Path) -> None:
    fill(live, sold=0.1)
    store = declare(live, {"sales": {"sold": "Float32"}})
    assert store.historical(requests("a"))["sold"].to_list() == pytest.approx([0.1])


def test_a_line_without_any_table_is_an_error(tmp_path: Path) -> None:
    store = declare(tmp_path, SALES | {"visits": {"visitors": "Int64"}})
    with pytest.raises(MissingFeatureTable, match="sales"):
        store.historical(requests("a"))
