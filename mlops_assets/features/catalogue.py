"""The feature catalogue of a use case: owner, sources, readers, freshness and recent distribution of every feature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_assets.features.lineage import view_columns_read
from mlops_assets.foundation import names
from mlops_assets.foundation.page import render
from mlops_assets.training.onnx_model import OnnxModel

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore
    from mlops_assets.foundation.delta_tables import DeltaTables
    from mlops_assets.spec.use_case import UseCase

RECENT = timedelta(days=30)


@dataclass(frozen=True)
class Statistics:
    """Statistics of recent rows; None for text, and where every value is missing."""

    rows: int = 0
    missing: float | None = None
    distinct: int = 0
    min: float | None = None
    median: float | None = None
    mean: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Feature:
    """`sources` are the validated columns it is computed from; `used_by` is empty when no model reads it."""

    name: str
    type: str
    description: str
    sources: str
    used_by: str
    statistics: Statistics


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
        expiry = f"expires after {self.ttl}" if self.ttl else "never expires"
        newest = f"newest row {self.newest:%Y-%m-%d %H:%M} UTC" if self.newest else "no rows yet"
        return [self.owner, f"by {' and '.join(self.entities)}", expiry, newest]


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
        return f"{len(features)} features in {len(self.views)} views, {unused} read by no model. {serving}."

    def rows(self) -> list[dict[str, Any]]:
        """One plain row per feature."""
        return [
            {"view": view.name, "owner": view.owner, "newest": view.newest} | asdict(feature) | asdict(feature.statistics)
            for view in self.views
            for feature in view.features
        ]


def as_html(catalog: Catalog) -> str:
    return render("feature_catalog", title=f"Features of {catalog.use_case}", catalog=catalog, days=RECENT.days)


def read_catalog(use_case: UseCase, *, store: FeatureStore, tables: DeltaTables, champion: tuple[int, bytes] | None) -> Catalog:
    """The declared views as Feast's registry describes them; `champion` is its version and its ONNX bytes."""
    registered = {view["view"]: view for view in store.describe()}
    version, served = (champion[0], OnnxModel.from_bytes(champion[1]).signature.inputs) if champion else (None, ())
    views: list[View] = []
    for view in use_case.features.views:
        entry: Any = registered[view.name]
        fields = {field["name"]: field for field in entry["features"]}
        newest, statistics = measure(tables.scan(names.feature(use_case.name, view.name)), [*fields])
        read = view_columns_read(use_case, view)
        features = tuple(
            Feature(
                **field,
                sources=", ".join(sorted(read.get(name, ()))),
                used_by=reader(use_case, name, champion=version, served=served),
                statistics=statistics.get(name, Statistics()),
            )
            for name, field in fields.items()
        )
        described = {name: entry[name] for name in ("description", "owner", "ttl")}
        views.append(View(view.name, **described, entities=tuple(entry["entities"]), newest=newest, features=features))
    return Catalog(use_case.name, use_case.question, version, tuple(views))


def reader(use_case: UseCase, feature: str, *, champion: int | None, served: tuple[str, ...]) -> str:
    """Which model version reads the feature; empty when none does."""
    declared = feature in use_case.features.inputs
    if feature in served:
        return f"{use_case.name} version {champion}" + ("" if declared else ", no longer declared")
    return f"{use_case.name}, from its next version" if declared else ""


def measure(
    table: pl.LazyFrame, features: list[str], window: timedelta = RECENT
) -> tuple[datetime | None, Mapping[str, Statistics]]:
    """The newest event time of a feature table, and the statistics of each feature in the `window` before it."""
    schema = table.collect_schema()
    newest: Any = table.select(pl.col(names.EVENT_TIMESTAMP).max()).collect().item() if names.EVENT_TIMESTAMP in schema else None
    if newest is None:
        return None, {}
    recent = table.filter(pl.col("day") > (newest - window).date())
    return newest, {column.name: _statistics(column) for column in recent.select(f for f in features if f in schema).collect()}


def _statistics(values: pl.Series) -> Statistics:
    known = (values.fill_nan(None) if values.dtype.is_float() else values).drop_nulls()
    numbers: list[Any] = [known.min(), known.median(), known.mean(), known.max()] if values.dtype.is_numeric() else [None] * 4
    missing = 1 - len(known) / len(values) if len(values) else None
    return Statistics(len(values), missing, known.n_unique(), *numbers)
