"""One feature view as a feature service takes it, read from Feast's online store into a frame.

Belongs here: entity keys in, values by name out. Not here: what the values mean at a moment (feature_store).
"""

# ruff: noqa: TID253 - only feature_store, the home of Feast, imports this module

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from feast import FeatureView, RepoConfig, ValueType
from feast.infra.provider import Provider
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values

from mlops_assets.ports.point_in_time import UTC_MICROSECONDS, EntityFrameMismatch

KEYS_PER_READ = 10_000  # SQLite limits the values of one statement to 32,766
POLARS_TYPE: dict[ValueType, pl.DataType] = {
    ValueType.DOUBLE: pl.Float64(),
    ValueType.FLOAT: pl.Float32(),
    ValueType.INT64: pl.Int64(),
    ValueType.INT32: pl.Int32(),
    ValueType.STRING: pl.String(),
    ValueType.BOOL: pl.Boolean(),
    ValueType.UNIX_TIMESTAMP: UTC_MICROSECONDS,
}

Held = tuple[datetime | None, dict[str, Any] | None]


class OnlineView:
    """`features` by name with their types, `ttl` (zero never expires). Raises ValueError for a type it cannot hold."""

    def __init__(self, view: FeatureView) -> None:
        self._view = view
        self.name = view.projection.name_to_use()
        self.ttl: timedelta = view.ttl or timedelta(0)
        fields = view.projection.features
        self.features = {each.name: _polars_type(view, each.name, each.dtype.to_value_type()) for each in fields}
        self._key_types = {each.name: each.dtype.to_value_type() for each in view.entity_columns}
        self._columns: dict[str, str] = view.projection.join_key_map or {key: key for key in self._key_types}

    def read(self, provider: Provider, config: RepoConfig, entity_rows: pl.DataFrame) -> pl.DataFrame:
        """For each entity row the stored features and `timestamp`, all null for a key that is null or unknown.

        Every distinct key is read once, and values are taken by name: Feast promises no order.
        """
        if missing := [ours for ours in self._columns.values() if ours not in entity_rows.columns]:
            found = f"the entity frame lacks {', '.join(missing)}; it has {', '.join(entity_rows.columns)}"
            raise EntityFrameMismatch(f"feature view {self.name!r} · {found}. Add the join key.")
        types = {key: _polars_type(self._view, key, value_type) for key, value_type in self._key_types.items()}
        asked = entity_rows.select(pl.col(ours).cast(types[key]).alias(key) for key, ours in self._columns.items())
        parts = [self._read_keys(provider, config, part) for part in asked.unique().drop_nulls().iter_slices(KEYS_PER_READ)]
        found = pl.concat([self._frame(asked.clear(), []), *parts])
        return asked.join(found, on=list(self._columns), how="left", maintain_order="left").drop(*self._columns)

    def _read_keys(self, provider: Provider, config: RepoConfig, keys: pl.DataFrame) -> pl.DataFrame:
        if keys.is_empty():
            return self._frame(keys, [])
        columns = [python_values_to_proto_values(keys[key].to_list(), self._key_types[key]) for key in keys.columns]
        entity_keys = [EntityKey(join_keys=keys.columns, entity_values=list(values)) for values in zip(*columns, strict=True)]
        # A fresh list of names: Feast's Redis store appends to the one that it is given.
        return self._frame(keys, provider.online_read(config, self._view, entity_keys, list(self.features)))

    def _frame(self, keys: pl.DataFrame, held: Sequence[Held]) -> pl.DataFrame:
        values = {
            name: pl.Series(name, [_python(found, name) for _, found in held], dtype=dtype, strict=False)
            for name, dtype in self.features.items()
        }
        moments = pl.Series("timestamp", [moment for moment, _ in held], dtype=UTC_MICROSECONDS)
        return keys.with_columns(*values.values(), moments)


def _python(found: dict[str, Any] | None, name: str) -> Any:
    return None if found is None or name not in found else feast_value_type_to_python_type(found[name])


def _polars_type(view: FeatureView, name: str, value_type: ValueType) -> pl.DataType:
    if value_type not in POLARS_TYPE:
        legal = ", ".join(each.name for each in POLARS_TYPE)
        raise ValueError(f"feature view {view.name!r} · {name} is a {value_type.name}; legal: {legal}. Declare one of these.")
    return POLARS_TYPE[value_type]
