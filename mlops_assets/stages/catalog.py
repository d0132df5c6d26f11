"""The feature catalogue: which features exist, whose they are, which models read them, how fresh and how distributed.

Belongs here: putting a registry's views, their tables and their readers together, and the statistics. Not here: the
fetching (feature_catalog.py) and how people read it (catalog_page.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import polars as pl

MOMENT, DAY = "event_timestamp", "day"
RECENT = timedelta(days=30)


@dataclass(frozen=True)
class Reader:
    """One model line: the inputs that it declares, and those of the version that answers now (None: nobody answers)."""

    use_case: str
    inputs: tuple[str, ...]
    champion: int | None = None
    champion_inputs: tuple[str, ...] = ()

    def said_of(self, feature: str) -> str | None:
        """How this line reads the feature; None when it does not."""
        declared, served = feature in self.inputs, feature in self.champion_inputs
        if served:
            return f"{self.use_case} version {self.champion}" + ("" if declared else ", no longer declared")
        return f"{self.use_case}, from its next model on" if declared else None


@dataclass(frozen=True)
class Statistics:
    """Of the recent rows of one feature; the numbers are None for text, and where every value is missing."""

    rows: int = 0
    null_share: float | None = None
    distinct: int = 0
    min: float | None = None
    p50: float | None = None
    mean: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class FeatureEntry:
    """One feature; `used_by` is empty when no model reads it."""

    name: str
    type: str
    description: str
    used_by: tuple[str, ...]
    statistics: Statistics


@dataclass(frozen=True)
class ViewEntry:
    """One feature view. `newest` is the moment of its newest row, None before the first; `ttl` None never expires."""

    name: str
    description: str
    owner: str
    entities: tuple[str, ...]
    ttl: timedelta | None
    newest: datetime | None
    features: tuple[FeatureEntry, ...]


@dataclass(frozen=True)
class Catalog:
    """The views of one use case, with statistics over the last `window` of each view's own rows."""

    use_case: str
    question: str
    champion: int | None
    window: timedelta
    views: tuple[ViewEntry, ...]

    @property
    def newest(self) -> datetime | None:
        return max((view.newest for view in self.views if view.newest), default=None)

    def behind(self, view: ViewEntry) -> timedelta | None:
        """How much older a view's newest row is than the newest of all views: a replay has a clock of its own."""
        return self.newest - view.newest if self.newest and view.newest else None

    def rows(self) -> list[dict[str, Any]]:
        """One plain row per feature, in the order of the registry."""
        return [_row(view, feature) for view in self.views for feature in view.features]


def describe_view(
    described: Mapping[str, object], table: pl.LazyFrame, readers: Sequence[Reader], *, window: timedelta = RECENT
) -> ViewEntry:
    """What FeatureStore.describe says of a view, with what its table holds (no columns: nothing has filled it yet)."""
    features = cast(list[dict[str, str]], described["features"])
    newest, found = measure(table, [feature["name"] for feature in features], window=window)
    return ViewEntry(
        name=str(described["view"]),
        description=str(described["description"]),
        owner=str(described["owner"]),
        entities=tuple(cast(list[str], described["entities"])),
        ttl=cast("timedelta | None", described["ttl"]),
        newest=newest,
        features=tuple(_entry(feature, found.get(feature["name"], Statistics()), readers) for feature in features),
    )


def measure(table: pl.LazyFrame, features: Sequence[str], *, window: timedelta) -> tuple[datetime | None, dict[str, Statistics]]:
    """The newest moment of a feature table, and each feature's statistics over the days within `window` before it.

    Only those days are read. A feature that the table does not have yet is left out.
    """
    schema = table.collect_schema()
    newest = cast("datetime | None", table.select(pl.col(MOMENT).max()).collect().item()) if MOMENT in schema else None
    if newest is None:
        return None, {}
    recent = table.filter(pl.col(DAY) > (newest - window).date()).select(name for name in features if name in schema).collect()
    return newest, {column.name: _statistics(column) for column in recent}


def _statistics(values: pl.Series) -> Statistics:
    known = (values.fill_nan(None) if values.dtype.is_float() else values).drop_nulls()
    missing = 1 - len(known) / len(values) if len(values) else None
    counted = Statistics(len(values), missing, known.n_unique())
    if not values.dtype.is_numeric() or known.is_empty():
        return counted
    low, middle, mean, high = (cast(float, each) for each in (known.min(), known.median(), known.mean(), known.max()))
    return Statistics(counted.rows, missing, counted.distinct, low, middle, mean, high)


def _entry(feature: Mapping[str, str], found: Statistics, readers: Sequence[Reader]) -> FeatureEntry:
    said = (reader.said_of(feature["name"]) for reader in readers)
    used_by = tuple(each for each in said if each)
    return FeatureEntry(feature["name"], feature["type"], feature["description"], used_by, found)


def _row(view: ViewEntry, feature: FeatureEntry) -> dict[str, Any]:
    return {
        "view": view.name,
        "feature": feature.name,
        "type": feature.type,
        "owner": view.owner,
        "used_by": "; ".join(feature.used_by),
        "newest": view.newest,
        **vars(feature.statistics),
        "description": feature.description,
    }
