"""feature_repo/ is plain Feast: its own command applies it, and what it declares is complete."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import feast
import pytest
from feast.types import Float64

from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.foundation import names
from mlops_assets.foundation.home import Home

PROJECT = Path(__file__).parents[2]
VIEWS = {
    "origin_weather": "temp dewp humid wind_speed wind_gust precip_3h pressure pressure_change_3h visib",
    "origin_delays": "origin_late_rate_2h origin_late_rate_4h origin_late_rate_24h origin_dep_delay_2h origin_dep_delay_24h",
    "carrier_delays": "carrier_late_rate_6h carrier_late_rate_24h carrier_late_rate_7d carrier_dep_delay_24h",
    "route_delays": "route_late_rate_7d route_late_rate_30d",
    "route_schedule": "distance",
    "tail_delays": "tail_last_arr_delay",
    "plane": "seats built",
}


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[feast.FeatureStore]:
    """`feast apply`, typed by a Feast user in a fresh copy of the folder."""
    repo = tmp_path_factory.mktemp("clone") / "feature_repo"
    shutil.copytree(PROJECT / "feature_repo", repo, ignore=shutil.ignore_patterns("__pycache__"))
    (repo.parent / ".mlops").mkdir()  # the platform's home, which its first run makes
    feast_command = Path(sys.executable).with_name("feast")
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([feast_command, "apply"], cwd=repo, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    yield feast.FeatureStore(repo_path=str(repo))


def test_the_feast_command_and_the_platform_see_the_same_registry(applied: feast.FeatureStore) -> None:
    ours = FeatureStore(Home(Path(applied.repo_path).parent / ".mlops"), service="flight_delay_v1")
    assert " ".join(ours.feature_names()) == " ".join(VIEWS.values())
    assert applied.project == names.FEAST_PROJECT


def test_every_declared_object_says_what_it_is_and_whose(applied: feast.FeatureStore) -> None:
    views = applied.list_feature_views()
    entities = [entity for entity in applied.list_entities() if entity.name != "__dummy"]
    declared = [*views, *entities, *applied.list_feature_services(), *applied.list_data_sources()]
    assert {type(each).__name__ for each in declared} == {"FeatureView", "Entity", "FeatureService", "FileSource", "PushSource"}
    for each in declared:
        assert each.description and each.owner == "team:network-operations", each.name
        assert each.tags["use_case"] == "flight_delay", each.name
    assert all(field.description and field.dtype == Float64 for view in views for field in view.features)


def test_each_view_reads_its_own_table_below_the_root(applied: feast.FeatureStore) -> None:
    views = {view.name: view for view in applied.list_feature_views()}
    assert {name: " ".join(field.name for field in view.features) for name, view in views.items()} == VIEWS
    for name, view in views.items():
        assert view.batch_source.path == names.feature_source("flight_delay", name)
        assert view.batch_source.timestamp_field == "event_timestamp"
    assert {name: view.join_keys for name, view in views.items() if name.startswith("route")} == {
        "route_delays": ["origin", "dest"],
        "route_schedule": ["origin", "dest"],
    }
