"""Every symbol of Feast 0.67 that Feast does not document, and its light import: 2 s of CPU instead of 7, and 0.4 GB less.

Feast lets typeguard instrument its classes at import (3 s; typeguard itself skips that under `python -O`), and loads torch
for a tensor type that no view here has (2 s); without torch it works as well.
"""

import importlib
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import typeguard

if TYPE_CHECKING:
    import feast
    from feast import OnDemandFeatureView
    from feast.infra.provider import Provider
    from feast.infra.registry.base_registry import BaseRegistry

DUMMY_ENTITY_ID = "__dummy_id"  # the join key that Feast gives to a view without entities


def import_feast() -> None:
    """Before the first import of a module that imports Feast; afterwards it does nothing."""
    if "feast" not in sys.modules:
        with _unchecked(), _without("torch"):
            importlib.import_module("feast")


class RegistryChanges(NamedTuple):
    """The arguments of `FeatureStore.apply`."""

    objects: list[Any]
    objects_to_delete: list[Any]


def registry_changes(store: "feast.FeatureStore", project: str, description: str) -> RegistryChanges:
    """What `feast apply` would do with the declarations in the working folder: Feast documents the command alone."""
    import feast
    from feast.repo_operations import extract_objects_for_apply_delete, parse_repo  # pyright: ignore[reportUnknownVariableType]

    declared = parse_repo(Path.cwd())
    if not declared.projects:
        declared.projects.append(feast.Project(name=project, description=description))
    objects, removed, _, _ = extract_objects_for_apply_delete(project, store.registry, declared)
    return RegistryChanges(cast(list[Any], objects), cast(list[Any], removed))


def provider_of(store: "feast.FeatureStore") -> "Provider":
    """Writes online values. The documented `write_to_online_store` drops rows whose features are all null."""
    from feast.infra.provider import get_provider

    return get_provider(store.config)


def on_demand_views(feature_refs: list[str], project: str, registry: "BaseRegistry") -> "list[OnDemandFeatureView]":
    from feast import OnDemandFeatureView

    return cast(Any, OnDemandFeatureView).get_requested_odfvs(feature_refs, project, registry)


def entity_key_prefix(join_keys: list[str]) -> bytes:
    """What the keys of all entities with these join keys start with, in Feast's Redis store."""
    from feast.infra.key_encoding_utils import serialize_entity_key_prefix

    return serialize_entity_key_prefix(join_keys)


def entity_values(entity_key: bytes) -> dict[str, Any]:
    """The values by join key in a stored key of Feast's online stores."""
    from feast.infra.key_encoding_utils import deserialize_entity_key

    key = cast(Any, deserialize_entity_key(entity_key))
    values = [getattr(value, value.WhichOneof("val")) for value in key.entity_values]
    return dict(zip(key.join_keys, values, strict=True))


@contextmanager
def _unchecked() -> Generator[None]:
    module, checked = cast(Any, typeguard), typeguard.typechecked
    module.typechecked = _unchanged
    try:
        yield
    finally:
        module.typechecked = checked


@contextmanager
def _without(name: str) -> Generator[None]:
    """As if it were not installed, unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    cast(dict[str, Any], sys.modules)[name] = None
    try:
        yield
    finally:
        del sys.modules[name]


def _unchanged(target: Any = None, **_: Any) -> Any:
    """Replaces a decorator, with or without arguments."""
    return _unchanged if target is None else target
