"""One segment: without the rows of one value of a category, nothing has changed."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

import polars as pl

from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.foundation.wording import some
from mlops_assets.monitoring.investigation.cause import Cause, Kind
from mlops_assets.monitoring.investigation.changes import Change, find_change, psi_between
from mlops_assets.monitoring.investigation.evidence import Evidence

CONFIDENCE, MIN_EXPLAINED, UNPROVEN, HIDDEN = 0.85, 0.7, 0.55, 0.85
MOST_VALUES, MOST_SHARE, MIN_LEFT = 60, 0.6, 3  # values of a category; a segment's share of the rows; values without it
SEGMENT, VALUE = "segment", "value"
REMEDY = "Look at what changed for this segment alone; alert its owner, or route it to another model."


class Segment(NamedTuple):
    """`explained` is the share of the change of one input that is gone without it; `is_proven`: that change is no chance."""

    column: str
    value: str
    explained: float
    since: datetime | None
    is_proven: bool = True


def find_causes(evidence: Evidence) -> Iterator[Cause]:
    by_segment: dict[tuple[str, str], dict[str, Segment]] = {}
    for name in sorted(evidence.origins.keys() & {*evidence.reference.columns}) if not evidence.is_silent else ():
        change = evidence.changes.get(name)
        segments = _explaining(evidence, name, change) if change else _hidden(evidence, name)
        if best := max(segments, key=lambda one: one.explained, default=None):
            by_segment.setdefault((best.column, best.value), {})[name] = best
    for (column, value), of_inputs in by_segment.items():
        cause = _cause(evidence, f"predictions where {column} = {value}", of_inputs)
        if cause.confidence > MIN_EXPLAINED * UNPROVEN * CONFIDENCE:
            yield cause


def _cause(evidence: Evidence, where: str, of_inputs: dict[str, Segment]) -> Cause:
    explaining = {name: one for name, one in of_inputs.items() if one.explained > MIN_EXPLAINED}
    explained = sum(one.explained for one in explaining.values()) / max(len(explaining), 1)
    agreement = max(map(evidence.agreement, of_inputs))
    weight = 1.0 if any(one.is_proven for one in explaining.values()) else UNPROVEN
    since = min((one.since for one in explaining.values() if one.since), default=None)
    what = f"Without these rows {explained:.0%} of the change of {some(explaining, 4)} is gone."
    return Cause(Kind.SEGMENT, where, since, CONFIDENCE * explained * agreement * weight, what, REMEDY, frozenset(explaining))


def _explaining(evidence: Evidence, name: str, change: Change) -> Iterator[Segment]:
    """The segments of one changed input."""
    for column in _categories(evidence):
        trained, served = (_divided(rows, name, column) for rows in (evidence.reference, evidence.served[change.first :]))
        values = served[SEGMENT].value_counts(sort=True, name="rows")
        if len(values) - 1 < MIN_LEFT:
            continue
        for value, rows in values.rows():
            if value is None or rows > MOST_SHARE * len(served):
                continue
            is_other = pl.col(SEGMENT).ne_missing(value)
            moved = psi_between(trained.filter(is_other)[VALUE], served.filter(is_other)[VALUE], change.dispersion)
            yield Segment(column, value, 1 - max(moved, 0.0) / change.psi, change.since, change.is_proven)


def _hidden(evidence: Evidence, name: str) -> Iterator[Segment]:
    """The segments in which an input has changed that has not changed as a whole."""
    for column in _categories(evidence):
        if column == name:
            continue
        trained, served = (_divided(rows, name, column) for rows in (evidence.reference, evidence.served))
        before = trained.partition_by(SEGMENT, as_dict=True)
        for (value,), now in sorted(served.drop_nulls(SEGMENT).partition_by(SEGMENT, as_dict=True).items()):
            known = before.get((value,), trained.clear())
            change = find_change(known[VALUE], now[VALUE], now[EVENT_TIMESTAMP])
            if change and _others_moved(trained, served, value, change) < (1 - MIN_EXPLAINED) * change.psi:
                yield Segment(column, value, HIDDEN, change.since)


def _others_moved(trained: pl.DataFrame, served: pl.DataFrame, value: str, change: Change) -> float:
    is_other, since = pl.col(SEGMENT) != value, change.since
    recent = pl.lit(True) if since is None else pl.col(EVENT_TIMESTAMP) >= since
    return psi_between(trained.filter(is_other)[VALUE], served.filter(is_other, recent)[VALUE], change.dispersion)


def _divided(rows: pl.DataFrame, name: str, column: str) -> pl.DataFrame:
    """The values of an input by the category of their row. Frames of all columns take twice the time to filter."""
    moments = [EVENT_TIMESTAMP] if EVENT_TIMESTAMP in rows.columns else []
    return rows.select(pl.col(column).cast(pl.String).alias(SEGMENT), pl.col(name).alias(VALUE), *moments)


def _categories(evidence: Evidence) -> list[str]:
    """The columns by which answers and training rows can be divided."""
    names = [name for name in evidence.reference.columns if name in evidence.served.columns and name != EVENT_TIMESTAMP]
    kinds = (pl.String, pl.Categorical, pl.Boolean)
    texts = [name for name in names if isinstance(evidence.reference.schema[name], kinds)]
    return [name for name in texts if 1 < evidence.served[name].n_unique() <= MOST_VALUES]
