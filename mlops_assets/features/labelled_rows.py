"""How many labelled rows there are, and how many there were when a version was trained."""

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from mlops_assets.features.featurize import KNOWN_AT, label_rows
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables, VersionGone
from mlops_assets.spec.use_case import UseCase


def count_labelled(use_case: UseCase, tables: DeltaTables, *, now: datetime) -> int:
    """The requests whose label is known by now."""
    requests, truths = (tables.scan(path) for path in _paths(use_case))
    return _count(use_case, requests, truths, now)


def count_labelled_then(use_case: UseCase, tables: DeltaTables, record: Mapping[str, str], *, now: datetime) -> int | None:
    """Those in the versions of the tables that a training read, by its record; where these are gone, the rows that it was trained
    on; None where the record does not tell.
    """
    try:
        versions = [int(record[names.table_tag(path)]) for path in _paths(use_case)]
        requests, truths = (tables.read_version(path, at).lazy() for path, at in zip(_paths(use_case), versions, strict=True))
        return _count(use_case, requests, truths, now)
    except (KeyError, ValueError, VersionGone):
        return int(record["rows"]) if record.get("rows", "").isdigit() else None


def _paths(use_case: UseCase) -> list[names.AssetPath]:
    return [names.validated(use_case.name, table) for table in (use_case.features.request_table, use_case.label.table)]


def _count(use_case: UseCase, requests: pl.LazyFrame, truths: pl.LazyFrame, now: datetime) -> int:
    known = label_rows(use_case, requests, truths).filter(pl.col(KNOWN_AT) <= now)
    return known.select(pl.len()).collect().item()
