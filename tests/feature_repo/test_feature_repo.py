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
from mlops_assets.features.lineage import view_columns_read
from mlops_assets.foundation import names
from mlops_assets.foundation.home import Home
from mlops_assets.use_cases import USE_CASES

PROJECT = Path(__file__).parents[2]
VIEWS = {names.in_feast(one.name, view.name): (one, view) for one in USE_CASES for view in one.features.views}
OWNERS = {use_case.name: use_case.owner for use_case in USE_CASES}


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[feast.FeatureStore]:
    """The registry after `feast apply` in a fresh copy of the folder."""
    repo = tmp_path_factory.mktemp("clone") / "feature_repo"
    shutil.copytree(PROJECT / "feature_repo", repo, ignore=shutil.ignore_patterns("__pycache__"))
    (repo.parent / ".mlops").mkdir()  # the platform's home, which its first run creates
    feast_command = Path(sys.executable).with_name("feast")
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([feast_command, "apply"], cwd=repo, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    yield feast.FeatureStore(repo_path=str(repo))


def test_the_feast_command_and_the_platform_use_the_same_registry(applied: feast.FeatureStore) -> None:
    registered = {view.name: [field.name for field in view.features] for view in applied.list_feature_views()}
    for use_case in (use_case for use_case in USE_CASES if use_case.features.views):
        ours = FeatureStore(Home(Path(applied.repo_path).parent / ".mlops"), service=use_case.features.service)
        views = [names.in_feast(use_case.name, view.name) for view in use_case.features.views]
        assert list(ours.feature_names()) == [feature for view in views for feature in registered[view]]
    assert applied.project == names.FEAST_PROJECT


def test_every_object_has_a_description_and_an_owner(applied: feast.FeatureStore) -> None:
    views = applied.list_feature_views()
    entities = [entity for entity in applied.list_entities() if entity.name != "__dummy"]
    declared = [*views, *entities, *applied.list_feature_services(), *applied.list_data_sources()]
    kinds = {type(item).__name__ for item in declared}
    assert kinds == {"FeatureView", "Entity", "FeatureService", "FileSource", "PushSource"}
    for item in declared:
        assert item.description and item.owner == OWNERS[item.tags["use_case"]], item.name
    assert all(field.description and field.dtype == Float64 for view in views for field in view.features)


def test_each_view_has_the_features_of_its_transform_and_reads_its_own_table(applied: feast.FeatureStore) -> None:
    views = {view.name: view for view in applied.list_feature_views()}
    assert views.keys() == VIEWS.keys()
    for name, view in views.items():
        use_case, declared = VIEWS[name]
        computed = view_columns_read(use_case, declared).keys() - {*declared.entity, names.EVENT_TIMESTAMP, "day"}
        assert {field.name for field in view.features} == computed
        assert (view.join_keys, view.ttl) == (list(declared.entity), declared.ttl)
        assert view.batch_source.path == names.feature_source(use_case.name, declared.name)
        assert view.batch_source.timestamp_field == names.EVENT_TIMESTAMP


def test_the_service_has_the_declared_names(applied: feast.FeatureStore) -> None:
    for use_case in (use_case for use_case in USE_CASES if use_case.features.views):
        projections = applied.get_feature_service(use_case.features.service).feature_view_projections
        assert [one.name_to_use() for one in projections] == [view.name for view in use_case.features.views]
