"""Lookups as frames, for tests that compare them with history."""

import polars as pl

from mlops_assets.features.feast.feature_store import FeatureStore


def lookup(store: FeatureStore, entity_rows: pl.DataFrame) -> pl.DataFrame:
    """`entity_rows` with the features, `features_from` and `feature_age_s`, in the same order."""
    result = store.look_up(entity_rows.to_dict(as_series=False))
    views = store.registry.views_of(store.service)
    types = {name: dtype for view in views for name, dtype in view.features.items()}
    features = pl.DataFrame(result.features, schema=types)
    missing = [pl.col(name).fill_nan(None) for name, dtype in types.items() if dtype.is_float()]
    ages = pl.Struct({view.name: pl.Float64() for view in views})
    return entity_rows.hstack(features.with_columns(missing)).with_columns(
        pl.Series("features_from", result.features_from, pl.String()), pl.Series("feature_age_s", result.ages, ages)
    )
