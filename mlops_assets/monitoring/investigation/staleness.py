"""Stale feature views: the newest values that answers use get older and older."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import cast

import numpy as np
import polars as pl

from mlops_assets.foundation import names
from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.grains import view_calendar
from mlops_assets.foundation.names import EVENT_TIMESTAMP, FEATURE_AGE_S
from mlops_assets.monitoring.investigation.cause import Cause, Kind
from mlops_assets.monitoring.investigation.evidence import Evidence
from mlops_assets.spec.feature import FeatureView

CONFIDENCE, NO_EFFECT = 0.85, 0.5
CHUNKS, FRESHEST = 40, 0.05  # the share of entities by whose age the view is judged: others may have nothing newer
TIMES_USUAL = 2.5
REMEDY = "Look at the runs of this view, start one for the partitions that are missing, and then one of its online values."


def find_causes(evidence: Evidence) -> Iterator[Cause]:
    if FEATURE_AGE_S not in evidence.served.columns:
        return
    looked_up = evidence.served.filter(pl.col("features_from") != "request")
    for view in evidence.use_case.features.views:
        if evidence.use_case.is_due(*view.tables) and len(looked_up) >= CHUNKS:
            yield from _cause(evidence, view, looked_up)


def _cause(evidence: Evidence, view: FeatureView, looked_up: pl.DataFrame) -> Iterator[Cause]:
    moments, ages = _freshest(looked_up, view.name)
    if not len(ages):
        return
    allowed = 2 * view_calendar(evidence.use_case, view).length + evidence.use_case.freshness.features
    usual = float(np.median(ages[: max(3, len(ages) // 3)]))
    limit = min(allowed.total_seconds(), max(TIMES_USUAL * usual, allowed.total_seconds() / 2))
    if ages[-1] <= limit:
        return
    since, inputs = moments[-1] - timedelta(seconds=float(ages[-1])), evidence.of_view(view.name)
    hours = timedelta(hours=round(ages[-1] / 3600))
    online = f"The newest values that answers got from {view.name} are {in_words(hours)} old, usually {usual / 3600:.0f} h."
    where = names.online(evidence.use_case.name, view.name)[-1]
    yield Cause(
        Kind.STALE_VIEW, where, since, CONFIDENCE if inputs or not evidence.affected else NO_EFFECT, online, REMEDY, inputs
    )


def _freshest(looked_up: pl.DataFrame, view: str) -> tuple[list[datetime], np.ndarray]:
    """In parts of the window: the last moment of each, and how old the newest values are then."""
    rows = looked_up.select(EVENT_TIMESTAMP, age=pl.col(FEATURE_AGE_S).struct.field(view)).drop_nulls("age")
    edges = np.linspace(0, len(rows), min(CHUNKS, len(rows)) + 1).astype(int)
    parts = [rows[int(start) : int(end)] for start, end in pairwise(edges) if end > start]
    moments = [cast(datetime, part[EVENT_TIMESTAMP][-1]) for part in parts]
    return moments, np.array([part["age"].quantile(FRESHEST) or 0.0 for part in parts])
