"""A feature service as Feast's registry declares it, in the words of the mirror.

Belongs here: types, keys and TTLs of its views. Not here: reading and writing (feature_store, online_mirror).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import polars as pl
from feast import FeatureView, ValueType

from mlops_assets.features.offline.point_in_time import UTC_MICROSECONDS, EntityFrameMismatch, utc
from mlops_assets.features.online.online_mirror import Group
from mlops_assets.features.online.packed_rows import Layout, Segment

POLARS_TYPE: dict[ValueType, pl.DataType] = {
    ValueType.DOUBLE: pl.Float64(),
    ValueType.FLOAT: pl.Float32(),
    ValueType.INT64: pl.Int64(),
    ValueType.INT32: pl.Int32(),
    ValueType.STRING: pl.String(),
    ValueType.BOOL: pl.Boolean(),
    ValueType.UNIX_TIMESTAMP: UTC_MICROSECONDS,
}


@dataclass(frozen=True)
class ServiceView:
    """One view as a service takes it. `keys`: its join keys, with their names in an entity frame and their types."""

    name: str
    declared: str  # its name in the registry
    ttl: timedelta
    features: dict[str, pl.DataType]
    keys: dict[str, tuple[str, pl.DataType]]


def service_view(view: FeatureView) -> ServiceView:
    """Raises ValueError for a type that cannot be held online."""
    named = view.projection.join_key_map or {}
    keys = {
        each.name: (named.get(each.name, each.name), polars_type(view, each.name, each.dtype.to_value_type()))
        for each in view.entity_columns
    }
    features = {each.name: polars_type(view, each.name, each.dtype.to_value_type()) for each in view.projection.features}
    return ServiceView(view.projection.name_to_use(), view.name, view.ttl or timedelta(0), features, keys)


def groups(views: Sequence[ServiceView]) -> tuple[Group, ...]:
    """The views by their join keys, both in the order of the service."""
    together: dict[tuple[str, ...], list[Segment]] = {}
    for view in views:
        together.setdefault(_asked(view), []).append(Segment(view.name, view.ttl, view.features))
    return tuple(Group(keys, Layout(tuple(segments))) for keys, segments in together.items())


def entity_columns(views: Sequence[ServiceView], rows: pl.DataFrame) -> dict[str, pl.Series]:
    """The join keys of all views in their declared types, each by itself: a query costs 0.1 ms, a needless cast 4 µs.

    Raises EntityFrameMismatch for one that `rows` lacks.
    """
    types, given = {name: dtype for view in views for name, dtype in view.keys.values()}, rows.columns
    if types.keys() - set(given):
        raise _lacking(views, given)
    columns = [(rows.get_column(name), dtype) for name, dtype in types.items()]
    return {each.name: each if each.dtype == dtype else each.cast(dtype) for each, dtype in columns}


def newest_rows(view: ServiceView, rows: pl.DataFrame, timestamp: str) -> pl.DataFrame:
    """Rows of the view's table as the mirror takes them: join keys by their names in an entity frame, features, `timestamp`."""
    keys = [pl.col(ours).cast(dtype).alias(name) for ours, (name, dtype) in view.keys.items()]
    features = [pl.col(name).cast(dtype) for name, dtype in view.features.items()]
    return rows.select(*keys, *features, utc(timestamp, rows.schema[timestamp]).alias("timestamp"))


def polars_type(view: FeatureView, name: str, value_type: ValueType) -> pl.DataType:
    if value_type not in POLARS_TYPE:
        legal = ", ".join(each.name for each in POLARS_TYPE)
        raise ValueError(f"feature view {view.name!r} · {name} is a {value_type.name}; legal: {legal}. Declare one of these.")
    return POLARS_TYPE[value_type]


def _lacking(views: Sequence[ServiceView], given: Sequence[str]) -> EntityFrameMismatch:
    view, missing = next(
        (view, missing) for view in views if (missing := [ours for ours, _ in view.keys.values() if ours not in given])
    )
    found = f"the entity frame lacks {', '.join(missing)}; it has {', '.join(given)}"
    return EntityFrameMismatch(f"feature view {view.name!r} · {found}. Add the join key.")


def _asked(view: ServiceView) -> tuple[str, ...]:
    return tuple(name for name, _ in view.keys.values())
