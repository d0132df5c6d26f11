"""The feature catalogue of a use case: owner, sources, readers, freshness and recent distribution of every feature."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_assets.features.lineage import view_columns_read
from mlops_assets.foundation import names
from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.moments import to_minute
from mlops_assets.foundation.page import render
from mlops_assets.foundation.wording import counted
from mlops_assets.training.onnx_model import OnnxModel

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore
    from mlops_assets.foundation.delta_tables import DeltaTables
    from mlops_assets.spec.use_case import UseCase

RECENT = timedelta(days=30)


@dataclass(frozen=True)
class Feature:
    """The figures are of recent rows, None for text and where every value is missing."""

    name: str
    type: str
    description: str
    sources: str  # the validated columns that it is computed from
    used_by: str  # empty when no model reads it
    rows: int = 0
    missing: float | None = None
    distinct: int = 0
    min: float | None = None
    median: float | None = None
    mean: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class View:
    """`ttl` is None where values never expire, `newest` before the first row."""

    name: str
    description: str
    owner: str
    entities: tuple[str, ...]
    ttl: timedelta | None
    newest: datetime | None
    features: tuple[Feature, ...]

    @property
    def facts(self) -> list[str]:
        expiry = f"expires after {in_words(self.ttl)}" if self.ttl else "never expires"
        newest = f"newest row {to_minute(self.newest)}" if self.newest else "no rows yet"
        by = f"by {' and '.join(self.entities)}" if self.entities else "for every request"
        return [self.owner, by, expiry, newest]


@dataclass(frozen=True)
class Catalog:
    use_case: str
    question: str
    champion: int | None
    views: tuple[View, ...]

    @property
    def summary(self) -> str:
        features = [feature for view in self.views for feature in view.features]
        unused = sum(not feature.used_by for feature in features)
        serving = f"Version {self.champion} serves" if self.champion else "No version serves yet"
        return f"{counted(len(features), 'feature')} in {counted(len(self.views), 'view')}, {unused} read by no model. {serving}."

    def rows(self) -> list[dict[str, Any]]:
        """One plain row per feature."""
        pairs = [(view, feature) for view in self.views for feature in view.features]
        return [{"view": view.name, "owner": view.owner, "newest": view.newest} | vars(feature) for view, feature in pairs]


def as_html(catalog: Catalog) -> str:
    return render("feature_catalog", title=f"Features of {catalog.use_case}", catalog=catalog, days=RECENT.days)


def read_catalog(use_case: UseCase, *, store: FeatureStore, tables: DeltaTables, champion: tuple[int, bytes] | None) -> Catalog:
    """The declared views as Feast's registry describes them; `champion` is its version and its ONNX bytes."""
    version, served = (champion[0], OnnxModel.from_bytes(champion[1]).signature.inputs) if champion else (None, ())
    views: list[View] = []
    for declared in use_case.features.views:
        view = store.view(declared.name)
        rows = tables.scan(names.feature(use_case.name, declared.name))
        newest, statistics = measure(rows, [field.name for field in view.features])
        read = view_columns_read(use_case, declared)
        features = tuple(
            Feature(
                field.name,
                str(field.dtype),
                field.description,
                sources=", ".join(sorted(read.get(field.name, ()))),
                used_by=reader(use_case, field.name, champion=version, served=served),
                **statistics.get(field.name, {}),
            )
            for field in view.features
        )
        views.append(View(declared.name, view.description, view.owner, declared.entity, view.ttl or None, newest, features))
    return Catalog(use_case.name, use_case.question, version, tuple(views))


def reader(use_case: UseCase, feature: str, *, champion: int | None, served: tuple[str, ...]) -> str:
    """Which model version reads the feature; empty when none does."""
    declared = feature in use_case.features.inputs
    if feature in served:
        return f"{use_case.name} version {champion}" + ("" if declared else ", no longer declared")
    return f"{use_case.name}, from its next version" if declared else ""


def measure(table: pl.LazyFrame, features: list[str]) -> tuple[datetime | None, dict[str, dict[str, Any]]]:
    """The newest event time of a feature table, and the figures of each feature in the days before it."""
    schema = table.collect_schema()
    newest: Any = table.select(pl.col(names.EVENT_TIMESTAMP).max()).collect().item() if names.EVENT_TIMESTAMP in schema else None
    if newest is None:
        return None, {}
    recent = table.filter(pl.col("day") > (newest - RECENT).date())
    return newest, {column.name: _figures(column) for column in recent.select(f for f in features if f in schema).collect()}


def _figures(values: pl.Series) -> dict[str, Any]:
    known = (values.fill_nan(None) if values.dtype.is_float() else values).drop_nulls()
    figures = {"rows": len(values), "missing": 1 - len(known) / len(values), "distinct": known.n_unique()}
    if not values.dtype.is_numeric():
        return figures
    return figures | {"min": known.min(), "median": known.median(), "mean": known.mean(), "max": known.max()}
