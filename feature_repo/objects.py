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
    if not use_case.features.views:
        return {}
    returned, problems = returned_columns(use_case)
    if problems:
        raise ValueError(" ".join(problems))
    features, views, entities = view_features(use_case, returned), list[FeatureView](), dict[str, Entity]()
    for view in use_case.features.views:
        keys = {name: returned[view_place(view.name)][name] for name in view.entity}
        for name, dtype in keys.items():
            entities[name] = entities.get(name) or _entity(use_case, view, name, dtype)
        views.append(_view(use_case, view, [entities[name] for name in keys], keys | features[view.name]))
    service = FeatureService(
        name=use_case.features.service,
        features=[cast(FeatureView, view.with_name(declared)) for view, declared in zip(views, features, strict=True)],
        description=f"What the model knows: {use_case.question}",
        **_owned(use_case),
    )
    return {f"{type(one).__name__} {one.name}": one for one in (*entities.values(), *views, service)}


def _value_type(dtype: Any) -> ValueType:
    return FEAST_TYPE[cast(Any, type_in_feast(dtype))]


def _entity(use_case: UseCase, view: feature.FeatureView, name: str, dtype: Any) -> Entity:
    return Entity(
        name=names.in_feast(use_case.name, name),
        join_keys=[name],
        value_type=_value_type(dtype),
        description=_description(use_case, view, name),
        **_owned(use_case),
    )


def _view(use_case: UseCase, view: feature.FeatureView, entities: list[Entity], columns: Columns) -> FeatureView:
    name = names.in_feast(use_case.name, view.name)
    table = FileSource(
        name=f"{name}_table",
        path=names.feature_source(use_case.name, view.name),
        file_format=DeltaFormat(),
        timestamp_field=names.EVENT_TIMESTAMP,
        description=f"Delta table of {view.name}, under the offline store's root.",
        **_owned(use_case),
    )
    fresh = f"Fresh rows of {view.name}, before the table of their partition is filled."
    return FeatureView(
        name=name,
        entities=entities,
        ttl=view.ttl,
        schema=[
            Field(name=column, dtype=from_value_type(_value_type(dtype)), description=_description(use_case, view, column))
            for column, dtype in columns.items()
        ],
        source=PushSource(name=f"{name}_push", batch_source=table, description=fresh, **_owned(use_case)),
        description=view.description,
        **_owned(use_case),
    )


def _description(use_case: UseCase, view: feature.FeatureView, column: str) -> str:
    """As declared, or that of the column of this name in the view's tables."""
    columns = [one for table in view.tables for one in use_case.columns(table)]
    return view.descriptions.get(column) or next((one.description for one in columns if one.name == column), "")


def _owned(use_case: UseCase) -> dict[str, Any]:
    return {"owner": use_case.owner, "tags": {"use_case": use_case.name}}


for declared in USE_CASES:
    try:
        globals().update(build_objects(declared))  # Feast registers the attributes of a module
    except Exception as error:  # noqa: BLE001 - transforms may fail in any way; the other use cases go on
        reason = f"{type(error).__name__}: {error}"
        warnings.warn(f"{declared.name} · its objects are left out: {reason} · Run `mlops check`.", stacklevel=1)
