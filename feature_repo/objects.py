"""Feast's objects of every use case, built from its declaration. Feast's names carry the use case; in its own service a view has
the declared name, so that `view:feature` is the same in both.
"""

import warnings
from typing import Any, cast

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.data_format import DeltaFormat
from feast.types import from_value_type

from mlops_assets.features.declared_columns import Columns, returned_columns, type_in_feast, view_features, view_place
from mlops_assets.features.feast.feature_registry import POLARS_TYPE
from mlops_assets.foundation import names
from mlops_assets.spec import feature
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import USE_CASES

FEAST_TYPE = {stored: value_type for value_type, stored in POLARS_TYPE.items()}


def build_objects(use_case: UseCase) -> dict[str, Any]:
    """The entities, feature views and feature service, by kind and name. Raises ValueError for a transform that fails."""
    declared = use_case.features.views
    returned, problems = returned_columns(use_case) if declared else ({}, [])
    if problems:
        raise ValueError(" ".join(problems))
    columns = view_features(use_case, returned)
    for view in declared:
        columns[view.name] |= {name: returned[view_place(view.name)][name] for name in view.entity}
    entities = {name: _entity(use_case, name, columns[view.name][name]) for view in declared for name in view.entity}
    views = [_view(use_case, view, [entities[name] for name in view.entity], columns[view.name]) for view in declared]
    service = FeatureService(
        name=use_case.features.service,
        features=[cast(FeatureView, built.with_name(view.name)) for built, view in zip(views, declared, strict=True)],
        description=f"What the model knows: {use_case.question}",
        **_owned(use_case),
    )
    built = [*entities.values(), *views, *([service] if views else [])]
    return {f"{type(one).__name__} {one.name}": one for one in built}


def _entity(use_case: UseCase, name: str, dtype: Any) -> Entity:
    tables = [contract.table for contract in use_case.contracts]
    description, value_type = use_case.description_of(name, tables), _value_type(dtype)
    full_name = names.in_feast(use_case.name, name)
    return Entity(name=full_name, join_keys=[name], value_type=value_type, description=description, **_owned(use_case))


def _view(use_case: UseCase, view: feature.FeatureView, entities: list[Entity], columns: Columns) -> FeatureView:
    name, owned = names.in_feast(use_case.name, view.name), _owned(use_case)
    table = FileSource(
        name=f"{name}_table",
        path=names.feature_source(use_case.name, view.name),
        file_format=DeltaFormat(),
        timestamp_field=names.EVENT_TIMESTAMP,
        description=f"Delta table of {view.name}, under the offline store's root.",
        **owned,
    )
    fresh = f"Fresh rows of {view.name}, before the table of their partition is filled."
    texts = {column: view.descriptions.get(column) or use_case.description_of(column, view.tables) for column in columns}
    types = {column: from_value_type(_value_type(dtype)) for column, dtype in columns.items()}
    schema = [Field(name=column, dtype=types[column], description=text) for column, text in texts.items()]
    return FeatureView(
        name=name,
        entities=entities,
        ttl=view.ttl,
        schema=schema,
        source=PushSource(name=f"{name}_push", batch_source=table, description=fresh, **owned),
        description=view.description,
        **owned,
    )


def _value_type(dtype: Any) -> ValueType:
    return FEAST_TYPE[cast(Any, type_in_feast(dtype))]


def _owned(use_case: UseCase) -> dict[str, Any]:
    return {"owner": use_case.owner, "tags": {"use_case": use_case.name}}


for use_case in USE_CASES:
    try:
        globals().update(build_objects(use_case))  # Feast registers the attributes of a module
    except Exception as error:  # noqa: BLE001 - transforms may fail in any way; the other use cases go on
        warnings.warn(f"{use_case.name} · is left out: {type(error).__name__}: {error} · Run `mlops check`.", stacklevel=1)
