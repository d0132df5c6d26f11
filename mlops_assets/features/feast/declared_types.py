"""Rows and join keys in the types that Feast's registry has for them."""

from collections.abc import Sequence
from typing import Any

import feast
import polars as pl

from mlops_assets.features.feast.feature_registry import service_view
from mlops_assets.features.online.layout import ServiceView
from mlops_assets.foundation.stored_schema import IncompatibleRows, converted, count_changed


def as_declared(view: feast.FeatureView, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with every feature of the view, in its declared type."""
    declared = service_view(view)
    rows = rows.with_columns(pl.lit(None).alias(name) for name in declared.features if name not in rows.columns)
    return rows.with_columns(feature_columns(declared, rows))


def feature_columns(view: ServiceView, rows: pl.DataFrame) -> list[pl.Expr]:
    """The features in their declared types; null for text of no such value.

    Raises IncompatibleRows where a feature that is declared as a whole number has a fraction in the view's table.
    """
    features: list[pl.Expr] = []
    for name, dtype in view.features.items():
        stored = rows.schema[name]
        if stored.is_numeric() and dtype.is_integer() and (fractions := count_changed(rows, name, dtype)):
            found = f"{name} is declared as a whole number and {stored} in the table, with {fractions:,} fractions"
            advice = "Compute the table again, or return a float from the view's transform"
            raise IncompatibleRows(f"feature view {view.declared!r} · {found}. {advice}.")
        both_numbers = stored.is_numeric() and dtype.is_numeric()  # a number may be rounded to the nearest float
        features.append(pl.col(name).cast(dtype) if both_numbers else converted(name, stored, dtype).alias(name))
    return features


def as_type(values: Sequence[Any], dtype: pl.DataType) -> Sequence[Any]:
    """Join keys as values of a column of this type."""
    # A comparison of Polars' types takes a microsecond.
    plain = str if isinstance(dtype, pl.String) else int if dtype.is_integer() else None
    if plain and all(value is None or type(value) is plain for value in values):
        return values
    return pl.Series(values).cast(dtype).to_list()
