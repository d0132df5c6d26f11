"""Which model versions were trained on the rows of one subject.

Belongs here: reading it from the training tables as they were, while they still can be read. Not here: erasing them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from mlops_assets import names
from mlops_assets.ports.delta_tables import DeltaTables, VersionGone
from mlops_assets.ports.sought import Sought
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.ports.model_registry import ModelRegistry

TABLE_VERSION = "table.training_set"
FIRST, LAST = "window.first", "window.last"


@dataclass(frozen=True)
class TrainedOn:
    """Model versions whose training table held the rows; and those whose table cannot tell any more, with a training window
    in which requests of the subject fall.
    """

    certain: list[int]
    possible: list[int]


def trained_on(use_case: UseCase, sought: Sought, *, tables: DeltaTables, registry: "ModelRegistry") -> TrainedOn:
    asset = names.stage(use_case.name, "training_set")
    moments = _moments(use_case, sought, tables)

    @cache
    def held(version: str | None) -> bool | None:
        return _holds(tables, asset, version, sought)

    versions = registry.versions(names.registered_model(use_case.name))
    told = [(each, held(each.tags.get(TABLE_VERSION))) for each in versions]
    certain = [each.version for each, holds in told if holds]
    possible = [each.version for each, holds in told if holds is None and _may_hold(each.tags, moments)]
    return TrainedOn(certain, possible)


def _holds(tables: DeltaTables, asset: names.AssetPath, version: str | None, sought: Sought) -> bool | None:
    """None: it cannot be told."""
    try:
        rows = pl.DataFrame() if version is None else tables.read_version(asset, int(version))
    except VersionGone:
        return None
    theirs = sought.in_rows(rows.schema)
    return None if theirs is None else not rows.filter(theirs).is_empty()


def _moments(use_case: UseCase, sought: Sought, tables: DeltaTables) -> pl.Series | None:
    """The prediction moments of the subject's requests, as a training set has them; None where requests do not name it."""
    requests = tables.scan(names.validated(use_case.name, use_case.features.request_table))
    theirs = sought.in_rows(requests.collect_schema())
    if theirs is None:
        return None
    asked: pl.LazyFrame = use_case.features.entity_rows(requests.filter(theirs).select(use_case.features.request))
    return asked.select("event_timestamp").collect().to_series()


def _may_hold(tags: Mapping[str, str], moments: pl.Series | None) -> bool:
    if moments is None or not {FIRST, LAST} <= tags.keys():
        return True
    first, last = (datetime.fromisoformat(tags[name]) for name in (FIRST, LAST))
    return moments.is_between(first, last).any()
