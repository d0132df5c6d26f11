"""Feast's registry: a repo is applied once per change, and unknown names are errors that list the known ones."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import feast
import polars as pl
import pytest

import mlops_assets.features.feast  # noqa: F401  # imports Feast the light way
from mlops_assets.features.feast.feature_registry import UnknownFeatures, feast_config
from mlops_assets.features.feast.feature_store import FeatureStore, NoPushSource
from mlops_assets.foundation.home import Home
from mlops_assets.foundation.names import FEAST_PROJECT
from mlops_assets.foundation.stored_schema import IncompatibleRows
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.features.feast.lookups import lookup

FEATURE_REPO = Path(__file__).parents[3] / "feature_repo"
START = datetime(2013, 3, 1, 0, 0, 0, 500_000, tzinfo=UTC)
HOUR, MICROSECOND = timedelta(hours=1), timedelta(microseconds=1)
SALES = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Int64
shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.INT64, description="A shop.")
{name} = FeatureView(
    name="{name}", entities=[shop], ttl=timedelta(hours=1),
    schema=[Field(name="shop", dtype=Int64), Field(name="sold", dtype=Int64)],
    source=FileSource(name="sales", path="{name}.parquet", timestamp_field="at"),
)
service = FeatureService(name="sales_v1", features=[{name}])
"""


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    store = FeatureStore(Home(tmp_path_factory.mktemp("home")), service=USE_CASE.features.service)
    store.apply(FEATURE_REPO)
    return store


@pytest.fixture
def sales(tmp_path: Path) -> FeatureStore:
    """A repo whose only view was `hourly` and is now `daily`."""
    (tmp_path / "repo").mkdir()
    store = FeatureStore(Home(tmp_path / "home"), service="sales_v1")
    for name in ("hourly", "daily"):
        (tmp_path / "repo" / "declared.py").write_text(SALES.format(name=name))
        store.apply(tmp_path / "repo")
        assert [view.name for view in store.registry.open().list_feature_views()] == [name]
    return store


def test_the_views_of_a_changed_repo_are_served_to_the_microsecond(sales: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / "home" / "tables").mkdir()
    rows = pl.DataFrame({"shop": [1, 2], "at": [START, START], "sold": [7, None]})
    rows.write_parquet(tmp_path / "home" / "tables" / "daily.parquet")
    assert sales.materialize("daily", START.replace(microsecond=0)) == 2
    moments = [START - MICROSECOND, START, START + HOUR, START + HOUR + MICROSECOND]
    result = lookup(sales, pl.DataFrame({"shop": [1, 1, 1, 1], "event_timestamp": moments}))
    assert result["sold"].to_list() == [None, 7, 7, None]  # Feast's own SQLite store keeps seconds
    assert result.schema["sold"] == pl.Int64


def test_a_fraction_is_never_cut_to_the_whole_number_that_the_repo_declares(sales: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / "home" / "tables").mkdir()
    requests = pl.DataFrame({"shop": [1], "event_timestamp": [START]})
    for sold in (7.0, 7.5):
        pl.DataFrame({"shop": [1], "at": [START], "sold": [sold]}).write_parquet(tmp_path / "home" / "tables" / "daily.parquet")
        if sold == 7.0:
            assert sales.historical(requests)["sold"].to_list() == [7]
    message = r"'daily' · sold is declared as a whole number and Float64 in the table, with 1 fractions. Compute the table again"
    with pytest.raises(IncompatibleRows, match=message):
        sales.historical(requests)
    with pytest.raises(IncompatibleRows, match=message):
        sales.materialize("daily", START.replace(microsecond=0))


def test_a_view_without_a_push_source_is_not_pushed_to(sales: FeatureStore) -> None:
    with pytest.raises(NoPushSource, match="feature view 'daily' · it has no push source. Declare one"):
        sales.push("daily", pl.DataFrame({"shop": [1], "at": [START], "sold": [7]}))


def test_another_process_with_the_same_repo_applies_nothing(applied: FeatureStore) -> None:
    """Feast writes the moment at which a process built an object into it."""
    registry = applied.registry.open().config.registry_config.path
    before = Path(registry).read_bytes()
    program = """
import sys
from pathlib import Path
from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.foundation.home import Home
FeatureStore(Home(Path(sys.argv[1])), service="any").apply(Path(sys.argv[2]))
"""
    home = Path(registry).parents[1]
    subprocess.run([sys.executable, "-c", program, str(home), str(FEATURE_REPO)], check=True)
    assert Path(registry).read_bytes() == before


def test_a_reader_of_the_registry_while_it_is_written_gets_every_view(tmp_path: Path) -> None:
    home, counts, written = Home(tmp_path), set[int](), threading.Event()
    store = FeatureStore(home, service=USE_CASE.features.service)
    store.apply(FEATURE_REPO)
    declared = len(store.registry.open().registry.list_feature_views(FEAST_PROJECT))

    def write() -> None:
        for _ in range(300):
            store.registry.open().registry.commit()
        written.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not written.is_set() and not writing.done():
            views = feast.FeatureStore(config=feast_config(home, None)).registry.list_feature_views(FEAST_PROJECT)
            counts.add(len(views))
        writing.result()
    assert counts == {declared}


def test_the_registry_has_the_owner_entities_and_ttl_of_a_view(applied: FeatureStore) -> None:
    views = {view.name: view for view in applied.registry.open().list_feature_views()}
    assert views.keys() >= {f"flight_delay__{view.name}" for view in USE_CASE.features.views}
    assert not views["flight_delay__plane"].ttl
    route = views["flight_delay__route_delays"]
    entities = ["flight_delay__origin", "flight_delay__dest"]
    assert (route.owner, route.entities, route.ttl) == (USE_CASE.owner, entities, timedelta(days=2))


def test_an_unknown_service_or_view_is_named_with_the_known_ones(tmp_path: Path, applied: FeatureStore) -> None:
    with pytest.raises(UnknownFeatures, match=r"'flight_delay_v1' · not in the registry.*known: none. Apply feature_repo"):
        FeatureStore(Home(tmp_path), service="flight_delay_v1").feature_names()
    with pytest.raises(UnknownFeatures, match="'weather' · not in the registry.*origin_weather, plane"):
        applied.materialize("weather", START)
