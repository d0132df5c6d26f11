"""Which model versions were trained on one subject's rows, read from the training tables while their versions are kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from mlops_assets.erasure.subject_matcher import SubjectMatcher
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables, VersionGone
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.training.model_registry import ModelRegistry

TABLE_VERSION = "table.training_set"
FIRST, LAST = "window.first", "window.last"


@dataclass(frozen=True)
class TrainedOn:
    """Model versions whose training table held the rows; and those whose table does not show it any more, with a training
    window that contains requests of the subject.
    """

    certain: list[int]
    possible: list[int]


def trained_on(use_case: UseCase, matcher: SubjectMatcher, *, tables: DeltaTables, registry: "ModelRegistry") -> TrainedOn:
    moments = _moments(use_case, matcher, tables)
    tags = {model.version: model.tags for model in registry.versions(names.registered_model(use_case.name))}
    pinned = {tag for of_model in tags.values() if (tag := of_model.get(TABLE_VERSION)) is not None}
    training_set = names.stage(use_case.name, "training_set")
    holds = {version: _holds(tables, training_set, int(version), matcher) for version in pinned}
    evidence = {version: holds.get(of_model.get(TABLE_VERSION, "")) for version, of_model in tags.items()}
    certain = [version for version, rows in evidence.items() if rows]
    unknown = [version for version, rows in evidence.items() if rows is None]
    return TrainedOn(certain, [version for version in unknown if _may_hold(tags[version], moments)])


def _holds(tables: DeltaTables, asset: names.AssetPath, version: int, matcher: SubjectMatcher) -> bool | None:
    """None where the version is gone, or has no column that identifies the subject."""
    try:
        rows = tables.read_version(asset, version)
    except VersionGone:
        return None
    matches = matcher.in_rows(rows.schema)
    return None if matches is None else not rows.filter(matches).is_empty()


def _moments(use_case: UseCase, matcher: SubjectMatcher, tables: DeltaTables) -> pl.Series | None:
    """The prediction moments of the subject's requests; None where requests do not name it."""
    requests = tables.scan(names.validated(use_case.name, use_case.features.request_table))
    matches = matcher.in_rows(requests.collect_schema())
    if matches is None:
        return None
    rows: pl.LazyFrame = use_case.features.entity_rows(requests.filter(matches).select(use_case.features.request))
    return rows.select("event_timestamp").collect().to_series()


def _may_hold(tags: Mapping[str, str], moments: pl.Series | None) -> bool:
    if moments is None or not {FIRST, LAST} <= tags.keys():
        return True
    first, last = (datetime.fromisoformat(tags[name]) for name in (FIRST, LAST))
    return moments.is_between(first, last).any()
