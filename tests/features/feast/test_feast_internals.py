"""Feast's undocumented symbols still exist, and its light import leaves nothing behind."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

from mlops_assets.features.feast.feast_internals import registration_of
from mlops_assets.features.offline.point_in_time import NO_ENTITY, NO_ENTITY_VALUE

CODE = """
import json, sys
import typeguard
checked = typeguard.typechecked
import mlops_assets.features.feast
import feast
loaded = "torch" in sys.modules
import torch
print(json.dumps({"torch with feast": loaded, "torch later": torch.ones(2).sum().item(), "checked": typeguard.typechecked is checked}))
"""


def test_feast_comes_without_torch_which_can_be_imported_later() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"torch with feast": False, "torch later": 2.0, "checked": True}


def test_the_undocumented_symbols_of_feast_have_the_shape_that_we_use() -> None:
    """When this fails after an upgrade, adapt features/feast/feast_internals.py, the only module that names these symbols."""
    from feast import feature_view
    from feast.infra.provider import Provider, get_provider
    from feast.repo_operations import extract_objects_for_apply_delete, parse_repo

    assert list(inspect.signature(parse_repo).parameters) == ["repo_root"]
    assert list(inspect.signature(extract_objects_for_apply_delete).parameters)[:3] == ["project", "registry", "repo"]
    assert (NO_ENTITY, NO_ENTITY_VALUE) == (feature_view.DUMMY_ENTITY_ID, feature_view.DUMMY_ENTITY_VAL)
    assert list(inspect.signature(get_provider).parameters) == ["config"]
    assert {"feature_view", "df"} <= set(inspect.signature(Provider.ingest_df).parameters)


def test_a_view_has_another_registration_once_it_is_applied_with_other_features(tmp_path: Path) -> None:
    from feast import FeatureStore, FeatureView, Field, FileSource, RepoConfig
    from feast.types import Float64

    online = {"type": "sqlite", "path": str(tmp_path / "online.db")}  # else in the working directory
    config = RepoConfig(project="canary", registry=str(tmp_path / "registry.db"), provider="local", online_store=online)
    store, registrations = FeatureStore(config=config), list[bytes]()
    source = FileSource(path=str(tmp_path / "rows.parquet"), timestamp_field="at")
    for features in (["a"], ["a"], ["a", "b"]):
        schema = [Field(name=name, dtype=Float64) for name in features]
        store.apply([FeatureView(name="view", entities=[], schema=schema, source=source)])
        registrations.append(registration_of(store.get_feature_view("view")))
    assert registrations[0] == registrations[1] != registrations[2]
